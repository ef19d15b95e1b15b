// Package trace gives requests their places in traces and tells collectors of them:
// which requests are traced, by which headers a trace travels, and what a span looks
// like in each collector's own protocol. All of it is done as Envoy does it.
package trace

import (
	"math/rand/v2"
	"strconv"
	"time"

	"legate/telemetry/relay"
)

// A Context is a request's place in a trace.
type Context struct {
	High, Low uint64 // the trace's id; High is 0 in one of 64 bits
	Parent    uint64 // the span that the request is a part of; 0 for none
	Span      uint64 // the request's own
	Sampled   bool   // collectors are told of it
}

// IsZero reports whether there is no trace.
func (c *Context) IsZero() bool { return c.Span == 0 }

// A Tag is what a span says of its request under one name.
type Tag struct {
	Name  string
	Value []byte
}

// A Span is what collectors are told of one request. It is used again and again: Begin
// forgets what it was, and keeps its memory.
type Span struct {
	Context
	Host  []byte // as the client sent it
	Start time.Time
	Took  time.Duration
	Error bool // the request failed, and it was not the client's fault
	Tags  []Tag

	memory        []byte // backs Host and values
	encoded, part []byte // of those that encode it
}

// Begin makes s the span of a request.
func (s *Span) Begin(c Context, host []byte, start time.Time, took time.Duration) {
	*s = Span{
		Context: c, Start: start, Took: max(took, 0),
		Tags: s.Tags[:0], memory: s.memory[:0], encoded: s.encoded, part: s.part,
	}
	s.Host = s.keep(host)
}

// maxValue is the most of a tag's value that collectors are told.
const maxValue = 1 << 10

// keep copies a value, of which nothing need be valid UTF-8.
func (s *Span) keep(value []byte) []byte {
	start := len(s.memory)
	s.memory = relay.AppendText(s.memory, value, maxValue)
	return s.memory[start:len(s.memory):len(s.memory)]
}

// Add adds a tag, of which nothing need be valid UTF-8. It keeps nothing of value.
// Budget: 0 allocs.
func (s *Span) Add(name string, value []byte) { s.Tags = append(s.Tags, Tag{name, s.keep(value)}) }

// AddText adds a tag. Budget: 0 allocs.
func (s *Span) AddText(name, value string) {
	start := len(s.memory)
	s.memory = append(s.memory, value...)
	s.Tags = append(s.Tags, Tag{name, s.memory[start:len(s.memory):len(s.memory)]})
}

// AddInt adds a tag. Budget: 0 allocs.
func (s *Span) AddInt(name string, value int64) {
	start := len(s.memory)
	s.memory = strconv.AppendInt(s.memory, value, 10)
	s.Tags = append(s.Tags, Tag{name, s.memory[start:len(s.memory):len(s.memory)]})
}

// newID returns a random id. Ids need to be unique, not secret.
func newID() uint64 {
	for {
		if id := rand.Uint64(); id != 0 { //nolint:gosec // because an id is no secret
			return id
		}
	}
}

// Begin returns the place of a new request: below what its headers say, or at the root
// of a new trace. A request that does not say whether it is sampled is if traced says so.
// Budget: 0 allocs.
func (p *Propagation) Begin(h Header, now time.Time, traced bool) Context {
	c, sampling := p.extract(h)
	switch {
	case sampling != unsaid:
		c.Sampled = sampling == yes
	default:
		c.Sampled = traced
	}
	c.Span = newID()
	if c.High|c.Low != 0 {
		return c
	}
	c.Low = newID()
	switch {
	case p.ShortIDs:
	case p.Seconds:
		c.High = uint64(now.Unix()) << 32 //nolint:gosec // because Datadog's ids hold the low 32 bits of seconds
	default:
		c.High = newID()
	}
	return c
}

// AppendTraceID appends the trace's id as hexadecimal digits. Budget: 0 allocs.
func (c *Context) AppendTraceID(dst []byte) []byte {
	if c.High != 0 {
		dst = appendHex(dst, c.High)
	}
	return appendHex(dst, c.Low)
}

// appendHex appends 16 digits.
func appendHex(dst []byte, v uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&15])
	}
	return dst
}

const hexDigits = "0123456789abcdef"
