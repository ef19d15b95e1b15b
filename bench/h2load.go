package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// A load is one kind of request, made again and again.
type load struct {
	secure bool
	h2     bool   // HTTP/2: streams on few connections
	grpc   bool   // a call with one message, by POST; implies h2
	known  bool   // brings a token, and is to be known by it
	few    bool   // two streams a connection: ten of large bodies are not done in a short run
	target string // below the measured prefix
	body   int    // bytes to POST; 0 for GET
}

// A loadResult is what came of a load.
type loadResult struct {
	Requests int
	PerSec   float64
}

// run makes the load for d over keep-alive connections. Anything but 2xx is an
// error.
func (l load) run(ctx context.Context, a *arena, p *proxy, d time.Duration) (loadResult, error) {
	out, err := l.put(ctx, a, p, d)
	if err != nil {
		return loadResult{}, err
	}
	return parseH2load(out)
}

// put is run for who does not mind whether any request was done by the end.
func (l load) put(ctx context.Context, a *arena, p *proxy, d time.Duration) ([]byte, error) {
	args := []string{
		"h2load", "-t1", "-D", fmt.Sprintf("%dms", d.Milliseconds()), "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519",
	}
	if l.h2 || l.grpc {
		streams := a.opts.streams
		if l.few {
			streams = 2
		}
		args = append(args, "-c", strconv.Itoa(a.opts.h2Connections), "-m", strconv.Itoa(streams))
	} else {
		args = append(args, "--h1", "-c", strconv.Itoa(a.opts.connections))
	}
	if body := l.posted(); len(body) > 0 {
		file, err := a.bodyFile(body)
		if err != nil {
			return nil, err
		}
		args = append(args, "-d", file)
	}
	if l.grpc {
		args = append(args, "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	if l.known {
		args = append(args, "-H", "authorization: Bearer "+a.issuer.token)
	}
	return runPinned(ctx, a.opts.loadCore, filepath.Join(a.dir, "h2load.err"), append(args, p.url(l))...)
}

// posted is the body of each request.
func (l load) posted() []byte {
	if l.grpc {
		return message()
	}
	return bytes.Repeat([]byte("x"), l.body)
}

var (
	h2loadFinished = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadCodes    = regexp.MustCompile(`status codes: (\d+) 2xx`)
)

// parseH2load reads h2load's summary. It fails unless every request that was
// done succeeded with a 2xx.
func parseH2load(out []byte) (loadResult, error) {
	finished, requests, codes := h2loadFinished.FindSubmatch(out), h2loadRequests.FindSubmatch(out), h2loadCodes.FindSubmatch(out)
	if finished == nil || requests == nil || codes == nil {
		return loadResult{}, fmt.Errorf("h2load said: %s", tail(out, 600))
	}
	var n [5]int
	for i := range n {
		n[i], _ = strconv.Atoi(string(requests[i+1])) // digits by the pattern
	}
	ok, _ := strconv.Atoi(string(codes[1]))
	done, bad := n[0], n[2]+n[3]+n[4]
	if done == 0 || n[1] != done || ok < done || bad > 0 {
		return loadResult{}, fmt.Errorf("not every request was answered with 2xx: %s; %s", requests[0], codes[0])
	}
	perSec, err := strconv.ParseFloat(string(finished[1]), 64)
	return loadResult{Requests: done, PerSec: perSec}, err
}
