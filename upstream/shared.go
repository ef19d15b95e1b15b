package upstream

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"legate/decision"
	"legate/wire"
)

// A multiplexer is the engine's half of a connection that carries many exchanges at
// once. It calls its owner back only from goroutines of its own and from its links.
type multiplexer interface {
	// Open returns a link for one more exchange, nil if there is no room for one.
	// Budget: 0 allocs once exchanges have ended.
	Open() wire.Link

	// Streams returns how many exchanges go on.
	Streams() int

	// MaxStreams returns how many may go on at once.
	MaxStreams() int

	// Leaving reports whether the connection takes no exchange any more.
	Leaving() bool

	// Retire has the connection take no further exchange and close after its last.
	Retire()
}

// A shared is a connection to an endpoint that carries many exchanges at once. It is
// the owner of its multiplexer.
type shared struct {
	end  *endpoint
	mux  multiplexer
	born time.Time
	// under is what TLS was spoken by as it was made, or what came just before that.
	under *tls.Config
	// until is when who is on its ends can no longer be told; zero for never.
	until time.Time
	rest  atomic.Int64 // when the last exchange ended, in Unix nanoseconds
}

// Rested is told that the last of the exchanges has ended. Budget: 0 allocs.
func (s *shared) Rested() {
	s.rest.Store(s.end.up.now().UnixNano())
	s.end.up.armJanitor()
}

// Closed is told once that the connection is no more.
func (s *shared) Closed() {
	s.end.up.stats.ended(s.born, s.end.up.now())
	s.end.up.dismiss(s.end)
	s.end.forget(s)
}

// old reports whether s has reached its maximum lifetime, or certificates have been renewed.
func (s *shared) old(now time.Time) bool {
	return s.under != s.end.up.tls.Load() || outlived(now, s.born, s.until, s.end.up.spec.MaxLifetime)
}

// expired reports whether s must take no further exchange.
func (s *shared) expired(now time.Time) bool {
	if s.old(now) || s.mux.Leaving() {
		return true
	}
	return s.mux.Streams() == 0 && now.UnixNano()-s.rest.Load() >= int64(s.end.up.spec.IdleTimeout)
}

// A joining is a connection in the making, and how many exchanges may still wait to
// share it.
type joining struct {
	done   chan struct{}
	room   int
	reason decision.Reason
	err    error // set before done closes
}

// expectStreams is how many exchanges are expected to share a connection to an
// endpoint that has not yet said how many it takes.
const expectStreams = 100

// errCrowded says that connections came about but others always took their room.
var errCrowded = errors.New("no connection had room in time")

// openShared returns a link for one exchange on a connection to e that has room, or on
// a new one. Who comes while one is being made waits for it. A zero by stands for a
// whole connect timeout from now, or what is left of the request if that is less.
// Budget: 0 allocs when a connection has room.
func (u *Upstream) openShared(e *endpoint, now, by time.Time, c Choice) (wire.Link, decision.Reason, error) {
	if link := e.share(now); link != nil {
		return link, decision.None, nil
	}
	if !u.budget.Wait() {
		return nil, decision.UpstreamOverflow, errTooMany
	}
	defer u.budget.Waited()
	u.stats.waited.Add(1)
	if by.IsZero() {
		by = u.connectBy(u.now(), c.By)
	}
	return u.openJoined(e, now, by, c.Gone)
}

// openJoined is openShared for who waits.
func (u *Upstream) openJoined(e *endpoint, now, by time.Time, gone func() bool) (wire.Link, decision.Reason, error) {
	for try := 1; ; try++ {
		link, wait, make := e.shareOrJoin(now)
		var reason decision.Reason
		var err error
		switch {
		case make != nil:
			link, reason, err = u.join(e, make, by)
		case wait != nil:
			reason, err = u.await(wait, by, gone)
		}
		switch {
		case link != nil:
			return link, decision.None, nil
		case wait != nil && reason == decision.DialTimeout && u.now().Before(by): // it was another's time that was over
		case err != nil && (!errors.Is(err, errLeft) || try == maxJoins):
			return nil, reason, err
		}
	}
}

// maxJoins is how many connections that take nothing are made or waited for.
const maxJoins = 3

// await waits for a connection that somebody else makes.
func (u *Upstream) await(j *joining, by time.Time, gone func() bool) (decision.Reason, error) {
	end := u.newWait(by, gone)
	defer end.Stop()
	for {
		select {
		case <-j.done:
			return j.reason, j.err
		case <-end.C:
			switch {
			case end.goesOn():
			case end.left:
				return decision.ClientGone, errNobody
			default:
				return decision.DialTimeout, errCrowded
			}
		}
	}
}

// join makes a connection and has those who wait for j share it.
func (u *Upstream) join(e *endpoint, j *joining, by time.Time) (wire.Link, decision.Reason, error) {
	s, reason, err := u.connectShared(e, by)
	var link wire.Link
	if err == nil {
		if link = s.mux.Open(); link == nil { // it ended as it began
			reason, err = decision.UpstreamRefusedStream, errLeft
		}
	}
	j.reason, j.err = reason, err
	kept := e.joined(j, s, err)
	close(j.done)
	if s != nil && !kept {
		s.mux.Retire()
	}
	return link, reason, err
}

var errLeft = errors.New("the endpoint takes no requests on a new connection")

// connectShared connects to e before by.
func (u *Upstream) connectShared(e *endpoint, by time.Time) (*shared, decision.Reason, error) {
	now := u.now()
	if !u.admit(e) {
		return nil, decision.UpstreamOverflow, errNoPlace
	}
	s := &shared{end: e, born: now}
	s.rest.Store(now.UnixNano())
	if reason, err := u.connectMux(s, by); err != nil {
		u.dismiss(e)
		u.stats.failed(reason)
		return nil, reason, &EndpointError{e.text, err}
	}
	u.stats.connected(now, u.now())
	return s, decision.None, nil
}

// share returns a link on a connection with room, nil if there is none.
// Budget: 0 allocs when a connection has room.
func (e *endpoint) share(now time.Time) wire.Link {
	e.mu.Lock()
	link, done := e.room(now)
	e.mu.Unlock()
	retireAll(done)
	return link
}

// shareOrJoin is share that without room returns what is being made and has room to wait
// for, or else a joining that the caller must bring about.
func (e *endpoint) shareOrJoin(now time.Time) (link wire.Link, wait, make *joining) {
	e.mu.Lock()
	link, done := e.room(now)
	if link == nil {
		wait, make = e.joining()
	}
	e.mu.Unlock()
	retireAll(done)
	return link, wait, make
}

// room returns a link on a connection with room, nil if there is none, and those that take
// nothing any more and are let go. e.mu is held.
func (e *endpoint) room(now time.Time) (link wire.Link, done []*shared) {
	for i := 0; i < len(e.shared) && link == nil; {
		s := e.shared[i]
		if s.old(now) || s.mux.Leaving() {
			e.shared = append(e.shared[:i], e.shared[i+1:]...)
			done = append(done, s)
			continue
		}
		link = s.mux.Open()
		i++
	}
	return link, done
}

func retireAll(list []*shared) {
	for _, s := range list {
		s.mux.Retire()
	}
}

// joining returns a joining with room, or a new one to bring about. e.mu is held.
func (e *endpoint) joining() (wait, make *joining) {
	for _, j := range e.joins {
		if j.room > 0 {
			j.room--
			return j, nil
		}
	}
	room := expectStreams
	for _, s := range e.shared {
		room = s.mux.MaxStreams()
	}
	j := &joining{done: newSignal(), room: room - 1}
	e.joins = append(e.joins, j)
	return nil, j
}

func newSignal() chan struct{} { return make(chan struct{}) }

// joined ends j, and keeps s for others unless nothing is kept any more.
func (e *endpoint) joined(j *joining, s *shared, err error) (kept bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range e.joins {
		if other == j {
			e.joins = append(e.joins[:i], e.joins[i+1:]...)
			break
		}
	}
	if err != nil || e.closed {
		return false
	}
	e.shared = append(e.shared, s)
	return true
}

// forget lets go of a connection that has closed.
func (e *endpoint) forget(s *shared) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, other := range e.shared {
		if other == s {
			e.shared = append(e.shared[:i], e.shared[i+1:]...)
			return
		}
	}
}

// sweepShared retires connections that have rested or lived too long. It reports
// whether any remain that rest.
func (e *endpoint) sweepShared(now time.Time) (left bool) {
	var done []*shared
	e.mu.Lock()
	kept := e.shared[:0]
	for _, s := range e.shared {
		if s.expired(now) {
			done = append(done, s)
			continue
		}
		kept = append(kept, s)
		left = left || s.mux.Streams() == 0
	}
	clear(e.shared[len(kept):])
	e.shared = kept
	e.mu.Unlock()
	retireAll(done)
	return left
}
