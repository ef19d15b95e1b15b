package gateway

import (
	"errors"
	"math/rand/v2"

	"legate/config"
	"legate/decision"
	"legate/telemetry"
	"legate/wire"
	"legate/wire/tcp"
)

// A carriage is one TCP connection and its record.
type carriage struct {
	gateway  *Gateway
	conn     *tcp.Conn
	snap     *Snapshot  // the one that chose the route
	member   *tcpMember // nil where there is none
	record   decision.Record
	endpoint string
	up, down int64
}

// Carry brings one TCP connection to its service: the whole life of a connection, in
// one function.
func (g *Gateway) Carry(c *tcp.Conn) {
	x := &carriage{gateway: g, conn: c, snap: g.current(c.Peer().Listener)}
	g.metrics.InFlight.Add(1)
	defer g.metrics.InFlight.Add(-1)
	defer g.shielded(x.observe)
	defer x.recover()
	if route := x.choose(); route != nil {
		x.tunnel(route)
	}
}

// choose finds the route, and draws which member of it has the connection.
func (x *carriage) choose() *tcpRoute {
	peer := x.conn.Peer()
	if i := x.snap.listener(peer.Listener); i >= 0 {
		if route := x.snap.tcp[i].find(x.snap, i, peer.TLS); route != nil {
			if n := route.group.Choose(rand.Uint64()); n >= 0 { //nolint:gosec // because it deals out shares, not secrets
				x.member = &route.members[n]
				return route
			}
		}
	}
	x.record.End(decision.Match, decision.NoRoute, "", nil)
	return nil
}

// tunnel connects to the service and carries bytes until both sides have ended.
func (x *carriage) tunnel(route *tcpRoute) {
	m := x.member
	far, reason, err := m.upstream.Connect()
	if err != nil {
		x.record.End(decision.Proxy, reason, m.by, err)
		return
	}
	defer far.Close()
	x.endpoint = far.Endpoint()
	x.up, x.down, err = x.conn.Tunnel(far, route.idle)
	x.record.End(decision.Proxy, x.ending(err), m.by, err)
}

// ending says why a tunnel ended before both its directions had; None if they did.
func (x *carriage) ending(err error) decision.Reason {
	broke, ok := errors.AsType[*wire.TunnelError](err)
	switch {
	case !ok:
		return decision.None
	case x.gateway.cut.Load():
		return decision.Draining
	case broke.Rested:
		return decision.TunnelIdle
	case broke.Side == wire.Near:
		return decision.ClientGone
	}
	return decision.UpstreamReset
}

// recover ends a connection that met a defect of ours.
func (x *carriage) recover() {
	if cause := recover(); cause != nil {
		err := x.gateway.defect(cause)
		x.record.End(decision.Proxy, decision.Internal, "", err)
		x.conn.Abort()
	}
}

// observe turns the record into one line and a few counters.
func (x *carriage) observe() {
	e := telemetry.Entry{Start: x.conn.Start(), Endpoint: x.endpoint, BytesIn: x.up, BytesOut: x.down}
	e.Duration = x.gateway.clock().Sub(e.Start)
	if m := x.member; m != nil {
		e.Route, e.Upstream = m.name, m.upstreamName
	}
	x.count()
	x.gateway.observeTCP(x.snap, x.conn.Peer(), &x.record, &e)
}

// count counts what the port's connections carry, and how they end.
func (x *carriage) count() {
	p := x.snap.portOf(x.conn.Peer().Listener)
	if p == nil {
		return
	}
	p.Carried(x.up, x.down)
	switch x.record.Reason() {
	case decision.NoRoute:
		p.TCPNoRoute.Add()
	case decision.TunnelIdle:
		p.TCPIdle.Add()
	default:
	}
}

// observeTCP completes the entry of a TCP connection and writes it.
func (g *Gateway) observeTCP(s *Snapshot, peer *wire.Peer, rec *decision.Record, e *telemetry.Entry) {
	rec.Status = 0 // there is no such thing here
	if reason := rec.Reason(); reason != decision.None {
		g.metrics.Decided(rec.Ended, reason)
	}
	e.TCP, e.Record = true, rec
	s.tellTCP(peer, e)
	if s.accessLog == nil {
		return
	}
	e.ClientIP, e.Generation = peer.Remote.Addr(), s.Gen
	if peer.TLS != nil {
		e.TLS, e.Host = tlsVersion(peer.TLS.Version), []byte(peer.TLS.ServerName)
	}
	if peer.Proxy != nil {
		e.VPCEndpoint = peer.Proxy.VPCEndpoint
	}
	if s.logFormat != nil {
		e.Format, e.Source = s.logFormat, tcpSource{e, peer, s}
	}
	s.accessLog.Append(e)
}

// tcpOnly reports whether a port carries TCPMappings and nothing else.
func (g *Gateway) tcpOnly(slot int) bool {
	s := g.current(slot)
	i := s.listener(slot)
	return i >= 0 && s.tcp[i].serves() && !s.world.Listeners[i].Has(config.ProtoHTTP)
}

// turnAway records a connection that asked for a name that no TCPMapping has.
func (g *Gateway) turnAway(peer *wire.Peer, name string) {
	var rec decision.Record
	rec.End(decision.Match, decision.NoRoute, "", nil)
	g.observeTCP(g.current(peer.Listener), peer, &rec, &telemetry.Entry{Start: g.clock(), Host: []byte(name)})
}
