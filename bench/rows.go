package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A row is one thing that is measured for every contestant in turn. It may
// yield several figures.
type row struct {
	name    string
	fresh   bool // wants a contestant that has done nothing yet
	measure func(ctx context.Context, a *arena, p *proxy) ([]figure, error)
}

// A figure is one measured number.
type figure struct {
	what, unit string
	value      float64
	note       string // what a reader must know about it; "" mostly
}

func rows() []row {
	return []row{
		loadRow("h1-get-300", load{target: "300"}),
		loadRow("h1-get-10k", load{target: "10k"}),
		loadRow("h1-get-1m", load{target: "1m"}),
		loadRow("h1-post-1k", load{target: "echo", body: 1 << 10}),
		loadRow("h1-post-64k", load{target: "echo", body: 64 << 10}),
		loadRow("tls-get-300", load{secure: true, target: "300"}),
		loadRow("tls-get-10k", load{secure: true, target: "10k"}),
		loadRow("tls-get-1m", load{secure: true, target: "1m"}),
		loadRow("tls-post-1k", load{secure: true, target: "echo", body: 1 << 10}),
		loadRow("tls-post-64k", load{secure: true, target: "echo", body: 64 << 10}),
		paceRow("h1-latency", false),
		paceRow("tls-latency", true),
		handshakeRow("tls-handshake", false),
		handshakeRow("tls-resumed", true),
		idleRow("h1-idle", false),
		idleRow("tls-idle", true),
	}
}

// mix is the load under which Legate's profile is recorded: what a gateway
// mostly carries, each kind in turn.
func mix() []load {
	return []load{
		{target: "300"},
		{secure: true, target: "300"},
		{target: "10k"},
		{secure: true, target: "10k"},
		{target: "echo", body: 1 << 10},
		{secure: true, target: "echo", body: 1 << 10},
		{secure: true, target: "1m"},
	}
}

// loadRow measures a load as fast as it goes. When the proxy did not keep its
// core busy, something else was the limit and the rate says so.
func loadRow(name string, l load) row {
	return row{name: name, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		if _, err := l.run(ctx, a, p, a.opts.warm); err != nil {
			return nil, err
		}
		if _, err := p.emptyLog(); err != nil {
			return nil, err
		}
		var r loadResult
		cpu, elapsed, err := cost(p, func() (err error) {
			r, err = l.run(ctx, a, p, a.opts.duration)
			return err
		})
		if err != nil {
			return nil, err
		}
		logged, err := p.emptyLog()
		if err != nil {
			return nil, err
		}
		if logged == 0 {
			return nil, fmt.Errorf("wrote no access log")
		}
		busy := cpu.Seconds() / elapsed.Seconds()
		note := ""
		if busy < 0.9 {
			note = fmt.Sprintf("core %.0f %% busy", 100*busy)
		}
		return []figure{
			{what: "cpu", unit: "µs/request", value: micros(cpu) / float64(r.Requests)},
			{what: "rate", unit: "requests/s", value: r.PerSec, note: note},
		}, nil
	}}
}

// cost tells how much processor time p used while do ran.
func cost(p *proxy, do func() error) (cpu, elapsed time.Duration, err error) {
	pid := p.cmd.Process.Pid
	before, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	elapsed = time.Since(start)
	after, err := cpuTime(pid)
	return after - before, elapsed, err
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// paceRow measures latency at a rate that every contestant can bear.
func paceRow(name string, secure bool) row {
	return row{name: name, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		pace := func(d time.Duration) (l latency, err error) {
			out, err := a.part(ctx, "pace", "-addr", p.addr(secure), "-target", measured+"300", fmt.Sprintf("-tls=%t", secure),
				"-connections", strconv.Itoa(a.opts.connections), "-rate", strconv.Itoa(a.opts.rate), "-duration", d.String())
			if err != nil {
				return l, err
			}
			return l, json.Unmarshal(out, &l)
		}
		if _, err := pace(a.opts.warm); err != nil {
			return nil, err
		}
		l, err := pace(a.opts.duration)
		if err != nil {
			return nil, err
		}
		_, err = p.emptyLog()
		return []figure{
			{what: "p50", unit: "µs", value: l.P50},
			{what: "p99", unit: "µs", value: l.P99},
			{what: "p99.9", unit: "µs", value: l.P999},
		}, err
	}}
}

// handshakeRow measures a whole TLS connection: handshake, one request, close.
func handshakeRow(name string, resume bool) row {
	return row{name: name, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		cpu, _, err := cost(p, func() error {
			_, err := a.part(ctx, "handshake", "-addr", p.tls, "-target", measured+"300",
				fmt.Sprintf("-resume=%t", resume), "-n", strconv.Itoa(a.opts.handshakes))
			return err
		})
		return []figure{{what: "cpu", unit: "µs/connection", value: micros(cpu) / float64(a.opts.handshakes)}}, err
	}}
}

// idleRow measures memory: of a contestant that has served a request, and per
// connection that has had a request and is kept open.
func idleRow(name string, secure bool) row {
	return row{name: name, fresh: true, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		pid := p.cmd.Process.Pid
		if err := sleep(ctx, a.opts.settle); err != nil {
			return nil, err
		}
		before, err := memory(pid)
		if err != nil {
			return nil, err
		}
		var with float64
		err = a.holding(p, secure, func() (err error) {
			if err := sleep(ctx, a.opts.settle); err != nil {
				return err
			}
			with, err = memory(pid)
			return err
		})
		return []figure{
			{what: "memory", unit: "MB", value: before / 1e6},
			{what: "memory", unit: "B/connection", value: (with - before) / float64(a.opts.idle)},
		}, err
	}}
}

// holding calls do while idle connections to p are held. It fails if some of
// them did not last.
func (a *arena) holding(p *proxy, secure bool, do func() error) error {
	stdin, release, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	held, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()
	holder, err := startPinned(a.opts.loadCore, stdin, stdout, filepath.Join(a.dir, "hold.err"), a.self, "hold",
		"-addr", p.addr(secure), "-target", measured+"300", fmt.Sprintf("-tls=%t", secure), "-n", strconv.Itoa(a.opts.idle))
	stdout.Close()
	if err != nil {
		release.Close()
		return err
	}
	defer holder.stop()
	if _, err := held.Read(make([]byte, 16)); err != nil {
		<-holder.ended
		return holder.failure()
	}
	err = do()
	release.Close()
	if err != nil {
		return err
	}
	<-holder.ended
	if holder.err != nil {
		return fmt.Errorf("idle connections did not last: %w", holder.failure())
	}
	return nil
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
