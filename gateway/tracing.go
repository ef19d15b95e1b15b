package gateway

import (
	"cmp"
	"math/rand/v2"

	"legate/config"
	"legate/format"
	"legate/telemetry"
	"legate/telemetry/trace"
	"legate/upstream"
	"legate/wire"
)

// A tracing is the TracingService ready to be told of requests.
type tracing struct {
	*trace.Tracer
	upstream *upstream.Upstream
	tags     []traceTag
}

// A traceTag is a tag of every span.
type traceTag struct {
	trace.CustomTag
	field format.Field
}

// traceDrivers are the drivers of trace.
var traceDrivers = [...]trace.Driver{config.Zipkin: trace.ZipkinJSON, config.OpenTelemetry: trace.OTLP, config.Datadog: trace.DatadogAgent}

// traceWays are how traces travel where nothing is said about that, by driver.
var traceWays = [...]trace.Headers{config.Zipkin: trace.B3, config.OpenTelemetry: trace.W3C, config.Datadog: trace.Datadog | trace.W3C}

// traceHeaders are the ways of trace.
var traceHeaders = [...]trace.Headers{config.B3: trace.B3, config.W3CTrace: trace.W3C, config.DatadogHeaders: trace.Datadog}

// tracing makes the TracingService ready, or takes it over from old.
func (c *compiler) tracing(old *Snapshot) {
	if len(c.world.Tracing) == 0 {
		return
	}
	t := &c.world.Tracing[0]
	spec, ok := c.collectorSpec(&t.Meta, t.Service, t.StatsName, t.Driver == config.OpenTelemetry)
	if !ok {
		return
	}
	s := c.traceSettings(t)
	s.Authority = cmp.Or(t.Hostname, spec.Address())
	up := c.pool(spec).upstream
	if o := old.tracing; o != nil && o.upstream == up && o.Settings.Equal(&s) {
		c.next.tracing = o
		return
	}
	next := &tracing{Tracer: trace.New(s, up, c.relayOptions(&t.Meta, telemetry.Spans)), upstream: up}
	for _, tag := range s.Tags {
		next.tags = append(next.tags, traceTag{tag, format.Field{ID: tag.Field, Name: tag.Header}})
	}
	c.next.tracing = next
}

func (c *compiler) traceSettings(t *config.TracingService) trace.Settings {
	node := &c.g.opts.Node
	s := trace.Settings{
		Driver: traceDrivers[t.Driver], Path: t.Endpoint, Node: node.ID, Version: node.Version,
		Service: cmp.Or(t.ServiceName, "ambassador"),
		Sampling: trace.Sampling{
			Client: uint32(t.Sampling.Client), Random: uint32(t.Sampling.Random), Overall: uint32(t.Sampling.Overall), //nolint:gosec // 0 to 100
		},
		Propagation: trace.Propagation{Headers: traceWays[t.Driver], ShortIDs: t.ShortIDs, Seconds: t.Driver == config.Datadog},
	}
	if t.Driver == config.Zipkin { // Envoy's driver has no name of its own
		s.Service = cmp.Or(t.ServiceName, node.Cluster, "ambassador")
		if t.Protobuf {
			s.Driver = trace.ZipkinProto
		}
	}
	if len(t.Propagation) > 0 {
		s.Propagation.Headers = 0
		for _, way := range t.Propagation {
			s.Propagation.Headers |= traceHeaders[way]
		}
	}
	for _, tag := range t.Tags {
		id := wire.LookupField([]byte(tag.Header))
		s.Tags = append(s.Tags, trace.CustomTag{Name: tag.Name, Value: tag.Value, Header: tag.Header, Field: id, Hidden: format.Secret(id)})
	}
	return s
}

const (
	nameClientTrace = "x-client-trace-id"
	nameForceTrace  = "x-envoy-force-trace"
	nameDownstream  = "x-envoy-downstream-service-cluster"
)

// place gives the request its place in a trace. Whether it is traced is also told in its
// id. Budget: 0 allocs.
func (x *Exchange) place(t *tracing) {
	_, client := x.Req.Find(nameClientTrace)
	forced := false
	if !x.External {
		_, forced = x.Req.Find(nameForceTrace)
	}
	x.tellID = forced
	traced, mark := t.Sampling.Decide(x.requestID, client, forced, rand.Uint32()) //nolint:gosec // because a share of traffic is no secret
	if !trace.Marked(x.requestID, mark) {
		id := x.keep(x.requestID)
		trace.Mark(id, mark)
		x.requestID = id
		x.ToUp.Set(wire.FieldXRequestID, id)
	}
	x.trace = t.Propagation.Begin(x.Req, x.Now, traced)
}

// tellTrace has the service told of the trace. Budget: 0 allocs.
func (x *Exchange) tellTrace() {
	if t := x.Snap.tracing; t != nil && !x.trace.IsZero() {
		x.arena = t.Propagation.Inject(&x.trace, x.Req, &x.ToUp, x.arena)
	}
}

// maxTracedPath is the most of a path that a span holds, as in Envoy's.
const maxTracedPath = 256

var valueMissing = []byte("-")

// report tells the TracingService of a request that is over: what Envoy tells of it, but
// for the query. Budget: 0 allocs.
func (x *Exchange) report(t *tracing) {
	if x.span == nil {
		x.span = &trace.Span{}
	}
	s, d := x.span, &x.Decision
	s.Begin(x.trace, x.Req.Host(), x.Now, x.took)
	if t.Node != "" {
		s.AddText("node_id", t.Node)
	}
	x.reportRequest(s)
	for i := range t.tags {
		x.reportTag(s, &t.tags[i])
	}
	s.AddInt("request_size", x.stream.BytesIn())
	s.AddInt("response_size", x.stream.BytesOut())
	s.AddText("component", "proxy")
	if x.endpoint != "" {
		s.AddText("upstream_cluster", x.Route.upstreamName)
		s.AddText("upstream_cluster.name", x.Route.upstreamName)
		s.AddText("upstream_address", x.endpoint)
	}
	s.AddInt("http.status_code", int64(d.Status))
	s.AddText("response_flags", responseFlag(d))
	s.Error = d.Status == 0 || d.Status >= 500
	if isGRPC(x.Req) {
		x.reportGRPC(s)
	}
	if s.Error {
		s.AddText("error", "true")
	}
	t.Report(s)
}

// reportRequest adds what is known of the request before anything is done about it.
func (x *Exchange) reportRequest(s *trace.Span) {
	s.Add("guid:x-request-id", x.requestID)
	start := len(x.arena)
	scheme, _ := x.pseudoField(":scheme")
	x.arena = append(append(append(x.arena, scheme...), "://"...), x.Req.Host()...)
	x.arena = append(x.arena, x.path[:min(len(x.path), maxTracedPath)]...)
	s.Add("http.url", x.arena[start:])
	s.Add("http.method", x.Req.MethodName())
	s.Add("downstream_cluster", x.orMissing(nameDownstream))
	agent := valueMissing
	if x.Req.Has(wire.FieldUserAgent) {
		agent = x.Req.Get(wire.FieldUserAgent)
	}
	s.Add("user_agent", agent)
	start = len(x.arena)
	x.arena, _ = appendProtocol(x.arena, x.Req)
	s.Add("http.protocol", x.arena[start:])
	start = len(x.arena)
	x.arena, _ = appendAddr(x.arena, x.peer.Physical.Addr())
	s.Add("peer.address", x.arena[start:])
	if id, ok := x.Req.Find(nameClientTrace); ok {
		s.Add("guid:x-client-trace-id", id)
	}
}

// orMissing returns a header of the request, "-" without one.
func (x *Exchange) orMissing(name string) []byte {
	if v, ok := x.Req.Find(name); ok && !dropsName(&x.ToUp, name) {
		return v
	}
	return valueMissing
}

func (x *Exchange) reportTag(s *trace.Span, tag *traceTag) {
	if tag.Header != "" {
		if value, ok := x.requestField(&tag.field); ok {
			if tag.Hidden {
				s.AddText(tag.Name, "[redacted]")
			} else {
				s.Add(tag.Name, value)
			}
			return
		}
	}
	if tag.Value != "" {
		s.AddText(tag.Name, tag.Value)
	}
}

// reportGRPC adds what is known of a call of gRPC. It failed if it says so.
func (x *Exchange) reportGRPC(s *trace.Span) {
	s.Add("grpc.path", x.path)
	s.Add("grpc.authority", x.Req.Host())
	s.Add("grpc.content_type", x.Req.Get(wire.FieldContentType))
	if timeout, ok := x.Req.Find("grpc-timeout"); ok {
		s.Add("grpc.timeout", timeout)
	}
	code, message := x.noted.grpcStatus, x.noted.grpcMessage
	if !x.keptEarly {
		code, _ = x.answerField(&fieldGRPCStatus)
		message, _ = x.answerField(&fieldGRPCMessage)
	}
	if len(code) == 0 {
		return
	}
	s.Add("grpc.status_code", code)
	if len(message) > 0 {
		s.Add("grpc.message", message)
	}
	s.Error = s.Error || string(code) != "0"
}

var fieldGRPCMessage = format.Field{Name: "grpc-message"}
