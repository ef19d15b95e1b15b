package gateway

import (
	"net/netip"
	"time"

	"legate/config"
	"legate/format"
	"legate/telemetry"
	"legate/telemetry/als"
	"legate/upstream"
	"legate/wire"
)

// A logService is a LogService ready to be told of requests or connections.
type logService struct {
	*als.Log
	upstream *upstream.Upstream
	headers  []loggedHeader
}

// A loggedHeader is a header whose value it is told.
type loggedHeader struct {
	als.Header
	field format.Field
}

// logServices makes the LogServices ready, or takes them over from old.
func (c *compiler) logServices(old *Snapshot) {
	for i := range c.world.LogServices {
		l := &c.world.LogServices[i]
		spec, ok := c.collectorSpec(&l.Meta, l.Service, l.StatsName, true)
		if !ok {
			continue
		}
		up := c.pool(spec).upstream
		node := &c.g.opts.Node
		s := als.Settings{
			Name: l.Name, TCP: l.TCP, Authority: spec.Address(), Node: node.ID, Cluster: node.Cluster, Version: node.Version,
			Interval: l.FlushInterval, FlushAt: l.FlushBytes,
		}
		for _, h := range l.Headers {
			id := wire.LookupField([]byte(h.Name))
			s.Headers = append(s.Headers, als.Header{Name: h.Name, Field: id, Request: h.Request, Response: h.Response, Trailer: h.Trailer, Hidden: format.Secret(id)})
		}
		c.next.logServices = append(c.next.logServices, c.logService(old, l, &s, up))
	}
}

// logService takes one over from old if nothing about it has changed, or makes it.
func (c *compiler) logService(old *Snapshot, l *config.LogService, s *als.Settings, up *upstream.Upstream) *logService {
	for _, o := range old.logServices {
		if o.upstream == up && o.Settings.Equal(s) {
			return o
		}
	}
	next := &logService{upstream: up, Log: als.New(*s, opener{up, c.g.clock}, c.relayOptions(&l.Meta, telemetry.LogEntries))}
	for _, h := range s.Headers {
		next.headers = append(next.headers, loggedHeader{h, format.Field{ID: h.Field, Name: h.Name}})
	}
	return next
}

// tellLogs tells the LogServices of a request that is over. Budget: 0 allocs.
func (x *Exchange) tellLogs() {
	if x.logged == nil {
		x.logged = &als.Entry{}
	}
	if !x.keptEarly {
		x.note()
	}
	e := x.logged
	e.Reset()
	x.logTimes(e)
	x.logConnection(e)
	x.logMessages(e)
	for i, l := range x.Snap.logServices {
		if l.TCP {
			continue
		}
		e.RequestValues, e.AnswerValues, e.Tails = e.RequestValues[:0], e.AnswerValues[:0], e.Tails[:0]
		x.logHeaders(e, i, l)
		l.Append(e)
	}
}

// logTimes fills in when what happened.
func (x *Exchange) logTimes(e *als.Entry) {
	e.Start, e.Duration, e.Replied = x.Now, x.took, x.took
	e.Received = time.Duration(x.finished.Load())
	if !x.sent.IsZero() {
		e.Sent = max(x.sent.Sub(x.Now), 1)
		e.SentAll = e.Sent
	}
	if x.headAfter > 0 {
		e.Answered = x.sentAt().Sub(x.Now) + x.headAfter
	}
	if x.relayed {
		e.AnsweredAll, e.Began = x.took, e.Answered
	} else {
		e.Began = x.took
	}
}

// logConnection fills in who talked to whom, and how that went.
func (x *Exchange) logConnection(e *als.Entry) {
	e.Client, e.Peer, e.Local = remote(x.peer, x.Client), x.peer.Physical, local(x.peer)
	if e.TLS = x.peer.TLS; e.TLS != nil {
		e.ServerCert = x.Snap.serverFacts(x.peer)
	}
	e.Endpoint, _ = netip.ParseAddrPort(x.endpoint)
	e.From = x.noted.local
	e.Upstream, e.Route = x.Route.upstreamName, x.Route.name
	d := &x.Decision
	e.Flag, e.Details = responseFlag(d), x.details()
	if d.Err != nil && isBadTLS(d.Reason()) {
		e.Failure = d.Err.Error()
	}
	if x.upstream != nil {
		e.Attempts = x.retries + 1
	}
}

// logMessages fills in what was asked and answered.
func (x *Exchange) logMessages(e *als.Entry) {
	e.Major, e.Minor, e.Method = x.Req.Major, x.Req.Minor, x.Req.Method()
	e.Scheme, _ = x.pseudoField(":scheme")
	e.Authority, _ = x.pseudoField(":authority")
	e.Path = x.path
	if x.ToUp.Path != nil {
		e.Path, e.OriginalPath = x.ToUp.Path, x.path
	}
	e.UserAgent, e.Referer = x.Req.Get(wire.FieldUserAgent), x.Req.Get(wire.FieldReferer)
	e.ForwardedFor, _ = x.requestField(&fieldXFF)
	e.RequestID = x.requestID
	e.BytesIn, e.BytesOut = x.stream.BytesIn(), x.stream.BytesOut()
	e.Status = int(x.Decision.Status)
}

// logHeaders fills in the headers that the LogService i is told.
func (x *Exchange) logHeaders(e *als.Entry, i int, l *logService) {
	for j := range l.headers {
		h := &l.headers[j]
		if !h.Request {
			continue
		}
		if value, ok := x.requestField(&h.field); ok {
			if h.Hidden {
				value = valueRedacted
			}
			e.RequestValues = append(e.RequestValues, als.Value{Name: h.Name, Value: value})
		}
	}
	for j := range x.noted.headers {
		switch n := &x.noted.headers[j]; {
		case n.service != i:
		case n.trailer:
			e.Tails = append(e.Tails, als.Value{Name: n.name, Value: n.value})
		default:
			e.AnswerValues = append(e.AnswerValues, als.Value{Name: n.name, Value: n.value})
		}
	}
}

// tellTCP tells the LogServices of a TCP connection that is over.
func (s *Snapshot) tellTCP(peer *wire.Peer, entry *telemetry.Entry) {
	var e als.Entry
	for _, l := range s.logServices {
		if !l.TCP {
			continue
		}
		if e.Start.IsZero() {
			e = als.Entry{
				Start: entry.Start, Duration: entry.Duration, Client: peer.Remote, Peer: peer.Physical, Local: local(peer), TLS: peer.TLS,
				Upstream: entry.Upstream, Route: entry.Route, Flag: responseFlag(entry.Record), Details: entry.Record.Reason().String(),
				BytesIn: entry.BytesIn, BytesOut: entry.BytesOut,
			}
			e.Endpoint, _ = netip.ParseAddrPort(entry.Endpoint)
			if err := entry.Record.Err; err != nil && isBadTLS(entry.Record.Reason()) {
				e.Failure = err.Error()
			}
		}
		l.Append(&e)
	}
}
