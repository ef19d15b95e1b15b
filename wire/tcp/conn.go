package tcp

import (
	"time"

	"legate/wire"
)

// A Conn is one connection.
type Conn struct {
	srv    *Server
	end    *wire.End
	peer   wire.Peer
	start  time.Time
	onEnd  func()
	tunnel *wire.Tunnel // guarded by srv.mu; nil before there is one
}

// Peer describes the connection. It is valid as long as the connection.
func (c *Conn) Peer() *wire.Peer { return &c.peer }

// Start returns when the connection was handed over.
func (c *Conn) Start() time.Time { return c.start }

func (c *Conn) run() {
	c.srv.carrier.Carry(c)
	c.end.Linger(c.srv.now())
	c.end.Close()
	c.srv.forget(c)
	c.onEnd()
}

// Tunnel carries bytes both ways between the client and far, until both have ended or
// nothing has moved for idle; 0 is for ever. It returns how many went up to far and
// down to the client. The error is nil or a *wire.TunnelError. far is the caller's to
// close.
func (c *Conn) Tunnel(far wire.Duplex, idle time.Duration) (up, down int64, err error) {
	t := &wire.Tunnel{Near: c.end, Far: far, Idle: idle, Now: c.srv.now}
	c.srv.mu.Lock()
	c.tunnel = t
	if c.srv.aborted {
		t.Stop()
	}
	c.srv.mu.Unlock()
	err = t.Run()
	return t.Up(), t.Down(), err
}

// Abort breaks the connection, so that the client can tell it from an orderly end.
func (c *Conn) Abort() { c.end.Abort() }
