package upstream

import (
	"slices"
	"time"

	"legate/decision"
)

// A Budget bounds the connections of an upstream and who waits for one. Upstreams may
// share one.
type Budget interface {
	// Wait counts a request that waits for a connection, unless too many do; it has
	// Waited in the end.
	Wait() bool
	Waited()

	// Connect counts one more connection: if there is a place and nobody has waited for
	// it longer, or because it must be. Disconnect gives the place to who has.
	Connect(must bool) bool
	Disconnect()

	// Line stands in line for a connection's place. One value comes over place once
	// there is one, which is then counted. leave ends the standing, and gives back a
	// place that was not received.
	Line() (place <-chan struct{}, leave func())
}

// unlimited is a Budget without limits.
type unlimited struct{}

func (unlimited) Wait() bool                      { return true }
func (unlimited) Waited()                         {}
func (unlimited) Connect(bool) bool               { return true }
func (unlimited) Disconnect()                     {}
func (unlimited) Line() (<-chan struct{}, func()) { return nil, func() {} }

// A waiter is a request that waits for a connection of its endpoint to come to rest.
type waiter struct{ got chan *conn } // nil comes when the endpoint has gone

// queue waits until by for a connection to e that comes to rest, or for a place for
// one more, as long as gone says that somebody waits for the request. It returns a
// connection; or that there is a place; or neither, and why.
func (u *Upstream) queue(e *endpoint, by time.Time, gone func() bool) (c *conn, placed bool, reason decision.Reason, err error) {
	w := &waiter{make(chan *conn, 1)}
	place, leave := u.budget.Line()
	e.await(w)
	end := u.newWait(by, gone)
	defer end.Stop()
	for waits := true; waits; {
		waits = false
		select {
		case c = <-w.got:
			leave()
		case <-place:
			if c = e.quit(w); c == nil {
				return nil, true, decision.None, nil
			}
			u.budget.Disconnect()
		case <-end.C:
			if waits = end.goesOn(); !waits {
				leave()
				c = e.quit(w)
			}
		}
	}
	switch {
	case end.left:
		if c != nil && !c.keep() {
			_ = c.link.Close() // it is not used again
		}
		return nil, false, decision.ClientGone, errNobody
	case c != nil:
		return c, false, decision.None, nil
	case u.now().Before(by):
		return nil, false, decision.NoEndpoints, errMoved
	}
	return nil, false, decision.DialTimeout, errNoPlace
}

// await has w get the next connection that comes to rest, after those who wait already.
func (e *endpoint) await(w *waiter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	last := len(e.idle) - 1
	switch {
	case e.gone:
		w.got <- nil
	case last >= 0:
		w.got <- e.idle[last]
		e.idle[last] = nil
		e.idle = e.idle[:last]
	default:
		e.waiters = append(e.waiters, w)
	}
}

// quit ends w's waiting, and returns the connection that it got meanwhile, if any.
func (e *endpoint) quit(w *waiter) *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.Index(e.waiters, w); i >= 0 {
		e.waiters = slices.Delete(e.waiters, i, i+1)
		return nil
	}
	select {
	case c := <-w.got:
		return c
	default:
		return nil
	}
}

// hand gives c to who has waited longest for it. e.mu is held.
func (e *endpoint) hand(c *conn) bool {
	if len(e.waiters) == 0 {
		return false
	}
	w := e.waiters[0]
	e.waiters = slices.Delete(e.waiters, 0, 1)
	w.got <- c
	return true
}
