package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openzipkin/zipkin-go/model"
	"github.com/openzipkin/zipkin-go/proto/zipkin_proto3"
	"github.com/vmihailenco/msgpack/v5"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"legate/telemetry"
	"legate/telemetry/relay"
	"legate/wire"
)

// An asked answers every question with status and keeps what it was asked.
type asked struct {
	status int
	err    error
	method string
	target string
	host   string
	fields map[string]string
	body   []byte
}

func (a *asked) Ask(q *wire.Question) error {
	a.method, a.target, a.host = string(q.Head.MethodName()), string(q.Head.Target()), string(q.Head.Host())
	a.fields = map[string]string{}
	for i := range q.Head.Len() {
		_, name, value := q.Head.Line(i)
		a.fields[string(name)] = string(value)
	}
	a.body = bytes.Clone(q.Body)
	q.Answer.BuildRequest("GET", "", "/", "content-type", "application/grpc", "grpc-status", "0")
	q.Answer.Status = a.status
	q.Content = []byte{0, 0, 0, 0, 0}
	return a.err
}

// report has one tracer tell of spans, and returns what its collector was asked.
func report(t *testing.T, s Settings, to *asked, spans ...*Span) relay.Counts {
	t.Helper()
	counts := relay.Counts{Sent: new(telemetry.Counter), Failed: new(telemetry.Counter), Dropped: new(telemetry.Counter)}
	tr := New(s, to, relay.Options{Counts: counts})
	for _, span := range spans {
		tr.Report(span)
	}
	tr.Start()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return counts
}

var began = time.Unix(1_700_000_000, 123_456_789)

// child is a span below another, with everything that a span has.
func child() *Span {
	s := &Span{}
	s.Begin(Context{High: 0x463ac35c9f6413ad, Low: 0x48485a3953bb6124, Parent: 0xa2fb4a1d1a96d312, Span: 0x1112131415161718, Sampled: true}, []byte("shop.example.com"), began, 1500*time.Microsecond)
	s.Error = true
	s.Add("http.url", []byte(`http://shop.example.com/"orders"/é`))
	s.Add("broken", []byte("a\xffb"))
	s.AddText("component", "proxy")
	s.AddInt("request_size", 7)
	return s
}

// root is a span of a trace with an id of 64 bits, with nothing to say.
func root() *Span {
	s := &Span{}
	s.Begin(Context{Low: 0xff, Span: 0xfe, Sampled: true}, nil, began, -1)
	return s
}

var wantTags = map[string]string{"http.url": `http://shop.example.com/"orders"/é`, "broken": "a\ufffdb", "component": "proxy", "request_size": "7"}

func settings(d Driver) Settings {
	return Settings{Driver: d, Authority: "collector:1", Service: "ambassador-default", Node: "pod-1", Version: "1.2"}
}

func TestZipkin(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		driver Driver
		decode func([]byte) ([]*model.SpanModel, error)
		media  string
	}{
		"JSON": {ZipkinJSON, func(b []byte) (list []*model.SpanModel, err error) { return list, json.Unmarshal(b, &list) }, "application/json"},
		"protobuf": {ZipkinProto, func(b []byte) ([]*model.SpanModel, error) { return zipkin_proto3.ParseSpans(b, false) },
			"application/x-protobuf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := &asked{status: 202}
			if c := report(t, settings(tc.driver), to, child(), root()); c.Sent.Value() != 2 {
				t.Errorf("%d sent", c.Sent.Value())
			}
			if got := strings.Join([]string{to.method, to.target, to.host, to.fields["content-type"]}, " "); got != "POST /api/v2/spans collector:1 "+tc.media {
				t.Errorf("asked %s", got)
			}
			spans, err := tc.decode(to.body)
			if err != nil || len(spans) != 2 {
				t.Fatalf("%d spans, %v in %q", len(spans), err, to.body)
			}
			s := spans[0]
			if s.TraceID.String() != "463ac35c9f6413ad48485a3953bb6124" || s.ID.String() != "1112131415161718" || s.ParentID.String() != "a2fb4a1d1a96d312" {
				t.Errorf("ids %v %v %v", s.TraceID, s.ID, s.ParentID)
			}
			if s.Name != "shop.example.com" || s.Kind != model.Client || s.LocalEndpoint.ServiceName != "ambassador-default" || !maps.Equal(s.Tags, wantTags) {
				t.Errorf("got %+v", s)
			}
			if s.Timestamp.UnixMicro() != began.UnixMicro() || s.Duration != 1500*time.Microsecond {
				t.Errorf("at %v for %v", s.Timestamp, s.Duration)
			}
			if r := spans[1]; r.TraceID.String() != "00000000000000ff" || r.ParentID != nil || len(r.Tags) != 0 {
				t.Errorf("the root: %+v", r)
			}
		})
	}
}

func TestOTLP(t *testing.T) {
	t.Parallel()
	to := &asked{status: 200}
	if c := report(t, settings(OTLP), to, child(), root()); c.Sent.Value() != 2 {
		t.Errorf("%d sent", c.Sent.Value())
	}
	if got := strings.Join([]string{to.method, to.target, to.host, to.fields["content-type"]}, " "); got != "POST "+otlpMethod+" collector:1 application/grpc" {
		t.Errorf("asked %s", got)
	}
	if n := binary.BigEndian.Uint32(to.body[1:5]); int(n) != len(to.body)-5 || to.body[0] != 0 {
		t.Errorf("framed as %d bytes of %d", n, len(to.body)-5)
	}
	var req otlptrace.TracesData // what a request to a collector holds, by its numbers
	if err := proto.Unmarshal(to.body[5:], &req); err != nil {
		t.Fatal(err)
	}
	if len(req.ProtoReflect().GetUnknown()) > 0 || len(req.ResourceSpans) != 1 || len(req.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("got %v", &req)
	}
	attrs := map[string]string{}
	for _, a := range req.ResourceSpans[0].Resource.Attributes {
		attrs[a.Key] = a.Value.GetStringValue()
	}
	if want := map[string]string{"service.name": "ambassador-default", "service.instance.id": "pod-1"}; !maps.Equal(attrs, want) {
		t.Errorf("resource %v", attrs)
	}
	scoped := req.ResourceSpans[0].ScopeSpans[0]
	if scoped.Scope.Name != "legate" || scoped.Scope.Version != "1.2" || len(scoped.Spans) != 2 {
		t.Fatalf("scope %v, %d spans", scoped.Scope, len(scoped.Spans))
	}
	s, tags := scoped.Spans[0], map[string]string{}
	for _, a := range s.Attributes {
		tags[a.Key] = a.Value.GetStringValue()
	}
	if fmt.Sprintf("%x %x %x", s.TraceId, s.SpanId, s.ParentSpanId) != "463ac35c9f6413ad48485a3953bb6124 1112131415161718 a2fb4a1d1a96d312" {
		t.Errorf("ids %x %x %x", s.TraceId, s.SpanId, s.ParentSpanId)
	}
	if s.Name != "egress shop.example.com" || s.Kind.String() != "SPAN_KIND_CLIENT" || s.Status.GetCode().String() != "STATUS_CODE_ERROR" || s.Flags != 0x301 || !maps.Equal(tags, wantTags) {
		t.Errorf("got %v", s)
	}
	if s.StartTimeUnixNano != uint64(began.UnixNano()) || s.EndTimeUnixNano-s.StartTimeUnixNano != 1_500_000 {
		t.Errorf("from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano)
	}
	if r := scoped.Spans[1]; fmt.Sprintf("%x", r.TraceId) != "000000000000000000000000000000ff" || r.ParentSpanId != nil || r.Status != nil || r.Flags != 0x101 {
		t.Errorf("the root: %v", r)
	}
}

func TestDatadog(t *testing.T) {
	t.Parallel()
	to := &asked{status: 200}
	if c := report(t, settings(DatadogAgent), to, child(), root()); c.Sent.Value() != 2 {
		t.Errorf("%d sent", c.Sent.Value())
	}
	if got := strings.Join([]string{to.method, to.target, to.fields["content-type"], to.fields["x-datadog-trace-count"]}, " "); got != "POST /v0.4/traces application/msgpack 2" {
		t.Errorf("asked %s", got)
	}
	var traces [][]struct {
		Service  string            `msgpack:"service"`
		Name     string            `msgpack:"name"`
		Resource string            `msgpack:"resource"`
		Type     string            `msgpack:"type"`
		TraceID  uint64            `msgpack:"trace_id"`
		SpanID   uint64            `msgpack:"span_id"`
		ParentID uint64            `msgpack:"parent_id"`
		Start    int64             `msgpack:"start"`
		Duration int64             `msgpack:"duration"`
		Error    int32             `msgpack:"error"`
		Meta     map[string]string `msgpack:"meta"`

		Metrics map[string]float64 `msgpack:"metrics"`
	}
	d := msgpack.NewDecoder(bytes.NewReader(to.body))
	d.DisallowUnknownFields(true)
	if err := d.Decode(&traces); err != nil || len(traces) != 2 || len(traces[0]) != 1 {
		t.Fatalf("%d traces, %v", len(traces), err)
	}
	if _, err := d.DecodeInterface(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows: %v", err)
	}
	s, tags := traces[0][0], maps.Clone(wantTags)
	tags["_dd.p.tid"] = "463ac35c9f6413ad"
	if s.TraceID != 0x48485a3953bb6124 || s.SpanID != 0x1112131415161718 || s.ParentID != 0xa2fb4a1d1a96d312 {
		t.Errorf("ids %x %x %x", s.TraceID, s.SpanID, s.ParentID)
	}
	if s.Service != "ambassador-default" || s.Name != "envoy.proxy" || s.Resource != "egress shop.example.com" || s.Type != "web" || s.Error != 1 || !maps.Equal(s.Meta, tags) {
		t.Errorf("got %+v", s)
	}
	if s.Start != began.UnixNano() || s.Duration != 1_500_000 || s.Metrics["_sampling_priority_v1"] != 1 {
		t.Errorf("got %+v", s)
	}
	if r := traces[1][0]; r.TraceID != 0xff || r.ParentID != 0 || r.Error != 0 || len(r.Meta) != 0 {
		t.Errorf("the root: %+v", r)
	}
}

// A collector that refuses, or cannot be asked, loses spans, and they are counted.
func TestLost(t *testing.T) {
	t.Parallel()
	for _, d := range []Driver{ZipkinJSON, ZipkinProto, OTLP, DatadogAgent} {
		for _, to := range []*asked{{status: 500}, {status: 307}, {err: io.ErrUnexpectedEOF}} {
			if c := report(t, settings(d), to, child(), root()); c.Failed.Value() != 2 || c.Sent.Value() != 0 {
				t.Errorf("driver %d, %+v: %d failed, %d sent", d, to, c.Failed.Value(), c.Sent.Value())
			}
		}
	}
}

// What a value holds too much of is cut off, between letters.
func TestLongValues(t *testing.T) {
	t.Parallel()
	s := root()
	s.Add("long", []byte(strings.Repeat("é", maxValue)))
	s.Add("broken", bytes.Repeat([]byte{0xff}, 2*maxValue))
	for _, tag := range s.Tags {
		if n := len(tag.Value); n > maxValue || n < maxValue-3 {
			t.Errorf("%s has %d bytes", tag.Name, n)
		}
	}
	for _, d := range []Driver{ZipkinJSON, ZipkinProto, OTLP, DatadogAgent} {
		report(t, settings(d), &asked{status: 200}, s)
	}
}

func TestSettingsEqual(t *testing.T) {
	t.Parallel()
	a, b := settings(OTLP), settings(OTLP)
	a.Tags, b.Tags = []CustomTag{{Name: "a"}}, []CustomTag{{Name: "a"}}
	if !a.Equal(&b) {
		t.Error("equal settings are not")
	}
	b.Tags = slices.Concat(b.Tags, []CustomTag{{Name: "b"}})
	if a.Equal(&b) {
		t.Error("other tags make no difference")
	}
}

func TestAllocsReport(t *testing.T) {
	for _, d := range []Driver{ZipkinJSON, ZipkinProto, OTLP, DatadogAgent} {
		tr := New(settings(d), &asked{}, relay.Options{Counts: relay.Counts{Dropped: new(telemetry.Counter)}})
		s := &Span{}
		once := func() {
			s.Begin(Context{High: 1, Low: 2, Span: 3, Parent: 4, Sampled: true}, []byte("shop.example.com"), began, time.Second)
			s.Add("user_agent", []byte("curl"))
			s.AddInt("request_size", 1<<40)
			tr.Report(s)
		}
		for range 20_000 { // until it is full, and drops
			once()
		}
		if n := testing.AllocsPerRun(1000, once); n != 0 {
			t.Errorf("driver %d: got %v allocations, want 0", d, n)
		}
	}
}
