package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// End is the sight of one finished object. started: seconds since 1970, 0 if it has no such result.
type End struct {
	at      time.Time
	started float64
}

// Ends collects the finished objects of a load, from a watch.
type Ends struct {
	prefix string
	stream io.ReadCloser
	open   func(version string) (io.ReadCloser, error)
	seen   map[int]End
	last   time.Time
	// One is sent for each that is seen, for who waits for it.
	one chan struct{}
}

type event struct {
	Type   string `json:"type"`
	Object struct {
		Metadata struct {
			Name            string `json:"name"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Status struct {
			Result json.RawMessage `json:"result"`
		} `json:"status"`
	} `json:"object"`
}

// watchEnds begins to watch, on a connection of its own, before anything is created.
func watchEnds(ctx context.Context, server Server, load Load) (*Ends, error) {
	client, err := server.Connect()
	if err != nil {
		return nil, err
	}
	list, err := client.Open(ctx, load.Path+"?limit=1")
	if err != nil {
		return nil, err
	}
	defer list.Close()
	var first struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(list).Decode(&first); err != nil {
		return nil, err
	}
	ends := &Ends{
		prefix: load.Prefix,
		seen:   map[int]End{},
		one:    make(chan struct{}, load.Count),
		open: func(version string) (io.ReadCloser, error) {
			query := url.Values{
				"watch":           {"true"},
				"fieldSelector":   {load.Selector},
				"resourceVersion": {version},
			}
			return client.Open(ctx, load.Path+"?"+query.Encode())
		},
	}
	ends.stream, err = ends.open(first.Metadata.ResourceVersion)
	return ends, err
}

// Await reads events until `count` objects of the load have finished.
func (e *Ends) Await(count int) error {
	defer func() {
		if e.stream != nil {
			e.stream.Close()
		}
	}()
	decoder := json.NewDecoder(e.stream)
	version := ""
	for len(e.seen) < count {
		var got event
		err := decoder.Decode(&got)
		if err == io.EOF && version != "" {
			// The API server ends the watch of who is slow, as on a busy machine.
			e.stream.Close()
			if e.stream, err = e.open(version); err == nil {
				decoder = json.NewDecoder(e.stream)
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("%d of %d have finished: %w", len(e.seen), count, err)
		}
		if got.Type == "ERROR" {
			return fmt.Errorf("%d of %d have finished: the watch is over", len(e.seen), count)
		}
		version = got.Object.Metadata.ResourceVersion
		now := time.Now()
		number, mine := strings.CutPrefix(got.Object.Metadata.Name, e.prefix)
		i, err := strconv.Atoi(number)
		if got.Type != "ADDED" && got.Type != "MODIFIED" || !mine || err != nil {
			continue
		}
		if _, known := e.seen[i]; known {
			continue
		}
		started, _ := strconv.ParseFloat(string(got.Object.Status.Result), 64)
		e.seen[i] = End{at: now, started: started}
		e.last = now
		e.one <- struct{}{}
	}
	return nil
}

// AwaitOne returns when one more has finished.
func (e *Ends) AwaitOne(ctx context.Context) error {
	select {
	case <-e.one:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
