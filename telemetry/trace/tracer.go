package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"legate/telemetry/relay"
	"legate/wire"
	"legate/wire/rpc"
)

// A Driver is a protocol of collectors.
type Driver uint8

// The drivers.
const (
	ZipkinJSON Driver = iota
	ZipkinProto
	OTLP
	DatadogAgent
)

// Settings are all that makes two tracers different.
type Settings struct {
	Driver      Driver
	Authority   string // of requests to the collector
	Path        string // on the collector; "" for the driver's
	Service     string // by which the gateway is known
	Node        string // which of the gateways it is
	Version     string // of the gateway
	Propagation Propagation
	Sampling    Sampling
	Tags        []CustomTag
}

// Equal reports whether s and o ask for the same.
func (s *Settings) Equal(o *Settings) bool { return reflect.DeepEqual(s, o) }

// A CustomTag is a tag that every span has: Value, or that of a header of the request
// and Value where it has none. Without a value there is no tag.
type CustomTag struct {
	Name, Value string
	Header      string // in lower case; "" for none
	Field       wire.Field
	Hidden      bool // the header's value is nobody's to see
}

// An encoder speaks a collector's protocol.
type encoder interface {
	// encode appends s.
	encode(dst []byte, s *Span) []byte
	// complete makes the body of a request of n encoded spans, in the place of body.
	complete(body, spans []byte, n int) []byte
}

// A fielder is an encoder whose requests have headers of their own.
type fielder interface {
	fields(q *wire.Question, n int)
}

// operation begins the name that Envoy gives to what leaves a mesh, as for Ambassador
// every request does.
const operation = "egress "

var nameContentType = []byte("content-type")

const (
	askLimit   = 5 * time.Second // for a whole request to the collector
	mostAnswer = 64 << 10        // of the collector's answer
)

// A Tracer tells one collector of spans.
type Tracer struct {
	Settings
	relay   *relay.Relay
	encoder encoder
	spans   sync.Pool // of *[]byte: encoded spans
}

// New makes a tracer that asks to. It tells nothing before Start.
func New(s Settings, to wire.Asker, opts relay.Options) *Tracer {
	t := &Tracer{Settings: s}
	t.spans.New = func() any { b := make([]byte, 0, 2048); return &b }
	out := &sender{settings: &t.Settings, to: to}
	switch s.Driver {
	case ZipkinProto:
		t.encoder, out.path = zipkinProto{s.Service}, zipkinPath
	case OTLP:
		t.encoder = newOTLP(s.Service, s.Node, s.Version)
	case DatadogAgent:
		t.encoder, out.path = datadog{s.Service, s.Version}, datadogPath
	default:
		t.encoder, out.path = zipkinJSON{s.Service}, zipkinPath
	}
	out.path = cmp.Or(s.Path, out.path)
	out.encoder = t.encoder
	t.relay = relay.New(out, opts)
	return t
}

// Start begins to tell the collector what it is to know.
func (t *Tracer) Start() { t.relay.Start() }

// Close tells the rest and ends the tracer; see relay.Relay.Close.
func (t *Tracer) Close(ctx context.Context) error { return t.relay.Close(ctx) }

// Report has the collector told of s. It keeps nothing of s. Budget: 0 allocs.
func (t *Tracer) Report(s *Span) {
	b := t.spans.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put in
	*b = t.encoder.encode((*b)[:0], s)
	t.relay.Append(*b)
	if cap(*b) <= maxKept {
		t.spans.Put(b)
	}
}

// maxKept is the largest encoded span whose memory is used again.
const maxKept = 64 << 10

// A sender brings batches of spans to a collector.
type sender struct {
	settings *Settings
	to       wire.Asker
	encoder  encoder
	path     string
	question wire.Question
	body     []byte
}

var errRefused = errors.New("the collector refused them")

// Send implements relay.Sender.
func (s *sender) Send(spans []byte, n int) error {
	q := &s.question
	defer q.Release()
	q.Most = mostAnswer
	if s.settings.Driver == OTLP {
		message := rpc.Begin(q, []byte(s.settings.Authority), otlpMethod, askLimit, s.body)
		s.body = s.encoder.complete(message, spans, n)
		if _, err := rpc.Call(s.to, q, s.body); err != nil {
			return fmt.Errorf("export spans: %w", err)
		}
		return nil
	}
	s.body = s.encoder.complete(s.body, spans, n)
	q.Begin([]byte("POST"), []byte(s.settings.Authority))
	q.Target(nil, []byte(s.path), nil, false)
	s.encoder.(fielder).fields(q, n) //nolint:forcetypeassert // all but OTLP have some
	q.Limit, q.Body = askLimit, s.body
	if err := s.to.Ask(q); err != nil {
		return fmt.Errorf("post spans: %w", err)
	}
	if status := q.Answer.Status; status < 200 || status > 299 {
		return fmt.Errorf("post spans: %w: status %d", errRefused, status)
	}
	return nil
}
