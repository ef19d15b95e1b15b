package h2

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"legate/wire"
)

// A Watcher is told what happens on a server's connections. Its methods must not block.
type Watcher interface {
	Opened(tls bool)
	Closed(tls bool)
	// Abused counts a connection or stream that ended over an abuse.
	Abused(a Abuse)
}

// A Server turns connections into streams for a Handler. Its owner accepts and
// secures the connections.
type Server struct {
	handler wire.Handler
	watcher Watcher
	limits  atomic.Pointer[Limits]
	now     func() time.Time
	workers workers

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*conn]struct{}
	aborted  bool
	done     sync.WaitGroup
}

// NewServer makes a server that asks handler and reads the clock with now.
func NewServer(handler wire.Handler, watcher Watcher, limits Limits, now func() time.Time) *Server {
	s := &Server{handler: handler, watcher: watcher, now: now, conns: map[*conn]struct{}{}}
	s.limits.Store(&limits)
	return s
}

// SetLimits replaces the limits. Those of heads and ages are a connection's from its
// beginning on.
func (s *Server) SetLimits(l Limits) { s.limits.Store(&l) }

// Start serves one connection in a goroutine of its own and calls ended when it is
// over. secure is nil on cleartext. early is what was read of the connection before; it
// is copied.
func (s *Server) Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, early []byte, ended func()) {
	c := s.conn(raw, secure, peer, ended)
	c.rd.begin(early)
	if !s.track(c) {
		c.rd.release()
		_ = raw.Close() // nothing was said
		ended()
		return
	}
	s.watcher.Opened(secure != nil)
	go c.run()
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted {
		return false
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) untrack(c *conn) {
	s.watcher.Closed(c.secure != nil)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.done.Done()
}

// Drain tells every client to bring further requests elsewhere; what is in hand, and
// what is on its way, is still served. So it is with connections that start later.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		go c.leave() // a client that does not read must not keep the others
	}
}

// Wait returns when every connection has ended. None may start while it waits.
func (s *Server) Wait() {
	s.done.Wait()
	s.workers.dismiss()
}

// Abort breaks every connection that is left, and those that start later. Tunnels end in
// order before, if their sides let them.
func (s *Server) Abort() {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = true
	for c := range s.conns {
		c.tunnels.stop(func() { _ = c.raw.Close() }) // its goroutine sees the error
	}
}

// workers are goroutines that wait for streams to serve: the stack that a request grew
// serves the next.
type workers struct {
	mu     sync.Mutex
	idle   []chan *exchange // the last to rest is the first to work
	over   bool
	active sync.WaitGroup
}

// maxWorkers is how many goroutines wait for work at most.
const maxWorkers = 256

// do has x served by a goroutine other than the caller's.
func (w *workers) do(x *exchange) {
	w.mu.Lock()
	last := len(w.idle) - 1
	if last < 0 {
		w.mu.Unlock()
		w.active.Add(1)
		go w.work(x)
		return
	}
	c := w.idle[last]
	w.idle = w.idle[:last]
	w.mu.Unlock()
	c <- x
}

func (w *workers) work(x *exchange) {
	defer w.active.Done()
	var c chan *exchange
	for x != nil {
		x.serve()
		if c == nil {
			c = make(chan *exchange, 1)
		}
		if !w.rest(c) {
			return
		}
		x = <-c
	}
}

func (w *workers) rest(c chan *exchange) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || len(w.idle) >= maxWorkers {
		return false
	}
	w.idle = append(w.idle, c)
	return true
}

// dismiss ends the workers that wait, and those that work once they are done.
func (w *workers) dismiss() {
	w.mu.Lock()
	w.over = true
	for _, c := range w.idle {
		close(c)
	}
	w.idle = nil
	w.mu.Unlock()
	w.active.Wait()
}
