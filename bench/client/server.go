package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// Server is an API server and the files to be let in with.
type Server struct {
	URL, CA, Cert, Key string
}

// Client sends requests over one kept HTTP/2 connection.
type Client struct {
	url  string
	http *http.Client
}

// Connect returns a client.
func (s Server) Connect() (*Client, error) {
	authority, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("no certificate in %s", s.CA)
	}
	certificate, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
		ForceAttemptHTTP2: true,
	}
	return &Client{url: s.URL, http: &http.Client{Transport: transport}}, nil
}

// Send sends a body, and reads the answer to its end. An answer that is no success is an error.
func (c *Client) Send(ctx context.Context, method, path, kind, body string) error {
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.500s", method, path, answer.Status, text)
	}
	return nil
}

// Open returns the body of a GET that stays open, such as a watch.
func (c *Client) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 500))
		return nil, fmt.Errorf("GET %s: %s: %s", path, answer.Status, text)
	}
	return answer.Body, nil
}
