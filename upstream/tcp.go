package upstream

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// OfTCP returns m's Spec and what is wrong with its fields, as Of does. A TCPMapping's
// upstream has a limit of its own to its connections, and so shares no pool with
// Mappings.
func (s *Specs) OfTCP(m *config.TCPMapping) (Spec, []config.Problem) {
	r := specReader{Specs: s, refused: "its connections are closed", mapping: &config.Mapping{
		Meta: m.Meta, Service: m.Service, Resolver: m.Resolver, TLS: m.TLS, OriginateTLS: m.OriginateTLS,
		EnableIPv4: m.EnableIPv4, EnableIPv6: m.EnableIPv6, ClusterTag: m.ClusterTag, StatsName: m.StatsName,
		CircuitBreakers: m.CircuitBreakers,
	}}
	spec := r.read()
	spec.Raw = true
	return spec, r.problems
}

// A Connection is a connection to an endpoint as its bytes are: one side of a
// wire.Tunnel. Whoever has it closes it.
type Connection struct {
	*wire.End
	end    *endpoint
	born   time.Time
	closed atomic.Bool
}

// Connect makes a connection that is not for exchanges: it never comes from the pool
// and never goes there. It blocks up to the connect timeout. On failure the connection
// is nil, the reason says why and the error is for operators.
func (u *Upstream) Connect() (*Connection, decision.Reason, error) {
	e, by, err := u.next(Choice{})
	if err != nil {
		return nil, decision.NoEndpoints, err
	}
	e = u.target(e)
	now := u.now()
	if by.IsZero() {
		by = now.Add(u.spec.ConnectTimeout)
	}
	if !u.admit(e) {
		return nil, decision.UpstreamOverflow, errTooManyTCP
	}
	raw, secure, reason, err := u.socket(e, by)
	if err != nil {
		u.dismiss(e)
		u.stats.failed(reason)
		return nil, reason, err
	}
	u.stats.connected(now, u.now())
	c := newConnection(raw, secure, e)
	c.born = now
	return c, decision.None, nil
}

var errTooManyTCP = errors.New("as many connections to the upstream are open as may be")

func newConnection(raw *wire.Conn, secure *tls.Conn, e *endpoint) *Connection {
	return &Connection{End: wire.NewEnd(raw, secure, nil), end: e}
}

// Endpoint returns the endpoint's address.
func (c *Connection) Endpoint() string { return c.end.text }

// Close closes the connection, in order if nothing has broken it.
func (c *Connection) Close() {
	if c.closed.Swap(true) {
		return
	}
	_ = c.CloseWrite() // if the endpoint is gone there is nobody to tell
	c.End.Close()
	c.end.up.stats.ended(c.born, c.end.up.now())
	c.end.up.dismiss(c.end)
}
