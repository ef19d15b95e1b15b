package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openzipkin/zipkin-go/model"

	"legate/telemetry"
)

// zipkin is a collector that keeps the spans it is told of.
func zipkin(t testing.TB) (addr string, spans <-chan model.SpanModel) {
	t.Helper()
	c := make(chan model.SpanModel, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list []model.SpanModel
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		for _, span := range list {
			c <- span
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), c
}

// traced renders a TracingService.
func traced(service string, fields ...string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: TracingService\nmetadata: {name: tracing}\nspec:\n  driver: zipkin\n  service: " + service + "\n" + indented(fields)
}

// awaitSpan waits for the next span.
func awaitSpan(t testing.TB, spans <-chan model.SpanModel) model.SpanModel {
	t.Helper()
	select {
	case s := <-spans:
		return s
	case <-time.After(patience):
		t.Fatal("no span")
		return model.SpanModel{}
	}
}

const traceID = "463ac35c9f6413ad48485a3953bb6124"

// What a collector and the service are told of a request.
func TestTracing(t *testing.T) {
	t.Parallel()
	collector, spans := zipkin(t)
	up, seen := seeing(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	g := open(t, everyone+mapping("r", "/r/", up, `add_request_headers: {x-b3-spanid: mine}`, "rewrite: /there/")+mapping("away", "/away/", "127.0.0.1:1")+
		traced(collector, "custom_tags: [{tag: team, literal: {value: shop}}, {tag: tenant, request_header: {name: X-Tenant, default_value: nobody}}, {tag: key, request_header: {name: authorization}}]"),
		func(o *Options) { o.Node = Node{ID: "pod-1", Cluster: "ambassador-default"} })

	a, rec := g.get("/r/x?token=secret", "X-B3-TraceId: "+traceID, "X-B3-SpanId: a2fb4a1d1a96d312", "X-B3-Sampled: 1", "X-Tenant: acme", "Authorization: secret", "User-Agent: curl", "X-Client-Trace-Id: mine")
	if rec.verdict != served || a.body != "ok" {
		t.Fatalf("got %+v", rec)
	}
	s, saw := awaitSpan(t, spans), <-seen
	if s.TraceID.String() != traceID || s.ParentID.String() != "a2fb4a1d1a96d312" || saw.Header.Get("X-B3-Spanid") != s.ID.String() ||
		saw.Header.Get("X-B3-Traceid") != traceID || saw.Header.Get("X-B3-Parentspanid") != "a2fb4a1d1a96d312" || saw.Header.Get("X-B3-Sampled") != "1" {
		t.Errorf("span %+v, the service saw %v", s.SpanContext, saw.Header)
	}
	if got := saw.Header.Values("X-B3-Spanid"); len(got) != 1 {
		t.Errorf("the service saw %d ids", len(got))
	}
	id := saw.Header.Get("X-Request-Id")
	want := map[string]string{
		"node_id": "pod-1", "guid:x-request-id": id, "http.url": "http://example.com/r/x", "http.method": "GET", "downstream_cluster": "-", "user_agent": "curl",
		"http.protocol": "HTTP/1.1", "peer.address": "127.0.0.1", "guid:x-client-trace-id": "mine", "team": "shop", "tenant": "acme", "key": "[redacted]",
		"request_size": "0", "response_size": "2", "component": "proxy", "http.status_code": "200", "response_flags": "-",
		"upstream_cluster": rec.Upstream, "upstream_cluster.name": rec.Upstream, "upstream_address": up,
	}
	if !maps.Equal(s.Tags, want) {
		t.Errorf("tags\n%v, want\n%v", s.Tags, want)
	}
	if s.Name != "example.com" || s.LocalEndpoint.ServiceName != "ambassador-default" || s.Kind != model.Client || s.Duration <= 0 {
		t.Errorf("got %+v", s)
	}
	if id[14] != 'b' {
		t.Errorf("the id %s does not say that the client asked for a trace", id)
	}

	_, rec = g.get("/away/", "X-B3-Sampled: 1")
	if s = awaitSpan(t, spans); s.Tags["error"] != "true" || s.Tags["http.status_code"] != "503" || s.Tags["response_flags"] != "UF" || s.ParentID != nil || rec.TraceID != s.TraceID.String() {
		t.Errorf("a failure: %+v with tags %v, logged as %s", s, s.Tags, rec.TraceID)
	}
	if _, rec = g.get("/nowhere"); rec.TraceID == "" {
		t.Error("a request without a route has no trace")
	}
	if s = awaitSpan(t, spans); s.Tags["upstream_cluster"] != "" || s.Tags["response_flags"] != "NR" || s.Tags["tenant"] != "nobody" {
		t.Errorf("a request without a route: %v", s.Tags)
	}
}

// Who is not sampled is told of its place in a trace all the same, and nobody else is.
func TestUntraced(t *testing.T) {
	t.Parallel()
	collector, spans := zipkin(t)
	up, seen := seeing(t, plainOK)
	g := open(t, everyone+mapping("r", "/r/", up)+traced(collector, "sampling: {random: 0}"))
	a, rec := g.get("/r/")
	saw := <-seen
	if saw.Header.Get("X-B3-Sampled") != "0" || saw.Header.Get("X-B3-Traceid") != rec.TraceID || saw.Header.Get("X-B3-Parentspanid") != "" || a.Header.Get("X-Request-Id") != "" {
		t.Errorf("the service saw %v, the client %v", saw.Header, a.Header)
	}
	// One that is forced is told its id, so that it can be found.
	a, rec = g.get("/r/", "X-Envoy-Force-Trace: 1")
	saw = <-seen
	if s := awaitSpan(t, spans); s.TraceID.String() != rec.TraceID || saw.Header.Get("X-Request-Id")[14] != 'a' || a.Header.Get("X-Request-Id") != rec.ID {
		t.Errorf("forced: trace %s, logged %s; id %s, the client was told %q", s.TraceID, rec.TraceID, saw.Header.Get("X-Request-Id"), a.Header.Get("X-Request-Id"))
	}
	// From outside nobody forces anything.
	_, rec = g.get("/r/", "X-Envoy-Force-Trace: 1", "X-Forwarded-For: 203.0.113.9")
	if saw = <-seen; saw.Header.Get("X-B3-Sampled") != "0" || saw.Header.Get("X-Request-Id")[14] != '4' {
		t.Errorf("forced from outside: %v", saw.Header)
	}
	select {
	case s := <-spans:
		t.Errorf("told of %+v, after %s", s, rec.TraceID)
	default:
	}
}

// A collector that refuses costs spans and nothing else; one that changes is told what it
// was to be told.
func TestTracingLives(t *testing.T) {
	t.Parallel()
	var refused http.HandlerFunc = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	bad := httptest.NewServer(refused)
	t.Cleanup(bad.Close)
	up, _ := seeing(t, plainOK)
	manifests := everyone + mapping("r", "/r/", up)
	g := open(t, manifests+traced(bad.Listener.Addr().String()))
	first := g.snap.Load().tracing
	if _, rec := g.get("/r/"); rec.verdict != served {
		t.Errorf("got %v", rec.verdict)
	}
	failed := g.metrics.Reported(telemetry.Spans, "tracing.default", "failed")
	eventually(t, "a span was lost", func() bool { return failed.Value() == 1 })
	eventually(t, "that was logged", func() bool { return strings.Contains(g.log.String(), "a collector cannot be told of requests") })

	g.Apply(t.Context(), read(manifests+mapping("s", "/s/", up)+traced(bad.Listener.Addr().String())))
	if g.snap.Load().tracing != first {
		t.Error("a reload made another tracer of an equal TracingService")
	}
	collector, spans := zipkin(t)
	g.Apply(t.Context(), read(manifests+traced(collector)))
	if g.snap.Load().tracing == first {
		t.Error("a reload left the tracer as it was")
	}
	_, rec := g.get("/r/")
	g.stop() // the rest is told before it ends
	if s := awaitSpan(t, spans); s.TraceID.String() != rec.TraceID {
		t.Errorf("told of %v", s.TraceID)
	}
}

// One that makes no sense is a Problem and hurts nothing.
func TestTracingBroken(t *testing.T) {
	t.Parallel()
	up, _ := seeing(t, plainOK)
	g := newGate(t)
	problems := g.Apply(t.Context(), read(everyone+mapping("r", "/r/", up)+traced("http://")))
	if len(problems) != 1 || problems[0].Ref.Kind != "TracingService" || problems[0].Field != "service" {
		t.Errorf("got %v", problems)
	}
	if _, rec := g.get("/r/"); rec.verdict != served || rec.TraceID != "" {
		t.Errorf("got %+v", rec)
	}
}

// TestAllocsTracing holds a request that collectors are told of to no allocation.
func TestAllocsTracing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(sink.Close)
	for name, manifests := range map[string]string{
		"untraced": traced(sink.Listener.Addr().String(), "sampling: {random: 0}"),
		"traced":   traced(sink.Listener.Addr().String(), "custom_tags: [{tag: tenant, request_header: {name: X-Tenant, default_value: nobody}}]"),
		"logged": "---\napiVersion: getambassador.io/v3alpha1\nkind: LogService\nmetadata: {name: log}\nspec: {service: \"" + sink.Listener.Addr().String() +
			"\", driver: http, protocol_version: v3, flush_interval_time: 3600, flush_interval_byte_size: 100000000, driver_config: {additional_log_headers: [{header_name: content-type}]}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\nxxxxxxxxxxxx")
			g := open(t, everyone+mapping("r", "/r/", up)+manifests, deaf(t))
			c := g.dial()
			say, b := []byte(request("GET", "/r/x?q=1", "", "User-Agent: t", "X-B3-TraceId: "+traceID, "X-B3-SpanId: a2fb4a1d1a96d312")), make([]byte, 64<<10)
			once := func() {
				if _, err := c.Write(say); err != nil {
					t.Fatal(err)
				}
				for n := 0; !bytes.HasSuffix(b[:n], []byte("xxxxxxxxxxxx")); {
					m, err := c.Read(b[n:])
					if err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			for range 3000 { // until what waits has its room
				once()
			}
			if n := testing.AllocsPerRun(500, once); n != 0 {
				t.Errorf("got %v allocations a request, want 0", n)
			}
		})
	}
}
