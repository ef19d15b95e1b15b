// Package als tells log services of requests and TCP connections, by version 3 of Envoy's
// access log service: one call of gRPC that lasts, in which batches of entries are sent.
package als

import (
	"context"
	"reflect"
	"sync"
	"time"

	"legate/telemetry/relay"
	"legate/wire"
)

// Settings are all that makes two logs different.
type Settings struct {
	Name      string // of the log
	TCP       bool   // of connections, not of requests
	Authority string // of the call
	Node      string // which of the gateways it is
	Cluster   string // by which the gateways are known
	Version   string // of the gateway

	Interval time.Duration // longest an entry waits
	FlushAt  int           // bytes that are sent without waiting for more
	Headers  []Header
}

// A Header is one whose value the service is told.
type Header struct {
	Name                       string // in lower case
	Field                      wire.Field
	Request, Response, Trailer bool
	Hidden                     bool // the value is nobody's to see
}

// Equal reports whether s and o ask for the same.
func (s *Settings) Equal(o *Settings) bool { return reflect.DeepEqual(s, o) }

// An Opener makes calls to a log service possible.
type Opener interface {
	// Open returns what carries one call; its owner releases it.
	Open() (wire.Link, error)
}

// A Log is what one log service is told.
type Log struct {
	Settings
	relay   *relay.Relay
	stream  *stream
	buffers sync.Pool
}

// A lent is a buffer with an entry in it.
type lent struct {
	buffer
	out []byte
}

// New makes a log that calls by to. It tells nothing before Start.
func New(s Settings, to Opener, opts relay.Options) *Log {
	l := &Log{Settings: s, stream: newStream(&s, to)}
	l.buffers.New = func() any { return &lent{} }
	opts.Interval, opts.FlushAt = max(s.Interval, time.Millisecond), max(s.FlushAt, 1)
	l.relay = relay.New(l.stream, opts)
	return l
}

// Start begins to tell the service what it is to know.
func (l *Log) Start() { l.relay.Start() }

// Close tells the rest and ends the log; see relay.Relay.Close.
func (l *Log) Close(ctx context.Context) error {
	err := l.relay.Close(ctx)
	if err == nil {
		l.stream.end()
	}
	return err
}

// Append has the service told of e. It keeps nothing of e. Budget: 0 allocs.
func (l *Log) Append(e *Entry) {
	b := l.buffers.Get().(*lent) //nolint:forcetypeassert // nothing else is put in
	if l.TCP {
		b.out = b.tcp(b.out[:0], e)
	} else {
		b.out = b.http(b.out[:0], e)
	}
	l.relay.Append(b.out)
	if cap(b.out) <= maxKept {
		l.buffers.Put(b)
	}
}

// maxKept is the largest entry whose memory is used again.
const maxKept = 64 << 10
