package upstream

import (
	"crypto/tls"

	"legate/wire"
	"legate/wire/h1"
)

// newCarrier makes the engine's half of c on a connected socket. secure is nil on
// cleartext.
func newCarrier(raw *wire.Conn, secure *tls.Conn, c *conn) carrier {
	return h1.NewLink(raw, secure, c.end.text, c)
}

// Idle implements h1.Owner.
func (c *conn) Idle(*h1.Link) bool { return c.keep() }

// Closed implements h1.Owner.
func (c *conn) Closed(*h1.Link) { c.closed() }
