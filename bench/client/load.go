package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load says what is created. Body holds NAME where the name goes, Patch STEP where the number of
// the patch goes. Selector finds what has finished. Rate is in creates per second, 0 for no limit.
type Load struct {
	Path, Body, Prefix, Patch, Selector string
	Count, Concurrency, Patches         int
	Rate                                float64
	// Alone: each is created only when the one before it has finished.
	Alone bool
}

// Result is what was measured. Times are seconds.
type Result struct {
	Count int `json:"count"`
	// Seconds from the first request to the last answer, or to the last awaited end.
	Seconds float64 `json:"seconds"`
	// WriteSeconds goes from the first request to the last answer.
	WriteSeconds float64 `json:"writeSeconds"`
	// Created, Started and Finished have one entry for each object: from before its create to the
	// answer, to the time that its handler returned as its result, and to the sight of its end.
	// Patched goes from before its first patch to the last one's answer.
	Created  []float64 `json:"created"`
	Patched  []float64 `json:"patched,omitempty"`
	Started  []float64 `json:"started,omitempty"`
	Finished []float64 `json:"finished,omitempty"`
}

func run(server Server, load Load, timeout time.Duration) (*Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	client, err := server.Connect()
	if err != nil {
		return nil, err
	}
	var ends *Ends
	awaited := make(chan error, 1)
	if load.Selector != "" {
		if ends, err = watchEnds(ctx, server, load); err != nil {
			return nil, err
		}
		go func() { awaited <- ends.Await(load.Count) }()
	}
	begun := time.Now()
	log, err := write(ctx, client, load, ends)
	if err != nil {
		return nil, err
	}
	result := &Result{Count: load.Count, WriteSeconds: time.Since(begun).Seconds()}
	result.Seconds = result.WriteSeconds
	for i := range log.sent {
		result.Created = append(result.Created, log.answered[i].Sub(log.sent[i]).Seconds())
		if load.Patches > 0 {
			result.Patched = append(result.Patched, log.patched[i].Sub(log.answered[i]).Seconds())
		}
	}
	if ends != nil {
		if err := <-awaited; err != nil {
			return nil, err
		}
		result.Seconds = ends.last.Sub(begun).Seconds()
		for i, sent := range log.sent {
			end := ends.seen[i]
			result.Finished = append(result.Finished, end.at.Sub(sent).Seconds())
			if end.started > 0 {
				started := end.started - float64(sent.UnixNano())/1e9
				result.Started = append(result.Started, started)
			}
		}
	}
	return result, nil
}

// log says when each create was sent and answered, and when its last patch was.
type log struct {
	sent, answered, patched []time.Time
}

// write creates the objects and patches them; it returns the first error.
func write(ctx context.Context, client *Client, load Load, ends *Ends) (*log, error) {
	times := func() []time.Time { return make([]time.Time, load.Count) }
	log := &log{sent: times(), answered: times(), patched: times()}
	failures := make(chan error, load.Concurrency)
	begun := time.Now()
	var next atomic.Int64
	var writers sync.WaitGroup
	for range load.Concurrency {
		writers.Go(func() {
			for i := next.Add(1) - 1; i < int64(load.Count); i = next.Add(1) - 1 {
				if load.Rate > 0 {
					due := time.Duration(float64(i) / load.Rate * float64(time.Second))
					time.Sleep(time.Until(begun.Add(due)))
				}
				if err := writeOne(ctx, client, load, log, int(i)); err != nil {
					failures <- err
					return
				}
				if load.Alone {
					if err := ends.AwaitOne(ctx); err != nil {
						failures <- err
						return
					}
				}
			}
		})
	}
	writers.Wait()
	close(failures)
	return log, <-failures
}

func writeOne(ctx context.Context, client *Client, load Load, log *log, i int) error {
	log.sent[i] = time.Now()
	body := named(load.Body, load.Prefix, i)
	err := client.Send(ctx, http.MethodPost, load.Path, "application/json", body)
	log.answered[i] = time.Now()
	if err != nil {
		return err
	}
	err = patch(ctx, client, load, i)
	log.patched[i] = time.Now()
	return err
}

func patch(ctx context.Context, client *Client, load Load, i int) error {
	path := fmt.Sprintf("%s/%s%d/status", load.Path, load.Prefix, i)
	for step := range load.Patches {
		body := strings.ReplaceAll(load.Patch, `"STEP"`, fmt.Sprint(step+2))
		err := client.Send(ctx, http.MethodPatch, path, "application/json-patch+json", body)
		if err != nil {
			return err
		}
	}
	return nil
}
