package e2e

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"
	"github.com/vmihailenco/msgpack/v5"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A told is what a collector was told of one request, whatever the protocol.
type told struct {
	trace, span, parent string
	name, service       string
	tags                map[string]string
}

// collectors hands on what it is told.
type collectors chan told

func (c collectors) next(t testing.TB) told {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no span")
		return told{}
	}
}

// zipkinCollector is a collector of Zipkin's spans, in JSON and in protobuf.
func zipkinCollector(t testing.TB) (addr string, spans collectors) {
	t.Helper()
	spans = make(collectors, 1000)
	return collectorHTTP(t, "/api/v2/spans", func(r *http.Request, body []byte) error {
		var list []*model.SpanModel
		var err error
		if r.Header.Get("Content-Type") == "application/x-protobuf" {
			list, err = zipkin_proto3.ParseSpans(body, false)
		} else {
			err = json.Unmarshal(body, &list)
		}
		for _, s := range list {
			n := told{trace: s.TraceID.String(), span: s.ID.String(), name: s.Name, service: s.LocalEndpoint.ServiceName, tags: s.Tags}
			if s.ParentID != nil {
				n.parent = s.ParentID.String()
			}
			spans <- n
		}
		return err
	}), spans
}

// datadogAgent takes traces as Datadog's agent does.
func datadogAgent(t testing.TB) (addr string, spans collectors) {
	t.Helper()
	spans = make(collectors, 1000)
	return collectorHTTP(t, "/v0.4/traces", func(_ *http.Request, body []byte) error {
		var traces [][]struct {
			Service  string            `msgpack:"service"`
			Resource string            `msgpack:"resource"`
			TraceID  uint64            `msgpack:"trace_id"`
			SpanID   uint64            `msgpack:"span_id"`
			ParentID uint64            `msgpack:"parent_id"`
			Meta     map[string]string `msgpack:"meta"`
		}
		err := msgpack.Unmarshal(body, &traces)
		for _, trace := range traces {
			for _, s := range trace {
				spans <- told{
					trace: s.Meta["_dd.p.tid"] + fmt.Sprintf("%016x", s.TraceID), span: fmt.Sprint(s.SpanID), parent: fmt.Sprint(s.ParentID),
					name: s.Resource, service: s.Service, tags: s.Meta,
				}
			}
		}
		return err
	}), spans
}

// collectorHTTP answers what is posted to path.
func collectorHTTP(t testing.TB, path string, take func(r *http.Request, body []byte) error) (addr string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && (r.Method != "POST" || r.URL.Path != path) {
			err = fmt.Errorf("asked for %s %s", r.Method, r.URL)
		}
		if err == nil {
			err = take(r, body)
		}
		if err != nil {
			t.Errorf("the collector cannot understand it: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// otlpCollector takes spans by OTLP's gRPC. A request holds, by number, what TracesData
// does, and the answer nothing.
func otlpCollector(t testing.TB) (addr string, spans collectors) {
	t.Helper()
	spans = make(collectors, 1000)
	export := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var data otlp.TracesData
		if err := decode(&data); err != nil {
			t.Errorf("the collector cannot understand it: %v", err)
			return nil, err
		}
		for _, r := range data.ResourceSpans {
			service := r.Resource.Attributes[0].Value.GetStringValue()
			for _, scoped := range r.ScopeSpans {
				for _, s := range scoped.Spans {
					n := told{trace: hex.EncodeToString(s.TraceId), span: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId), name: s.Name, service: service, tags: map[string]string{}}
					for _, a := range s.Attributes {
						n.tags[a.Key] = a.Value.GetStringValue()
					}
					spans <- n
				}
			}
		}
		return &emptypb.Empty{}, nil
	}
	return serveCollector(t, func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{
			ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService", HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: export}},
		}, nil)
	}), spans
}

// serveCollector serves gRPC on a port of its own.
func serveCollector(t testing.TB, register func(*grpc.Server)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// tracing renders a TracingService.
func tracing(driver, service string, more ...string) string {
	return manifest("TracingService", "tracing", "{"+strings.Join(append([]string{"driver: " + driver, "service: \"" + service + "\""}, more...), ", ")+"}")
}

// Every driver's collector is told of requests in its own protocol, and services in the
// headers that belong to it.
func TestTracing(t *testing.T) {
	t.Parallel()
	zipkinAddr, zipkins := zipkinCollector(t)
	otlpAddr, otlps := otlpCollector(t)
	datadogAddr, datadogs := datadogAgent(t)
	up := echo(t, "up")
	rest := everyone + mapping("x", "/x/", up)
	const b3, w3c, dd = "463ac35c9f6413ad48485a3953bb6124", "4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000ff"
	fromB3 := []string{"X-B3-TraceId: " + b3, "X-B3-SpanId: a2fb4a1d1a96d312", "X-B3-Sampled: 1"}
	fromW3C := []string{"Traceparent: 00-" + w3c + "-00f067aa0ba902b7-01", "Tracestate: vendor=1"}
	g := start(t, setup{manifests: rest, args: []string{"--resolve", "collector.tracing=" + zipkinAddr}})
	for _, tc := range []struct {
		name, manifest string
		spans          collectors
		header         []string
		trace, parent  string // "" for one of its own
		span, service  string
		headers        map[string]string // of the service; %s is the span
	}{
		{"zipkin", tracing("zipkin", "collector.tracing:9411"), zipkins, fromB3, b3, "a2fb4a1d1a96d312", "gate.test", "ambassador-default",
			map[string]string{"X-B3-Traceid": b3, "X-B3-Spanid": "%s", "X-B3-Parentspanid": "a2fb4a1d1a96d312", "X-B3-Sampled": "1"}},
		{"zipkin, new", tracing("zipkin", "collector.tracing:9411", "config: {trace_id_128bit: false}"), zipkins, fromW3C, "", "", "gate.test", "ambassador-default",
			map[string]string{"X-B3-Spanid": "%s", "X-B3-Sampled": "1", "Tracestate": "vendor=1"}},
		{"zipkin in protobuf", tracing("zipkin", "collector.tracing:9411", "config: {collector_endpoint_version: HTTP_PROTO}"), zipkins, fromB3, b3, "a2fb4a1d1a96d312", "gate.test", "ambassador-default",
			map[string]string{"X-B3-Traceid": b3, "X-B3-Spanid": "%s"}},
		{"opentelemetry", tracing("opentelemetry", otlpAddr), otlps, fromW3C, w3c, "00f067aa0ba902b7", "egress gate.test", "ambassador",
			map[string]string{"Traceparent": "00-" + w3c + "-%s-01", "Tracestate": "vendor=1", "X-B3-Traceid": ""}},
		{"opentelemetry by B3", tracing("opentelemetry", otlpAddr, "config: {service_name: edge, propagation_modes: [B3]}"), otlps, fromB3, b3, "a2fb4a1d1a96d312", "egress gate.test", "edge",
			map[string]string{"X-B3-Traceid": b3, "X-B3-Spanid": "%s", "Traceparent": ""}},
		{"datadog", tracing("datadog", datadogAddr, "config: {service_name: edge}"), datadogs, []string{"X-Datadog-Trace-Id: 255", "X-Datadog-Parent-Id: 16", "X-Datadog-Sampling-Priority: 2"}, dd, "16", "egress gate.test", "edge",
			map[string]string{"X-Datadog-Trace-Id": "255", "X-Datadog-Parent-Id": "%s", "X-Datadog-Sampling-Priority": "2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g.replace(rest + tc.manifest)
			a := g.send(t, request{target: "/x/?token=secret", header: append([]string{"X-Forwarded-For: 203.0.113.9"}, tc.header...)})
			rec := g.record(t, a)
			if rec.verdict != served {
				t.Fatalf("got %v", rec.verdict)
			}
			s := tc.spans.next(t)
			if s.name != tc.span || s.service != tc.service || s.parent != tc.parent || strings.TrimLeft(s.trace, "0") != strings.TrimLeft(rec.TraceID, "0") || tc.trace != "" && s.trace != tc.trace {
				t.Errorf("told of %+v, logged as %s", s, rec.TraceID)
			}
			if s.tags["http.url"] != "http://gate.test/x/" || s.tags["http.status_code"] != "200" || s.tags["guid:x-request-id"] != a.id || s.tags["upstream_cluster"] != rec.Upstream {
				t.Errorf("tags %v", s.tags)
			}
			for name, want := range tc.headers {
				if got, want := a.saw.Header.Get(name), strings.ReplaceAll(want, "%s", s.span); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if a.saw.Header.Get("X-Request-Id")[14] != '9' {
				t.Errorf("the id %s does not say that it is traced", a.id)
			}
		})
	}
	for _, p := range g.problems() {
		t.Errorf("a problem: %s", p.Text)
	}
	g.replace(rest)
	if a := g.send(t, request{target: "/x/", header: []string{"X-Forwarded-For: 203.0.113.9"}}); g.record(t, a).TraceID != "" || a.saw.Header.Get("X-Datadog-Trace-Id") != "" {
		t.Error("traced without a TracingService")
	}
}

// A logCollector is a real log service.
type logCollector struct {
	als.UnimplementedAccessLogServiceServer
	messages chan *als.StreamAccessLogsMessage
}

func (c *logCollector) StreamAccessLogs(s grpc.ClientStreamingServer[als.StreamAccessLogsMessage, als.StreamAccessLogsResponse]) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&als.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		c.messages <- m
	}
}

func (c *logCollector) next(t testing.TB) *als.StreamAccessLogsMessage {
	t.Helper()
	select {
	case m := <-c.messages:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no entry")
		return nil
	}
}

func logServer(t testing.TB) (addr string, c *logCollector) {
	t.Helper()
	c = &logCollector{messages: make(chan *als.StreamAccessLogsMessage, 1000)}
	return serveCollector(t, func(s *grpc.Server) { als.RegisterAccessLogServiceServer(s, c) }), c
}

// logService renders a LogService.
func logService(name, service, driver string, more ...string) string {
	fields := append([]string{"service: \"" + service + "\"", "driver: " + driver, "protocol_version: v3", "grpc: true"}, more...)
	return manifest("LogService", name, "{"+strings.Join(fields, ", ")+"}")
}

// Log services are told of requests and of connections, each of its own.
func TestLogServices(t *testing.T) {
	t.Parallel()
	httpAddr, requests := logServer(t)
	tcpAddr, connections := logServer(t)
	port := freePorts(t, 1)[0]
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up"), "rewrite: /there/", "add_response_headers: {x-cost: \"7\"}") +
		manifest("TCPMapping", "raw", fmt.Sprintf("{port: %d, service: %q}", port, greeter(t, "hello", nil))) +
		logService("requests", httpAddr, "http", "driver_config: {additional_log_headers: [{header_name: X-Tenant}, {header_name: x-cost}, {header_name: cookie}]}") +
		logService("connections", tcpAddr, "tcp", "flush_interval_byte_size: 1")})

	a := g.send(t, request{method: "POST", target: "/x/7?token=secret", body: "hello", header: []string{"X-Tenant: acme", "Cookie: secret", "User-Agent: curl"}})
	rec := g.record(t, a)
	m := requests.next(t)
	if m.Identifier.GetLogName() != "requests" || m.Identifier.GetNode().GetCluster() != "ambassador-default" || len(m.GetHttpLogs().GetLogEntry()) != 1 {
		t.Fatalf("told of %v", m)
	}
	e := m.GetHttpLogs().LogEntry[0]
	c, req, resp := e.CommonProperties, e.Request, e.Response
	if req.RequestMethod.String() != "POST" || req.Scheme != "http" || req.Authority != "gate.test" || req.Path != "/there/7" || req.OriginalPath != "/x/7" || req.UserAgent != "curl" || req.RequestId != a.id || req.RequestBodyBytes != 5 {
		t.Errorf("request %v", req)
	}
	if got := req.RequestHeaders; got["x-tenant"] != "acme" || got["cookie"] != "[redacted]" || len(got) != 2 {
		t.Errorf("request headers %v", got)
	}
	if resp.ResponseCode.GetValue() != 200 || resp.ResponseBodyBytes != uint64(len(a.body)) || resp.ResponseCodeDetails != "via_upstream" || resp.ResponseHeaders["x-cost"] != "7" || len(resp.ResponseHeaders) != 1 {
		t.Errorf("response %v", resp)
	}
	endpoint := c.UpstreamRemoteAddress.GetSocketAddress()
	if e.ProtocolVersion.String() != "HTTP11" || c.RouteName != rec.Route || c.UpstreamCluster != rec.Upstream || c.UpstreamRequestAttemptCount != 1 ||
		fmt.Sprintf("%s:%d", endpoint.GetAddress(), endpoint.GetPortValue()) != rec.Endpoint || c.DownstreamRemoteAddress.GetSocketAddress().GetAddress() != "127.0.0.1" ||
		c.UpstreamLocalAddress == nil || c.StreamId != a.id || c.Duration.AsDuration() <= 0 || c.TimeToFirstUpstreamRxByte.AsDuration() <= 0 || c.ResponseFlags != nil {
		t.Errorf("common %v", c)
	}

	g.send(t, request{target: "/nowhere"})
	if e := requests.next(t).GetHttpLogs().GetLogEntry()[0]; !e.CommonProperties.GetResponseFlags().GetNoRouteFound() || e.Response.ResponseCode.GetValue() != 404 || e.Response.ResponseCodeDetails != "no_route" {
		t.Errorf("told of %v", e)
	}

	conn, err := net.Dial("tcp", loopback(port))
	must(t, err)
	_, err = io.WriteString(conn, "abc")
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	said, err := io.ReadAll(conn)
	must(t, err)
	conn.Close()
	m = connections.next(t)
	if m.Identifier.GetLogName() != "connections" || len(m.GetTcpLogs().GetLogEntry()) != 1 {
		t.Fatalf("told of %v", m)
	}
	tcp := m.GetTcpLogs().LogEntry[0]
	if tcp.ConnectionProperties.ReceivedBytes != 3 || tcp.ConnectionProperties.SentBytes != uint64(len(said)) || tcp.CommonProperties.RouteName != "raw.default" || tcp.CommonProperties.UpstreamRemoteAddress == nil {
		t.Errorf("told of %v", tcp)
	}
	if len(requests.messages)+len(connections.messages) > 0 {
		t.Error("somebody was told more")
	}
}

// Collectors that are away, or take nothing, cost what they would have been told, and
// nobody waits for them: not the requests, and not the end.
func TestCollectorsAway(t *testing.T) {
	t.Parallel()
	deaf := serveTCP(t, nil, func(c pipe) { _, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<10)); time.Sleep(30 * time.Second) })
	nobody := loopback(freePorts(t, 1)[0])
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up")) + tracing("zipkin", nobody) +
		logService("nobody", nobody, "http", "flush_interval_byte_size: 0") + logService("deaf", deaf, "http", "flush_interval_byte_size: 0")})
	for range 50 {
		if a := g.send(t, request{target: "/x/", header: []string{"X-Forwarded-For: 203.0.113.9"}}); g.verdict(t, a) != served {
			t.Errorf("got %v", g.verdict(t, a))
		}
	}
	eventually(t, 20*time.Second, "what is lost is counted", func() bool {
		_, metrics := g.operator("/metrics")
		return strings.Contains(metrics, `legate_trace_spans_total{outcome="failed",service="tracing.default"} 50`) &&
			strings.Contains(metrics, `legate_log_service_entries_total{outcome="failed",service="nobody.default"} 50`)
	})
	g.errors.await(t, `"a collector cannot be told of requests; what is meant for it is lost","by":"TracingService default/tracing"`)
	g.signal(syscall.SIGTERM)
	begun := time.Now()
	if status := g.exit(t); status != 0 || time.Since(begun) > 15*time.Second {
		t.Errorf("status %d after %v", status, time.Since(begun))
	}
}

// A drain tells collectors the rest.
func TestCollectorsDrain(t *testing.T) {
	t.Parallel()
	zipkinAddr, spans := zipkinCollector(t)
	logAddr, logs := logServer(t)
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", echo(t, "up")) + tracing("zipkin", zipkinAddr) + logService("log", logAddr, "http", "flush_interval_time: 3600")})
	a := g.send(t, request{target: "/x/", header: []string{"X-Forwarded-For: 203.0.113.9"}})
	g.signal(syscall.SIGTERM)
	if status := g.exit(t); status != 0 {
		t.Errorf("status %d", status)
	}
	if s := spans.next(t); s.tags["guid:x-request-id"] != a.id {
		t.Errorf("told of %v", s)
	}
	if m := logs.next(t); len(m.GetHttpLogs().GetLogEntry()) != 1 {
		t.Errorf("told of %v", m)
	}
}

// StatsD is told what is counted under Envoy's names, with tags or without.
func TestStatsD(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env  []string
		want []string
	}{
		"plain": {nil, []string{"envoy.cluster.up_shop_80.upstream_rq_2xx:1|c", "envoy.http.ingress_http.downstream_rq_total:2|c", "envoy.http.ingress_http.no_route:1|c", "envoy.server.live:0|g", "|ms"}},
		"tags": {[]string{"DOGSTATSD=true", "DD_ENTITY_ID=pod-1"}, []string{
			"envoy.cluster.upstream_rq_xx:1|c|#envoy.cluster_name:up_shop_80,envoy.response_code_class:2,dd.internal.entity_id:pod-1",
			"envoy.http.no_route:1|c|#envoy.http_conn_manager_prefix:ingress_http,dd.internal.entity_id:pod-1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := net.ListenPacket("udp", "127.0.0.1:0")
			must(t, err)
			defer server.Close()
			host, port, err := net.SplitHostPort(server.LocalAddr().String())
			must(t, err)
			env := append([]string{"STATSD_ENABLED=true", "STATSD_HOST=" + host, "STATSD_PORT=" + port, "STATSD_FLUSH_INTERVAL=3600"}, tc.env...)
			g := start(t, setup{env: env, manifests: everyone + mapping("x", "/x/", "up.shop:80"), args: []string{"--resolve", "up.shop=" + echo(t, "up")}})
			g.send(t, request{target: "/x/"})
			g.send(t, request{target: "/nowhere"})
			g.signal(syscall.SIGTERM) // all of it is told at the end
			if status := g.exit(t); status != 0 {
				t.Errorf("status %d", status)
			}
			must(t, server.SetReadDeadline(time.Now().Add(20*time.Second)))
			missing := map[string]bool{}
			for _, line := range tc.want {
				missing[line] = true
			}
			b := make([]byte, 64<<10)
			for len(missing) > 0 {
				n, _, err := server.ReadFrom(b)
				if err != nil {
					t.Fatalf("not told: %v", missing)
				}
				for line := range strings.SplitSeq(string(b[:n]), "\n") {
					delete(missing, line)
					if strings.HasSuffix(line, "|ms") {
						delete(missing, "|ms")
					}
				}
			}
		})
	}
}
