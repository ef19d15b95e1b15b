// Package statsd sends what is counted under Envoy's names to a StatsD server, over UDP,
// as Ambassador's Envoy does: plain StatsD with everything in the name, or DogStatsD with
// tags.
package statsd

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Options say where numbers go, and how.
type Options struct {
	Address  string        // host:port of the server
	Interval time.Duration // between two reports; 1 s if zero
	Tags     bool          // DogStatsD
	EntityID string        // of the Pod, told in a tag; "" for none
	// Failed, if not nil, is told when sending begins to fail, and with nil when it
	// works again.
	Failed func(error)
}

// datagram is the most that is sent at once: what fits into a packet on the way.
const datagram = 1432

// redial is how long an address that a name stands for is used.
const redial = time.Minute

// A Reporter reports from one goroutine of its own.
type Reporter struct {
	opts  Options
	write func(w io.Writer) error
	stop  chan struct{}
	ended chan struct{}
	close sync.Once

	text    bytes.Buffer
	last    map[string]uint64 // counts as they were told before, by what they are called
	next    map[string]uint64
	lines   []byte
	conn    net.Conn
	dialled time.Time
	failing bool
}

// Start starts a reporter of what write writes, in the text format of Prometheus. Close
// ends it.
func Start(write func(w io.Writer) error, opts Options) *Reporter {
	opts.Interval = cmp.Or(opts.Interval, time.Second)
	r := &Reporter{opts: opts, write: write, stop: make(chan struct{}), ended: make(chan struct{}), last: map[string]uint64{}, next: map[string]uint64{}}
	go r.run()
	return r
}

// run reports until it is stopped, and once more then.
func (r *Reporter) run() {
	defer close(r.ended)
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.report()
		case <-r.stop:
			r.report()
			if r.conn != nil {
				_ = r.conn.Close() // nothing waits in it
			}
			return
		}
	}
}

// Close reports once more and ends the reporter. It returns ctx's error if that takes
// longer.
func (r *Reporter) Close(ctx context.Context) error {
	r.close.Do(func() { close(r.stop) })
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("report to StatsD: %w", ctx.Err())
	}
}

// report tells the server how things stand.
func (r *Reporter) report() {
	err := r.send()
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if r.opts.Failed != nil {
			r.opts.Failed(err)
		}
	}
}

func (r *Reporter) send() error {
	r.text.Reset()
	if err := r.write(&r.text); err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	r.lines = r.render(r.lines[:0], r.text.Bytes())
	if err := r.dial(); err != nil {
		return err
	}
	for rest := r.lines; len(rest) > 0; {
		n := packet(rest)
		if _, err := r.conn.Write(bytes.TrimSuffix(rest[:n], []byte("\n"))); err != nil {
			r.dialled = time.Time{} // perhaps it has moved
			return fmt.Errorf("send to StatsD: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

// packet is how much of lines goes together: whole lines, one at least.
func packet(lines []byte) int {
	if len(lines) <= datagram {
		return len(lines)
	}
	if i := bytes.LastIndexByte(lines[:datagram], '\n'); i >= 0 {
		return i + 1
	}
	return bytes.IndexByte(lines, '\n') + 1
}

// dial looks the server up, now and then.
func (r *Reporter) dial() error {
	now := time.Now()
	if r.conn != nil && now.Sub(r.dialled) < redial {
		return nil
	}
	conn, err := net.DialTimeout("udp", r.opts.Address, r.opts.Interval)
	if err != nil {
		if r.conn != nil {
			return nil // where it was before
		}
		return fmt.Errorf("find StatsD: %w", err)
	}
	if r.conn != nil {
		_ = r.conn.Close() // nothing waits in it
	}
	r.conn, r.dialled = conn, now
	return nil
}
