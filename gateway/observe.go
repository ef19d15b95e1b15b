package gateway

import (
	"crypto/tls"
	"time"

	"legate/decision"
	"legate/format"
	"legate/telemetry"
	"legate/wire"
)

// count counts a request that is about to be served. Budget: 0 allocs.
func (x *Exchange) count() {
	x.gateway.metrics.InFlight.Add(1)
	if l := x.inbound(); l != nil {
		l.Begin(x.Req.Major >= 2)
	}
}

// inbound are the counters of x's Listener; nil if that has just left the configuration.
func (x *Exchange) inbound() *telemetry.ListenerMetrics {
	if i := x.Snap.listener(x.peer.Listener); i >= 0 {
		return x.Snap.listeners[i].metrics
	}
	return nil
}

// observe turns the record into one line and a few counters. Budget: 0 allocs.
func (g *Gateway) observe(x *Exchange) {
	took := g.clock().Sub(x.Now)
	d := &x.Decision
	x.Route.metrics.Observe(int(d.Status), d.Ended, d.Reason(), took)
	if l := x.inbound(); l != nil {
		l.Observe(int(d.Status), d.Reason(), took)
	}
	if x.Route.upstreamMetrics != nil {
		x.observeUpstream(d.Reason())
	}
	if r := d.Reason(); r != decision.None && r != decision.HealthCheck {
		g.recent.note(x)
	}
	x.recording, x.took = true, took
	if x.trace.Sampled && x.Snap.tracing != nil {
		x.report(x.Snap.tracing)
	}
	if len(x.Snap.logServices) > 0 {
		x.tellLogs()
	}
	if x.Snap.accessLog != nil {
		x.describe(took)
		x.Snap.accessLog.Append(&x.entry)
	}
}

// observeUpstream counts what came of asking the upstream. Budget: 0 allocs.
func (x *Exchange) observeUpstream(reason decision.Reason) {
	u, d := x.Route.upstreamMetrics, &x.Decision
	switch {
	case x.headAfter > 0:
		u.Observe(x.Resp.Status, x.headAfter, x.External)
		if reason != decision.None && reason != decision.RetriesExhausted {
			u.Failed(reason, true)
		}
		if x.retries > 0 && reason == decision.None {
			u.Recovered()
		}
	case d.Ended == decision.Proxy || d.Ended == decision.Break:
		if d.Status > 0 && reason != decision.UpgradeRefused {
			u.Stood(reason.Status())
		}
	}
	for range x.retries {
		u.Retry()
	}
}

// describe fills the access-log entry.
func (x *Exchange) describe(took time.Duration) {
	e := &x.entry
	e.Format, e.Source = x.Snap.logFormat, x
	e.Start, e.Duration, e.UpstreamTime = x.Now, took, x.headAfter
	e.Method, e.Host, e.Path = x.Req.MethodName(), x.Req.Host(), x.path
	e.RequestID = x.requestID
	if !x.trace.IsZero() {
		start := len(x.arena)
		x.arena = x.trace.AppendTraceID(x.arena)
		e.TraceID = x.arena[start:len(x.arena):len(x.arena)]
	}
	e.Major, e.Minor = x.Req.Major, x.Req.Minor
	e.Record = &x.Decision
	e.Route, e.Upstream, e.Endpoint = x.Route.name, x.Route.upstreamName, x.endpoint
	e.BytesIn, e.BytesOut = x.stream.BytesIn(), x.stream.BytesOut()
	e.ClientIP = x.Client
	e.Generation = x.Snap.Gen
	e.Retries = x.retries
	e.TLS = ""
	if x.peer.TLS != nil {
		e.TLS = tlsVersion(x.peer.TLS.Version)
	}
	if x.peer.Proxy != nil {
		e.VPCEndpoint = x.peer.Proxy.VPCEndpoint
	}
	e.UserAgent = x.Req.Get(wire.FieldUserAgent)
	e.XFF, _ = x.requestField(&fieldXFF) // with the peer, as Envoy's line has it
}

var fieldXFF = format.Field{ID: wire.FieldXForwardedFor, Name: "x-forwarded-for"}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS11:
		return "TLSv1.1"
	}
	return "TLSv1"
}
