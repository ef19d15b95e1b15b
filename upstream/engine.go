package upstream

import (
	"crypto/tls"
	"time"

	"legate/wire"
	"legate/wire/h1"
	"legate/wire/h2"
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

// pingAfter is how long an endpoint may be silent while exchanges go on. Servers take
// offence at PINGs that come more often than every five minutes; that a quiet connection
// stays known on the way, and that a dead one is noticed, TCP sees to.
const pingAfter = 330 * time.Second

// newMultiplexer makes the engine's half of s on a connected socket, and begins HTTP/2
// before by. secure is nil on cleartext. On failure the socket is closed.
func newMultiplexer(raw *wire.Conn, secure *tls.Conn, s *shared, by time.Time) (multiplexer, error) {
	c, err := h2.NewClient(raw, secure, s.end.text, s, by, h2.ClientOptions{PingAfter: pingAfter, Now: s.end.up.now})
	if err != nil {
		return nil, err
	}
	return client{c}, nil
}

// A client is an h2.Client as the pool sees it.
type client struct{ *h2.Client }

// Open returns a link for one more exchange, nil if there is no room for one.
func (c client) Open() wire.Link {
	if l := c.Client.Open(); l != nil {
		return l
	}
	return nil
}
