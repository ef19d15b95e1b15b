package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A row is one thing that is measured for every contestant in turn. It may
// yield several figures.
type row struct {
	name    string
	fresh   bool     // wants a contestant that has done nothing yet
	by      []string // contestants that can do it; nil for all
	load    *load    // what is measured under load as fast as it goes; nil for the others
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
		loadRow("h2-get-300", load{secure: true, h2: true, target: "300"}),
		loadRow("h2-get-10k", load{secure: true, h2: true, target: "10k"}),
		loadRow("h2-get-1m", load{secure: true, h2: true, few: true, target: "1m"}),
		loadRow("h2-post-1k", load{secure: true, h2: true, target: "echo", body: 1 << 10}),
		loadRow("h2-post-64k", load{secure: true, h2: true, target: "echo", body: 64 << 10}),
		loadRow("grpc-unary", load{secure: true, grpc: true, target: "Unary"}),
		knownRow("tls-known-300", load{secure: true, known: true, target: "300"}),
		talkRow("ws-echo", false),
		talkRow("wss-echo", true),
		pourRow("tcp-down", false),
		pourRow("tcp-up", true),
		paceRow("h1-latency", false),
		paceRow("tls-latency", true),
		overloadRow("h1-overload"),
		handshakeRow("tls-handshake"),
		handshakeRow("tls-resumed", "-resume"),
		handshakeRow("tls12-handshake", "-tls12"),
		handshakeRow("tls12-resumed", "-tls12", "-resume"),
		idleRow("h1-idle", false),
		idleRow("tls-idle", true),
	}
}

// mix names the rows under whose loads Legate's profile is recorded: what a gateway
// mostly carries, each kind in turn.
var mix = []string{
	"h1-get-300", "tls-get-300", "h2-get-300", "h1-get-10k", "tls-get-10k", "h2-get-10k", "h1-post-1k", "tls-post-1k", "h2-post-1k",
	"tls-get-1m", "h2-get-1m", "grpc-unary",
}

// knownRow is loadRow for contestants that know who asks: a policy verifies a token, the
// service gets another one and headers, and requests are counted.
func knownRow(name string, l load) row {
	r := loadRow(name, l)
	r.by = []string{"legate", "nginx"}
	return r
}

// wanted tells whether r is to be measured for a contestant.
func (r *row) wanted(o *options, contestant string) bool {
	return o.wants(r.name, contestant) && (r.by == nil || slices.Contains(r.by, contestant))
}

// loadRow measures a load as fast as it goes. When the proxy did not keep its
// core busy, something else was the limit and the rate says so.
func loadRow(name string, l load) row {
	return row{name: name, load: &l, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		if _, err := l.put(ctx, a, p, a.opts.warm); err != nil {
			return nil, err
		}
		if err := p.emptyLog(); err != nil {
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
		if err := p.hasLogged(ctx); err != nil {
			return nil, err
		}
		return throughput("requests", float64(r.Requests), r.PerSec, cpu, elapsed), p.emptyLog()
	}}
}

// throughput is what n units cost, and how many of them a second there were. units
// is their name in the plural.
func throughput(units string, n, perSec float64, cpu, elapsed time.Duration) []figure {
	busy, note := cpu.Seconds()/elapsed.Seconds(), ""
	if busy < 0.9 {
		note = fmt.Sprintf("core %.0f %% busy", 100*busy)
	}
	return []figure{
		{what: "cpu", unit: "µs/" + strings.TrimSuffix(units, "s"), value: micros(cpu) / n},
		{what: "rate", unit: units + "/s", value: perSec, note: note},
	}
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
		return []figure{
			{what: "p50", unit: "µs", value: l.P50},
			{what: "p99", unit: "µs", value: l.P99},
			{what: "p99.9", unit: "µs", value: l.P999},
		}, p.emptyLog()
	}}
}

// talkRow measures WebSocket messages there and back.
func talkRow(name string, secure bool) row {
	return partRow(name, "messages", func(d time.Duration, a *arena, p *proxy) []string {
		return []string{"talk", "-addr", p.addr(secure), "-target", upgraded + talkTarget, fmt.Sprintf("-tls=%t", secure),
			"-connections", strconv.Itoa(a.opts.connections), "-duration", d.String()}
	})
}

// pourRow measures the forwarding of bytes that nobody looks at.
func pourRow(name string, up bool) row {
	return partRow(name, "MiB", func(d time.Duration, _ *arena, p *proxy) []string {
		return []string{"pour", "-addr", p.tcp, fmt.Sprintf("-up=%t", up), "-duration", d.String()}
	})
}

// A moved is what a part of the bench's own that makes load prints.
type moved struct {
	Units   float64 // requests, messages, MiB
	Seconds float64
}

// partRow measures what passes as fast as it goes, by a part of the bench's own.
func partRow(name, units string, args func(d time.Duration, a *arena, p *proxy) []string) row {
	return row{name: name, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		run := func(d time.Duration) (m moved, err error) {
			out, err := a.part(ctx, args(d, a, p)...)
			if err != nil {
				return m, err
			}
			return m, json.Unmarshal(out, &m)
		}
		if _, err := run(a.opts.warm); err != nil {
			return nil, err
		}
		var m moved
		cpu, elapsed, err := cost(p, func() (err error) {
			m, err = run(a.opts.duration)
			return err
		})
		if err != nil {
			return nil, err
		}
		return throughput(units, m.Units, m.Units/m.Seconds, cpu, elapsed), p.emptyLog()
	}}
}

// handshakeRow measures new TLS connections: those that end with the handshake, and those
// with one request.
func handshakeRow(name string, args ...string) row {
	return row{name: name, measure: func(ctx context.Context, a *arena, p *proxy) ([]figure, error) {
		each := func(more ...string) (float64, error) {
			part := slices.Concat([]string{"handshake", "-addr", p.tls, "-target", measured + "300", "-n", strconv.Itoa(a.opts.handshakes)}, args, more)
			cpu, _, err := cost(p, func() error {
				_, err := a.part(ctx, part...)
				return err
			})
			return micros(cpu) / float64(a.opts.handshakes), err
		}
		alone, err := each()
		if err != nil {
			return nil, err
		}
		asked, err := each("-ask")
		return []figure{
			{what: "cpu", unit: "µs/handshake", value: alone},
			{what: "cpu", unit: "µs/connection", value: asked},
		}, err
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
