package upstream

import (
	"crypto/tls"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"legate/wire"
)

// A carrier is the engine's half of a connection.
type carrier interface {
	wire.Link
	Alive() bool // an idle connection is open, and nothing came over it unasked; does not block
	Close() error
}

// A conn is one connection to an endpoint. It is the owner of its link: when an
// exchange is complete the link asks it whether to stay.
type conn struct {
	end  *endpoint
	link carrier
	born time.Time
	// under is what TLS was spoken by as it was made, or what came just before that.
	under *tls.Config
	// until is when who is on its ends can no longer be told; zero for never.
	until time.Time
	rest  time.Time // when it came to rest; only while idle
}

// keep is asked when an exchange is complete and the connection can carry another.
// After true another request may have it already. Budget: 0 allocs.
func (c *conn) keep() bool {
	now := c.end.up.now()
	if c.old(now) {
		return false
	}
	c.rest = now
	return c.end.put(c)
}

// closed is told once that the connection is no more.
func (c *conn) closed() {
	c.end.up.stats.ended(c.born, c.end.up.now())
	c.end.up.dismiss(c.end)
}

// old reports whether c has reached its maximum lifetime, or certificates have been renewed.
func (c *conn) old(now time.Time) bool {
	return c.under != c.end.up.tls.Load() || outlived(now, c.born, c.until, c.end.up.spec.MaxLifetime)
}

// outlived reports whether a connection that was born at a time must not be used any more, by
// a limit to its lifetime, 0 for none, or because it is until, zero for never.
func outlived(now, born, until time.Time, limit time.Duration) bool {
	return limit > 0 && now.Sub(born) >= limit || !until.IsZero() && !now.Before(until)
}

// expired reports whether an idle c must not be used any more.
func (c *conn) expired(now time.Time) bool {
	return now.Sub(c.rest) >= c.end.up.spec.IdleTimeout || c.old(now)
}

// An endpoint is one address of an upstream and the idle connections to it.
type endpoint struct {
	up   *Upstream
	addr netip.AddrPort
	text string
	live atomic.Int64 // its connections: connecting, in use or idle

	failing atomic.Int32 // health checks that it does not pass
	unwatch func()       // ends them; nil without any

	mu      sync.Mutex
	idle    []*conn   // the last to come is the first to go: what is not needed grows old
	waiters []*waiter // for a connection, who has waited longest first
	closed  bool      // the address is gone or the upstream retired: nothing is kept
	gone    bool      // the address is

	shared []*shared  // connections that carry many exchanges, the oldest first: what is not needed rests
	joins  []*joining // those in the making
}

func newEndpoint(u *Upstream, addr netip.AddrPort) *endpoint {
	return &endpoint{up: u, addr: addr, text: addr.String()}
}

// put keeps c for the next request; false if it must close. Budget: 0 allocs once
// the stack has grown.
func (e *endpoint) put(c *conn) bool {
	e.mu.Lock()
	if !e.closed && e.hand(c) {
		e.mu.Unlock()
		return true
	}
	kept := !e.closed && len(e.idle) < e.up.maxIdle
	if kept {
		e.idle = append(e.idle, c)
	}
	e.mu.Unlock()
	if kept {
		e.up.armJanitor()
	}
	return kept
}

// take returns the connection that rested least, or nil. Budget: 0 allocs.
func (e *endpoint) take() *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.idle) - 1
	if last < 0 {
		return nil
	}
	c := e.idle[last]
	e.idle[last] = nil
	e.idle = e.idle[:last]
	return c
}

const (
	// checkAfter is how long a connection rests before the janitor looks at it.
	checkAfter = time.Second
	// doubtAfter is how long a connection rests before it is looked at when it is
	// lent. One that rested less is very likely well; its link looks once more before
	// the first byte, and a request that finds it closed is tried on another.
	doubtAfter = 100 * time.Millisecond
)

// fresh returns an idle connection fit for use, or nil. Those that are not are
// closed on the way. Budget: 0 allocs.
func (e *endpoint) fresh(now time.Time) *conn {
	for {
		c := e.take()
		if c == nil {
			return nil
		}
		if !c.expired(now) && (now.Sub(c.rest) < doubtAfter || c.link.Alive()) {
			return c
		}
		_ = c.link.Close() // it is not used again
	}
}

// drain closes what is idle and keeps nothing from now on: because the upstream was retired,
// or because the address is gone. Only then those that wait for a connection find another
// endpoint; else they have their turn when one of those in use ends.
func (e *endpoint) drain(gone bool) {
	if e.unwatch != nil {
		e.unwatch()
	}
	e.mu.Lock()
	e.closed, e.gone = true, gone
	idle, shared := e.idle, e.shared
	e.idle, e.shared = nil, nil
	for gone && e.hand(nil) { // until nobody waits
	}
	e.mu.Unlock()
	closeAll(idle)
	retireAll(shared)
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		_ = c.link.Close() // it is not used again
	}
}

// sweep closes idle connections that have rested or lived too long or were closed by
// their peer. It reports whether any remain idle.
func (e *endpoint) sweep(now time.Time) bool {
	resting := e.takeResting(now)
	kept := resting[:0]
	var done []*conn
	for _, c := range resting {
		if !c.expired(now) && c.link.Alive() {
			kept = append(kept, c)
		} else {
			done = append(done, c)
		}
	}
	e.mu.Lock()
	if e.closed {
		done = append(done, kept...)
	} else {
		e.idle = append(kept, e.idle...)
		e.handIdle()
	}
	left := len(e.idle) > 0
	e.mu.Unlock()
	closeAll(done)
	return e.sweepShared(now) || left
}

// handIdle gives connections to those who began to wait while these were looked at. e.mu is held.
func (e *endpoint) handIdle() {
	for last := len(e.idle) - 1; last >= 0 && e.hand(e.idle[last]); last-- {
		e.idle[last] = nil
		e.idle = e.idle[:last]
	}
}

// takeResting takes out the connections at the bottom that have rested a while, and
// those above that are too old.
func (e *endpoint) takeResting(now time.Time) []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.idle) && (now.Sub(e.idle[n].rest) >= checkAfter || e.idle[n].old(now)) {
		n++
	}
	taken := append([]*conn(nil), e.idle[:n]...)
	e.idle = append(e.idle[:0], e.idle[n:]...)
	clear(e.idle[len(e.idle):][:n])
	return taken
}

// load is how many exchanges the endpoint has to do. Budget: 0 allocs.
func (e *endpoint) load() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.up.spec.HTTP2 {
		return e.live.Load() - int64(len(e.idle))
	}
	n := 0
	for _, s := range e.shared {
		n += s.mux.Streams()
	}
	return int64(n)
}

func (e *endpoint) idleCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.idle)
	for _, s := range e.shared {
		if s.mux.Streams() == 0 {
			n++
		}
	}
	return n
}
