// Command client is the load of the benchmarks: it creates objects as fast as the API server
// takes them, or at a rate, and measures. It prints one JSON object.
//
// It uses only Go's standard library, so that the machine is busy with the API server and with
// what is measured, and not with the client.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	var server Server
	flag.StringVar(&server.URL, "server", "", "the API server, https://HOST:PORT")
	flag.StringVar(&server.CA, "ca", "", "file of its certificate authority")
	flag.StringVar(&server.Cert, "cert", "", "file of the client's certificate")
	flag.StringVar(&server.Key, "key", "", "file of the client's key")
	path := flag.String("path", "", "the collection, /apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL")
	body := flag.String("body", "", "the object to create, JSON, with NAME for its name")
	prefix := flag.String("prefix", "", "what names begin with")
	count := flag.Int("count", 100, "how many objects")
	concurrency := flag.Int("concurrency", 16, "how many requests at once")
	patch := flag.String("patch", "", "JSON Patch of the status, sent after each create")
	patches := flag.Int("patches", 0, "how often it is sent, with STEP for the number")
	rate := flag.Float64("rate", 0, "creates per second; 0: as fast as it goes")
	selector := flag.String("await", "", "field selector of finished objects; empty: none are awaited")
	alone := flag.Bool("alone", false, "create the next only when the last has finished")
	timeout := flag.Duration("timeout", 10*time.Minute, "when to give up")
	flag.Parse()

	load := Load{
		Path: *path, Body: *body, Prefix: *prefix, Count: *count, Concurrency: *concurrency,
		Patch: *patch, Patches: *patches, Rate: *rate, Selector: *selector,
		Alone: *alone,
	}
	result, err := run(server, load, *timeout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// named returns a body with the name of the object number i.
func named(body, prefix string, i int) string {
	return strings.ReplaceAll(body, "NAME", fmt.Sprintf("%s%d", prefix, i))
}
