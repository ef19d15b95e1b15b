package gateway

import (
	"crypto/tls"

	"legate/telemetry"
	"legate/wire"
	"legate/wire/h1"
	"legate/wire/h2"
)

// engines serve the connections of one port, each by what its client speaks: what ALPN
// agreed on, or HTTP/2's preface whatever that was (RFC 9113 §3).
type engines struct {
	h1 *h1.Server
	h2 *h2.Server

	port     *telemetry.PortMetrics
	speaking *telemetry.Gauge // HTTP/2
	clear    *telemetry.Gauge // these count what may yet turn out to speak it
	secure   *telemetry.Gauge
	abused   [h2.NumAbuses]*telemetry.Counter
}

func newEngines(g *Gateway, name string, port *telemetry.PortMetrics) *engines {
	e := &engines{
		port:     port,
		speaking: g.metrics.Connections(name, "h2"),
		clear:    g.metrics.Connections(name, "http/1.1"),
		secure:   g.metrics.Connections(name, "tls"),
	}
	for a := range h2.NumAbuses {
		e.abused[a] = g.metrics.Abused(a.String())
	}
	e.h1 = h1.NewServer(g, g.limits, g.clock)
	e.h2 = h2.NewServer(g, e, h2.DefaultLimits(), g.clock)
	e.h1.Succeed(e.h2)
	return e
}

// Start serves one connection in a goroutine of its own.
func (e *engines) Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func()) {
	if secure != nil && secure.ConnectionState().NegotiatedProtocol == "h2" {
		e.h2.Start(raw, secure, peer, nil, ended)
		return
	}
	e.h1.Start(raw, secure, peer, ended)
}

// limits are those of both engines.
type limits struct {
	h1 h1.Limits
	h2 h2.Limits
}

// limitsOf says what s allows.
func (g *Gateway) limitsOf(s *Snapshot) limits {
	l := limits{h1: g.limits, h2: h2.DefaultLimits()}
	l.h1.MaxHeadBytes = s.edge.maxRequestHeaders
	if len(s.world.Modules) > 0 {
		m := &s.world.Modules[0]
		l.h1.AllowChunkedLength = m.AllowChunkedLength
		l.h1.IdleTimeout = milliseconds(int(l.h1.IdleTimeout.Milliseconds()), m.ListenerIdleTimeoutMS)
	}
	l.h2.MaxHeadBytes, l.h2.MaxFields = l.h1.MaxHeadBytes, l.h1.MaxFields
	l.h2.HeadTimeout, l.h2.IdleTimeout, l.h2.StreamIdle = l.h1.HeadTimeout, l.h1.IdleTimeout, l.h1.StreamIdle
	l.h2.MinBodyRate, l.h2.BodyGrace = l.h1.MinBodyRate, l.h1.BodyGrace
	l.h2.MaxAge = g.opts.MaxConnectionAge
	return l
}

// SetLimits replaces the limits of both engines.
func (e *engines) SetLimits(l limits) {
	e.h1.SetLimits(l.h1)
	e.h2.SetLimits(l.h2)
}

// Drain has every connection end once what is in hand is served.
func (e *engines) Drain() {
	e.h1.Drain()
	e.h2.Drain()
}

// Wait returns when every connection has ended.
func (e *engines) Wait() {
	e.h1.Wait() // first: what it serves may yet become the other's
	e.h2.Wait()
}

// Abort breaks every connection that is left.
func (e *engines) Abort() {
	e.h1.Abort()
	e.h2.Abort()
}

// Opened moves a connection to those that speak HTTP/2.
func (e *engines) Opened(secure bool) {
	e.before(secure).Add(-1)
	e.speaking.Add(1)
	e.port.HTTP2.Add()
	e.port.SpeakHTTP2.Add(1)
}

// Closed moves it back: whoever counted it first uncounts it.
func (e *engines) Closed(secure bool) {
	e.speaking.Add(-1)
	e.before(secure).Add(1)
	e.port.SpeakHTTP2.Add(-1)
}

func (e *engines) before(secure bool) *telemetry.Gauge {
	if secure {
		return e.secure
	}
	return e.clear
}

// Abused counts an abuse.
func (e *engines) Abused(a h2.Abuse) { e.abused[a].Add() }
