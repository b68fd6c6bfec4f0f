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

// Load says what is created. Body holds NAME where the name goes, Patch STEP where the number
// of the patch goes.
type Load struct {
	Path, Body, Prefix, Patch, Selector string
	Count, Concurrency, Patches         int
	Rate                                float64
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
	Created  []float64 `json:"created"`
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
	sent, answered, err := write(ctx, client, load)
	if err != nil {
		return nil, err
	}
	result := &Result{Count: load.Count, WriteSeconds: time.Since(begun).Seconds()}
	result.Seconds = result.WriteSeconds
	for i := range sent {
		result.Created = append(result.Created, answered[i].Sub(sent[i]).Seconds())
	}
	if ends != nil {
		if err := <-awaited; err != nil {
			return nil, err
		}
		result.Seconds = ends.last.Sub(begun).Seconds()
		for i := range sent {
			end := ends.seen[i]
			result.Finished = append(result.Finished, end.at.Sub(sent[i]).Seconds())
			if end.started > 0 {
				started := end.started - float64(sent[i].UnixNano())/1e9
				result.Started = append(result.Started, started)
			}
		}
	}
	return result, nil
}

// write creates the objects and patches them; it returns when each create was sent and answered.
func write(ctx context.Context, client *Client, load Load) (sent, answered []time.Time, err error) {
	sent, answered = make([]time.Time, load.Count), make([]time.Time, load.Count)
	failures := make(chan error, load.Concurrency)
	begun := time.Now()
	var next atomic.Int64
	var writers sync.WaitGroup
	for range load.Concurrency {
		writers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= load.Count {
					return
				}
				if load.Rate > 0 {
					due := time.Duration(float64(i) / load.Rate * float64(time.Second))
					time.Sleep(time.Until(begun.Add(due)))
				}
				sent[i] = time.Now()
				err := client.Send(ctx, http.MethodPost, load.Path, "application/json",
					named(load.Body, load.Prefix, i))
				answered[i] = time.Now()
				if err == nil {
					err = patch(ctx, client, load, i)
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	writers.Wait()
	select {
	case err = <-failures:
	default:
	}
	return sent, answered, err
}

func patch(ctx context.Context, client *Client, load Load, i int) error {
	path := fmt.Sprintf("%s/%s%d/status", load.Path, load.Prefix, i)
	for step := range load.Patches {
		body := strings.ReplaceAll(load.Patch, "STEP", fmt.Sprint(step))
		err := client.Send(ctx, http.MethodPatch, path, "application/merge-patch+json", body)
		if err != nil {
			return err
		}
	}
	return nil
}
