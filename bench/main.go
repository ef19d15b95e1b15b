// Command bench measures what Legate costs beside nginx, HAProxy and net/http's
// ReverseProxy: processor time per request, call, message and byte, throughput,
// latency at a fixed rate, memory per idle connection and TLS handshakes. Every contestant runs on one
// core, load and upstream on another, all in turn within each round, so that
// whatever else happens on the machine happens to all of them. It talks to
// 127.0.0.1 only and never imports the gateway: it sees what an operator sees.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The parts that run as processes of their own, so that they can be pinned and
// their cost told from the contestants'.
var parts = map[string]func(args []string) error{
	"upstream":     upstreamMain,
	"reverseproxy": reverseProxyMain,
	"hold":         holdMain,
	"handshake":    handshakeMain,
	"pace":         paceMain,
	"flood":        floodMain,
	"talk":         talkMain,
	"pour":         pourMain,
	"guarded":      guardedMain,
}

func main() {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			exit(part(os.Args[2:]))
		}
	}
	opts, err := parseOptions(os.Args[1:])
	if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if opts.pgo != "" {
		exit(recordProfile(ctx, opts))
	}
	exit(compare(ctx, opts))
}

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	if errors.Is(err, context.Canceled) {
		os.Exit(130)
	}
	os.Exit(1)
}
