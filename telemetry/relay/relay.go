// Package relay hands what happened on to collectors elsewhere, many entries at a time.
// It never makes a request wait: where a collector is slow or gone, entries are lost,
// and counted.
package relay

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"legate/telemetry"
)

// A Sender brings encoded entries, one after the other, to a collector. It is called by
// one goroutine at a time and keeps nothing of entries. An error means that they are lost.
type Sender interface {
	Send(entries []byte, n int) error
}

// Options adjust a Relay. The zero value is useful, but for Counts.
type Options struct {
	Interval time.Duration // longest an entry waits; 1 s if zero
	FlushAt  int           // bytes that are sent without waiting for more; 64 KiB if zero
	Limit    int           // bytes that may wait, and the largest batch; 2 MiB if zero
	Counts   Counts
	// Failed, if not nil, is told when sending begins to fail, and with nil when it
	// works again. It is called from the relay's own goroutine.
	Failed func(error)
}

// Counts count what became of entries.
type Counts struct{ Sent, Failed, Dropped *telemetry.Counter }

const (
	defaultFlushAt = 64 << 10
	defaultLimit   = 2 << 20 // below what a gRPC server takes at once
	keepBuffer     = 256 << 10
)

// A Relay collects entries and has its Sender bring them away from one goroutine of its
// own, which Start starts and Close ends.
type Relay struct {
	opts   Options
	sender Sender
	wake   chan struct{} // something waits to be sent
	full   chan struct{} // enough waits to be sent now
	stop   chan struct{}
	ended  chan struct{}
	start  sync.Once
	close  sync.Once

	mu      sync.Mutex // never held while sending
	waiting []byte
	n       int // entries in waiting
	closed  bool

	sending []byte // the goroutine's
	failing bool
}

// New makes a relay that keeps what it is given until Start.
func New(s Sender, opts Options) *Relay {
	opts.Interval = cmp.Or(opts.Interval, time.Second)
	opts.FlushAt = cmp.Or(opts.FlushAt, defaultFlushAt)
	opts.Limit = cmp.Or(opts.Limit, defaultLimit)
	return &Relay{
		opts: opts, sender: s,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Counts returns the counters of what becomes of entries.
func (r *Relay) Counts() Counts { return r.opts.Counts }

// Start begins to send. Starting twice is once.
func (r *Relay) Start() { r.start.Do(func() { go r.run() }) }

// Append adds one entry. It keeps nothing of it and never blocks on the collector.
// Budget: 0 allocs.
func (r *Relay) Append(entry []byte) {
	r.mu.Lock()
	if r.closed || len(r.waiting)+len(entry) > r.opts.Limit {
		r.mu.Unlock()
		r.opts.Counts.Dropped.Add()
		return
	}
	before := len(r.waiting)
	r.waiting = append(r.waiting, entry...)
	r.n++
	first, enough := before == 0, before < r.opts.FlushAt && len(r.waiting) >= r.opts.FlushAt
	r.mu.Unlock()
	if first {
		signal(r.wake)
	}
	if enough {
		signal(r.full)
	}
}

// signal leaves a note in c unless one is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends what waits: an interval after the first entry, at once when there is much.
func (r *Relay) run() {
	defer close(r.ended)
	timer := time.NewTimer(r.opts.Interval)
	defer timer.Stop()
	for {
		select {
		case <-r.wake:
		case <-r.stop:
			r.flush()
			return
		}
		timer.Reset(r.opts.Interval)
		select {
		case <-timer.C:
		case <-r.full:
		case <-r.stop:
		}
		r.flush()
	}
}

// flush sends what waits.
func (r *Relay) flush() {
	r.mu.Lock()
	entries, n := r.waiting, r.n
	r.waiting, r.n = r.sending[:0], 0
	r.mu.Unlock()
	if n > 0 {
		r.send(entries, n)
	}
	if cap(entries) > keepBuffer {
		entries = nil // a slow collector's harvest is not kept
	}
	r.sending = entries
}

func (r *Relay) send(entries []byte, n int) {
	err := r.sender.Send(entries, n)
	count := r.opts.Counts.Sent
	if err != nil {
		count = r.opts.Counts.Failed
	}
	count.AddN(uint64(n)) //nolint:gosec // because it is a count
	if failing := err != nil; failing != r.failing {
		r.failing = failing
		if r.opts.Failed != nil {
			r.opts.Failed(err)
		}
	}
}

// Close sends what waits and ends the relay; entries that come later are dropped. It
// returns ctx's error if the collector does not take the rest in time. A relay that was
// never started forgets what it has.
func (r *Relay) Close(ctx context.Context) error {
	r.close.Do(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		close(r.stop)
	})
	r.start.Do(func() { close(r.ended) })
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("send the rest: %w", ctx.Err())
	}
}
