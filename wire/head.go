package wire

import (
	"slices"
	"time"
)

// LengthUnknown is the Length of a message whose end only its framing tells.
const LengthUnknown int64 = -1

// MaxFields is the most field lines a Head can hold; engines refuse more.
const MaxFields = 250

// A Span is a part of a Head's buffer.
type Span struct{ Off, Len uint32 }

// A line is one field line: name in lower case, value without the white space
// around it.
type line struct {
	name, value Span
	id          Field
}

// A Head is a start line and its fields: views into one buffer, valid until the
// exchange ends. Engines fill it; everyone else only reads it. What is to be
// changed on the way is said in Edits.
//
// UpgradeTo is set where Connection names "upgrade" and there is an Upgrade field. An
// extended CONNECT (RFC 8441) looks the same: a GET without a body whose Upgrade field
// is the value of :protocol, so that it meets the same routes. Major tells them apart.
type Head struct {
	Major, Minor uint8 // of the message's HTTP version
	Status       int   // of an answer; 0 in a request
	Length       int64 // of the body by Content-Length; LengthUnknown without one
	NoBody       bool  // the framing says that no body follows
	Close        bool  // the sender will not use the connection again
	Absolute     bool  // the request target was in absolute form
	UpgradeTo    bool  // the client asks to switch to a protocol that Upgrade names, see below

	Waited time.Duration // between the request's arrival and the engine's first look at it; 0 where nobody knows

	buf    []byte
	method Method
	name   Span // of the method
	target Span
	query  Span // without "?"; hasQuery tells an empty one from none
	host   Span
	path   []byte // normalised
	norm   []byte // backs path when it differs from what was sent
	lines  []line
	first  [NumFields]uint8 // index of a name's first line, plus one

	hasQuery bool
}

// Reset empties h and lets it view buf from now on. Memory is kept for reuse.
func (h *Head) Reset(buf []byte) {
	*h = Head{buf: buf, lines: h.lines[:0], norm: h.norm[:0], Length: LengthUnknown}
}

// Forget empties h but for its status: the buffer belongs to somebody else now.
func (h *Head) Forget() {
	status := h.Status
	h.Reset(nil)
	h.Status = status
}

// Buffer returns the buffer that h views.
func (h *Head) Buffer() []byte { return h.buf }

// MoveTo makes h view buf, which must hold the same bytes at the same offsets: an
// engine's read buffer has grown. Only the path is lost; normalise it again.
func (h *Head) MoveTo(buf []byte) { h.buf = buf }

func (h *Head) view(s Span) []byte { return h.buf[s.Off : s.Off+s.Len : s.Off+s.Len] }

// Method returns the request's method.
func (h *Head) Method() Method { return h.method }

// MethodName returns the method as sent.
func (h *Head) MethodName() []byte { return h.view(h.name) }

// Target returns the request target as sent (h1) or :path (h2).
func (h *Head) Target() []byte { return h.view(h.target) }

// Host returns the authority that the request is for, as sent.
func (h *Head) Host() []byte { return h.view(h.host) }

// Path returns the path: normalised once NormalizePath has run, raw before.
func (h *Head) Path() []byte { return h.path }

// Query returns what follows the first "?", and whether there is a "?".
func (h *Head) Query() ([]byte, bool) { return h.view(h.query), h.hasQuery }

// Len returns the number of field lines.
func (h *Head) Len() int { return len(h.lines) }

// Line returns field line i: its interned name, its name in lower case, its value.
func (h *Head) Line(i int) (id Field, name, value []byte) {
	l := &h.lines[i]
	return l.id, h.view(l.name), h.view(l.value)
}

// Has reports whether there is a line named f.
func (h *Head) Has(f Field) bool { return h.first[f] != 0 }

// Get returns the value of the first line named f, nil without one.
// Budget: 0 allocs.
func (h *Head) Get(f Field) []byte {
	if i := h.first[f]; i != 0 {
		return h.view(h.lines[i-1].value)
	}
	return nil
}

// Find returns the value of the first line of that name, which must be in lower
// case, and whether there is one. Budget: 0 allocs.
func (h *Head) Find(name string) ([]byte, bool) {
	for i := range h.lines {
		if l := &h.lines[i]; int(l.name.Len) == len(name) && string(h.view(l.name)) == name {
			return h.view(l.value), true
		}
	}
	return nil, false
}

// Nth returns the value of the line named f that comes after n others of that
// name, and whether there is one. Budget: 0 allocs.
func (h *Head) Nth(f Field, n int) ([]byte, bool) {
	for i := range h.lines {
		if h.lines[i].id != f {
			continue
		}
		if n == 0 {
			return h.view(h.lines[i].value), true
		}
		n--
	}
	return nil, false
}

// Count returns how many lines are named f.
func (h *Head) Count(f Field) int {
	n := 0
	for i := range h.lines {
		if h.lines[i].id == f {
			n++
		}
	}
	return n
}

// SetMethod notes which bytes of the buffer are the method.
func (h *Head) SetMethod(s Span) {
	h.name = s
	h.method = LookupMethod(h.view(s))
}

// SetTarget notes which bytes of the buffer are the request target and, within it,
// the path and the query.
func (h *Head) SetTarget(target, path, query Span, hasQuery bool) {
	h.target, h.query, h.hasQuery = target, query, hasQuery
	h.path = h.view(path)
}

// SetHost notes which bytes of the buffer are the authority.
func (h *Head) SetHost(s Span) { h.host = s }

// AddSpan adds a field line whose name is already in lower case in the buffer.
// It reports false when the Head is full.
func (h *Head) AddSpan(name, value Span) bool {
	if len(h.lines) >= MaxFields {
		return false
	}
	id := LookupField(h.view(name))
	h.lines = append(h.lines, line{name, value, id})
	if h.first[id] == 0 {
		h.first[id] = uint8(len(h.lines)) //nolint:gosec // MaxFields fits
	}
	return true
}

// Append adds bytes to the buffer and returns where they are. For engines and
// tests that build a Head rather than view one.
func (h *Head) Append(b []byte) Span {
	s := Span{uint32(len(h.buf)), uint32(len(b))} //nolint:gosec // heads are bounded far below 4 GiB
	h.buf = append(h.buf, b...)
	return s
}

// AppendString adds s to the buffer and returns where it is.
func (h *Head) AppendString(s string) Span {
	at := Span{uint32(len(h.buf)), uint32(len(s))} //nolint:gosec // heads are bounded far below 4 GiB
	h.buf = append(h.buf, s...)
	return at
}

// AppendLine adds a field line, its name in lower case, and the bytes of it to the
// buffer as HTTP/1.1 sends them, so that AppendLines need only copy them. It reports
// false when the Head is full. Budget: 0 allocs once the buffer has grown.
func (h *Head) AppendLine(name, value string) bool {
	n := h.AppendString(name)
	h.buf = append(h.buf, ':', ' ')
	v := h.AppendString(value)
	h.buf = append(h.buf, '\r', '\n')
	return h.AddSpan(n, v)
}

// At returns the bytes of the buffer that s says.
func (h *Head) At(s Span) []byte { return h.view(s) }

// RemoveNamed drops every line whose name equals name, in any case: what a
// Connection field nominates never existed for anyone after the engine.
func (h *Head) RemoveNamed(name []byte) {
	kept := h.lines[:0]
	for _, l := range h.lines {
		if !EqualFold(h.view(l.name), name) {
			kept = append(kept, l)
		}
	}
	if len(kept) == len(h.lines) {
		return
	}
	h.lines = kept
	h.first = [NumFields]uint8{}
	for i, l := range slices.Backward(kept) {
		h.first[l.id] = uint8(i + 1) //nolint:gosec // MaxFields fits
	}
}

// BuildRequest makes h a request from strings, for explain and for tests; fields
// are name, value, name, value… The path is left as given.
func (h *Head) BuildRequest(method, host, target string, fields ...string) {
	h.Reset(h.buf[:0])
	h.Major, h.Minor, h.Length, h.NoBody = 1, 1, 0, true
	m := h.Append([]byte(method))
	t := h.Append([]byte(target))
	a := h.Append([]byte(host))
	spans := make([]Span, 0, len(fields))
	for i, f := range fields {
		b := []byte(f)
		if i%2 == 0 {
			LowerInPlace(b)
		}
		spans = append(spans, h.Append(b))
	}
	h.SetMethod(m)
	h.SetHost(a)
	path, query, hasQuery := SplitTarget(h.view(t), t.Off)
	h.SetTarget(t, path, query, hasQuery)
	for i := 0; i+1 < len(spans); i += 2 {
		h.AddSpan(spans[i], spans[i+1])
	}
}

// SplitTarget finds the path and query of an origin-form target that begins at off.
func SplitTarget(target []byte, off uint32) (path, query Span, hasQuery bool) {
	for i, c := range target {
		if c == '?' {
			n := uint32(i)
			return Span{off, n}, Span{off + n + 1, uint32(len(target)) - n - 1}, true //nolint:gosec // heads are bounded
		}
	}
	return Span{off, uint32(len(target))}, Span{off, 0}, false //nolint:gosec // heads are bounded
}

// SpanOf returns where the value of the first line named f is.
func (h *Head) SpanOf(f Field) Span {
	if i := h.first[f]; i != 0 {
		return h.lines[i-1].value
	}
	return Span{}
}

// AppendLines appends, as HTTP/1.1 field lines, those of h that are neither in skip
// nor removed by e, which may be nil. Neighbouring lines that stand in the buffer
// exactly as they are to be sent are copied as one. Budget: 0 allocs.
func (h *Head) AppendLines(out []byte, skip FieldSet, e *Edits) []byte {
	if e != nil {
		skip |= e.drop
	}
	from, to := uint32(0), uint32(0) // the run that waits to be copied
	for i := range h.lines {
		l := &h.lines[i]
		if l.id != FieldOther && skip.Has(l.id) || l.id == FieldOther && e != nil && e.Drops(FieldOther, h.view(l.name)) {
			continue
		}
		end := l.value.Off + l.value.Len + 2
		if !h.ready(l, end) {
			out = append(out, h.buf[from:to]...)
			from, to = 0, 0
			out = append(append(out, h.view(l.name)...), ':', ' ')
			out = append(append(out, h.view(l.value)...), '\r', '\n')
			continue
		}
		if l.name.Off != to {
			out = append(out, h.buf[from:to]...)
			from = l.name.Off
		}
		to = end
	}
	return append(out, h.buf[from:to]...)
}

// ready reports whether l stands in the buffer as "name: value CRLF", ending at end.
func (h *Head) ready(l *line, end uint32) bool {
	gap := l.name.Off + l.name.Len
	return l.value.Off == gap+2 && int(end) <= len(h.buf) && h.buf[gap] == ':' && h.buf[gap+1] == ' ' &&
		h.buf[end-2] == '\r' && h.buf[end-1] == '\n'
}
