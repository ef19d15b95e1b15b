// Package tcp is the engine for connections whose bytes nobody here understands: it
// keeps track of them, carries them, and ends them well. Where to, a Carrier decides.
package tcp

import (
	"crypto/tls"
	"sync"
	"time"

	"legate/wire"
)

// A Carrier decides what becomes of connections.
type Carrier interface {
	// Carry serves c: by its Tunnel, or not at all. The connection closes, in order, when
	// it returns. It runs in a goroutine of c's own.
	Carry(c *Conn)
}

// A Server hands connections to a Carrier. Its owner accepts and secures them.
type Server struct {
	carrier Carrier
	now     func() time.Time

	mu      sync.Mutex
	conns   map[*Conn]struct{}
	aborted bool
	done    sync.WaitGroup
}

// NewServer makes a server that asks carrier and reads the clock with now.
func NewServer(carrier Carrier, now func() time.Time) *Server {
	return &Server{carrier: carrier, now: now, conns: map[*Conn]struct{}{}}
}

// Start serves one connection in a goroutine of its own and calls ended when it is
// over. secure is the TLS session on raw, or nil.
func (s *Server) Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func()) {
	c := &Conn{srv: s, end: wire.NewEnd(raw, secure, nil), peer: peer, start: s.now(), onEnd: ended}
	if secure != nil {
		c.peer.TLS = wire.NewTLSInfo(secure)
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.done.Add(1)
	s.mu.Unlock()
	go c.run()
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.done.Done()
}

// Wait returns when every connection has ended. None may start while it waits.
func (s *Server) Wait() { s.done.Wait() }

// Abort stops the tunnels that are left, and those that begin later.
func (s *Server) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted = true
	for c := range s.conns {
		if c.tunnel != nil {
			c.tunnel.Stop()
		}
	}
}
