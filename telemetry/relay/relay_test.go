package relay

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"legate/telemetry"
)

// A collector notes what it is sent. It waits while block is not nil and open.
type collector struct {
	mu    sync.Mutex
	got   []string
	n     int
	err   error
	block chan struct{}
}

func (c *collector) Send(entries []byte, n int) error {
	if c.block != nil {
		<-c.block
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, string(entries))
	c.n += n
	return c.err
}

// all is what was sent so far, and how many entries that were.
func (c *collector) all() (batches string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, ","), c.n
}

func (c *collector) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func counts() Counts {
	return Counts{new(telemetry.Counter), new(telemetry.Counter), new(telemetry.Counter)}
}

// Entries travel together: an interval after the first, or at once when there is much.
func TestRelayBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		r := New(c, Options{FlushAt: 10, Counts: counts()})
		r.Start()
		r.Start()
		r.Append([]byte("one"))
		r.Append([]byte("two"))
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if got, _ := c.all(); got != "" {
			t.Errorf("sent before its time: %q", got)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.Append([]byte("0123456789"))
		synctest.Wait()
		r.Append([]byte("rest"))
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		r.Append([]byte("late"))
		if got, n := c.all(); got != "onetwo,0123456789,rest" || n != 4 {
			t.Errorf("got %q, %d entries", got, n)
		}
		if s, f, d := r.opts.Counts.Sent.Value(), r.opts.Counts.Failed.Value(), r.opts.Counts.Dropped.Value(); s != 4 || f != 0 || d != 1 {
			t.Errorf("sent %d, failed %d, dropped %d; want 4, 0, 1", s, f, d)
		}
	})
}

// A collector that takes its time costs entries beyond the limit, and nobody waits.
func TestRelayBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{block: make(chan struct{})}
		r := New(c, Options{FlushAt: 1, Limit: 8, Counts: counts()})
		r.Start()
		r.Append([]byte("away"))
		synctest.Wait()
		for range 5 {
			r.Append([]byte("wait"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with %v while the collector waits", err)
		}
		close(c.block)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got, _ := c.all(); got != "away,waitwait" || r.opts.Counts.Dropped.Value() != 3 {
			t.Errorf("got %q and %d dropped", got, r.opts.Counts.Dropped.Value())
		}
	})
}

// Failing is told of once, and so is its end.
func TestRelayFailing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &collector{err: errors.New("away")}
		var told []error
		r := New(c, Options{Counts: counts(), Failed: func(err error) { told = append(told, err) }})
		r.Start()
		for range 3 {
			r.Append([]byte("a"))
			time.Sleep(2 * time.Second)
		}
		c.fail(nil)
		r.Append([]byte("a"))
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(told) != 2 || told[0] == nil || told[1] != nil || r.opts.Counts.Failed.Value() != 3 {
			t.Errorf("told %v, %d failed", told, r.opts.Counts.Failed.Value())
		}
	})
}

// One that never began ends at once.
func TestRelayNeverStarted(t *testing.T) {
	t.Parallel()
	r := New(&collector{}, Options{Counts: counts()})
	r.Append([]byte("a"))
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAllocsAppend(t *testing.T) {
	r := New(&collector{}, Options{Interval: time.Hour, FlushAt: 1 << 30, Counts: counts()})
	entry := make([]byte, 100)
	r.waiting = make([]byte, 0, 1<<20)
	if n := testing.AllocsPerRun(1000, func() { r.Append(entry) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
