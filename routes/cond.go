package routes

import (
	"bytes"
	"regexp"

	"legate/wire"
)

// A hostKind is the form of a Mapping's condition on the authority.
type hostKind uint8

const (
	hostAny hostKind = iota
	hostExact
	hostSuffix
	hostPrefix
	hostRegex
)

// A hostCond is a Mapping's condition on the authority.
type hostCond struct {
	kind  hostKind
	named bool   // the author gave a hostname or host, if only "*"
	odd   bool   // see oddGlob
	glob  string // in lower case, as written; "" for a regex
	text  string // beside the glob's star
	re    *regexp.Regexp
}

func newHostCond(glob string) hostCond {
	if glob == "" {
		return hostCond{}
	}
	c := hostCond{named: true, glob: glob, odd: oddGlob(glob)}
	kind, text := splitGlob(glob)
	c.text = text
	switch kind {
	case globAny:
		c.kind = hostAny
	case globSuffix:
		c.kind = hostSuffix
	case globPrefix:
		c.kind = hostPrefix
	default:
		c.kind = hostExact
	}
	return c
}

// A subject is what a condition looks at.
type subject uint8

const (
	onHeader subject = iota
	onQuery
	onMethod
	onAuthority
	onPath
	onScheme // also X-Forwarded-Proto, as the edge sets it
)

// A cond is one condition of a route beside host and path.
type cond struct {
	on    subject
	field wire.Field
	name  string         // of the header, in lower case, or the parameter
	value string         // what it must be
	re    *regexp.Regexp // if not nil, what it must match instead
}

// newHeaderCond makes the condition on one header or pseudo header.
func newHeaderCond(name, value string) cond {
	lower := []byte(name)
	wire.LowerInPlace(lower)
	c := cond{name: string(lower), value: value, field: wire.LookupField(lower)}
	switch c.name {
	case ":method":
		c.on = onMethod
	case ":authority", "host":
		c.on = onAuthority
	case ":path":
		c.on = onPath
	case ":scheme", "x-forwarded-proto":
		c.on = onScheme
	}
	return c
}

// accepts reports whether a value fulfils c.
func (c *cond) accepts(value []byte) bool {
	if c.re != nil {
		return c.re.Match(value)
	}
	return string(value) == c.value
}

// holds reports whether r fulfils c. Budget: 0 allocs, but for a regex on a header
// that was sent more than once.
func (c *cond) holds(t *Table, r *Request) bool {
	switch c.on {
	case onMethod:
		return c.accepts(r.Head.MethodName())
	case onQuery:
		value, found := queryValue(r.Head, c.name)
		return found && c.accepts(value)
	case onAuthority:
		authority := t.Authority(r)
		if c.re != nil {
			return c.re.Match(authority)
		}
		return wire.EqualFold(authority, c.value)
	case onPath:
		return c.acceptsTarget(r.Head)
	case onScheme:
		scheme := t.scheme(r)
		if c.re != nil {
			return c.re.MatchString(scheme)
		}
		return scheme == c.value
	default:
		return c.acceptsHeader(r.Head)
	}
}

// acceptsHeader reports whether the header is there and its value is accepted. One
// that was sent in several lines counts as one list (RFC 9110 §5.3).
func (c *cond) acceptsHeader(h *wire.Head) bool {
	if c.field != wire.FieldOther && !h.Has(c.field) {
		return false
	}
	var first []byte
	n := 0
	for i := range h.Len() {
		if value, ok := c.line(h, i); ok {
			if n == 0 {
				first = value
			}
			n++
		}
	}
	switch {
	case n == 0:
		return false
	case n == 1:
		return c.accepts(first)
	}
	return c.acceptsList(h, n)
}

// line returns the value of field line i if it is the condition's header.
func (c *cond) line(h *wire.Head, i int) ([]byte, bool) {
	id, name, value := h.Line(i)
	return value, id == c.field && (id != wire.FieldOther || string(name) == c.name)
}

// acceptsList is acceptsHeader for a header of several lines.
func (c *cond) acceptsList(h *wire.Head, n int) bool {
	list := make([]byte, 0, 256)
	for i := range h.Len() {
		value, ok := c.line(h, i)
		if !ok {
			continue
		}
		list = append(list, value...)
		if n--; n > 0 {
			if c.field == wire.FieldCookie { // RFC 9113 §8.2.3
				list = append(list, "; "...)
			} else {
				list = append(list, ',')
			}
		}
		if c.re == nil && len(list) > len(c.value) {
			return false
		}
	}
	return c.accepts(list)
}

// acceptsTarget compares ":path", which is path and query.
func (c *cond) acceptsTarget(h *wire.Head) bool {
	path := h.Path()
	query, has := h.Query()
	if !has {
		return c.accepts(path)
	}
	if c.re == nil {
		rest, ok := bytes.CutPrefix([]byte(c.value), path)
		return ok && len(rest) > 0 && rest[0] == '?' && bytes.Equal(rest[1:], query)
	}
	target := make([]byte, 0, len(path)+1+len(query))
	target = append(append(append(target, path...), '?'), query...)
	return c.re.Match(target)
}

// queryValue returns the first value of a query parameter, as written.
func queryValue(h *wire.Head, name string) ([]byte, bool) {
	query, _ := h.Query()
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}
