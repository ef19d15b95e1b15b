// Package h1 is the HTTP/1.1 engine (RFC 9112): a server side that turns
// connections into streams and a client side whose links carry exchanges to
// endpoints. It refuses what could be read in two ways, streams both bodies with
// bounded buffers, and keeps nothing of a message once its exchange is over. It
// knows no route and no policy.
package h1

import (
	"bytes"

	"legate/wire"
)

// The errors of a head's syntax. Texts name the rule, never the bytes.
var (
	errRequestLine   = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed request line"}
	errStatusLine    = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed status line"}
	errBareCR        = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "CR without LF"}
	errBareLF        = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "LF without CR"}
	errFold          = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "folded field line"}
	errFieldName     = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field name is empty or holds a forbidden character"}
	errFieldValue    = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field value holds a forbidden character"}
	errOptions       = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "too many connection options"}
	errNoColon       = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field line without colon"}
	errTarget        = &wire.ProtocolError{Kind: wire.BadTarget, Text: "malformed request target"}
	errStrayProxy    = &wire.ProtocolError{Kind: wire.StrayProxy, Text: "the Listener reads no PROXY header"}
	errVersion       = &wire.ProtocolError{Kind: wire.BadVersion, Text: "HTTP version is not served here"}
	errConnect       = &wire.ProtocolError{Kind: wire.BadMethod, Text: "CONNECT is not served"}
	errTooManyLines  = &wire.ProtocolError{Kind: wire.TooManyLines, Text: "too many field lines"}
	errLineTooLong   = &wire.ProtocolError{Kind: wire.LineTooLong, Text: "start line over the limit"}
	errHeadTooLarge  = &wire.ProtocolError{Kind: wire.HeadTooLarge, Text: "head over the limit"}
	errHeadTooSlow   = &wire.ProtocolError{Kind: wire.HeadTooSlow, Text: "head not complete in time"}
	errNoHost        = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "Host is missing"}
	errTwoHosts      = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "more than one Host"}
	errHost          = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "Host is not a valid authority"}
	errHostDisagrees = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "Host and request target name different authorities"}
)

// Character classes of RFC 9110 §5.6.2 (token), §5.5 (field value) and RFC 9112
// §3.2 (target).
const (
	isToken = 1 << iota
	isValue
	isTarget
)

var class = func() (t [256]uint8) {
	const marks = "!#$%&'*+-.^_`|~"
	for i := range t {
		alnum := 'a' <= i && i <= 'z' || 'A' <= i && i <= 'Z' || '0' <= i && i <= '9'
		if alnum || i < 0x80 && bytes.IndexByte([]byte(marks), byte(i)) >= 0 {
			t[i] |= isToken
		}
		if i == '\t' || i >= ' ' && i != 0x7f {
			t[i] |= isValue
		}
		if i > ' ' && i < 0x7f {
			t[i] |= isTarget
		}
	}
	return t
}()

// scanner finds the end of a head as bytes arrive, each byte looked at once.
type scanner struct {
	pos       int // where the next line begins or goes on
	lineStart int
	lines     int // complete lines seen, the start line included
}

// scan looks at buf from where the last call stopped. It returns the length of the
// head, with its empty line, or 0 when more is needed.
func (s *scanner) scan(buf []byte, lineLimit, headLimit int) (int, *wire.ProtocolError) {
	for {
		i := bytes.IndexByte(buf[s.pos:], '\n')
		if i < 0 {
			s.pos = len(buf)
			return 0, s.tooLong(len(buf), lineLimit, headLimit)
		}
		end := s.pos + i
		if end == s.lineStart || buf[end-1] != '\r' {
			return 0, errBareLF
		}
		s.pos = end + 1
		if end-1 == s.lineStart && s.lines > 0 {
			return s.pos, s.tooLong(s.pos, lineLimit, headLimit)
		}
		if err := s.tooLong(s.pos, lineLimit, headLimit); err != nil {
			return 0, err
		}
		s.lines++
		s.lineStart = s.pos
	}
}

func (s *scanner) tooLong(n, lineLimit, headLimit int) *wire.ProtocolError {
	switch {
	case s.lines == 0 && n > lineLimit:
		return errLineTooLong
	case n > headLimit:
		return errHeadTooLarge
	}
	return nil
}

// parseFields reads the field lines of buf[at:], which ends with the head's empty
// line, into h. Names are turned to lower case in place.
func parseFields(h *wire.Head, buf []byte, at, maxLines int) *wire.ProtocolError {
	for n := 0; buf[at] != '\r'; n++ {
		if n >= maxLines {
			return errTooManyLines
		}
		next, err := parseField(h, buf, at)
		if err != nil {
			return err
		}
		at = next
	}
	if buf[at+1] != '\n' {
		return errBareCR
	}
	return nil
}

// parseField reads the line that begins at buf[at] and returns where the next does.
func parseField(h *wire.Head, buf []byte, at int) (int, *wire.ProtocolError) {
	i := at
	for {
		c := buf[i]
		if class[c]&isToken == 0 {
			break
		}
		buf[i] = wire.Lower(c)
		i++
	}
	if buf[i] != ':' || i == at {
		return 0, nameError(buf, at, i)
	}
	name := span(at, i)
	i++
	for buf[i] == ' ' || buf[i] == '\t' {
		i++
	}
	start := i
	for class[buf[i]]&isValue != 0 {
		i++
	}
	if buf[i] != '\r' {
		return 0, errFieldValue
	}
	if buf[i+1] != '\n' {
		return 0, errBareCR
	}
	end := i
	for end > start && (buf[end-1] == ' ' || buf[end-1] == '\t') {
		end--
	}
	if !h.AddSpan(name, span(start, end)) {
		return 0, errTooManyLines
	}
	return i + 2, nil
}

// nameError says what is wrong with a line whose name ends at buf[i].
func nameError(buf []byte, at, i int) *wire.ProtocolError {
	switch {
	case i == at && (buf[i] == ' ' || buf[i] == '\t'):
		return errFold
	case buf[i] == '\r' && buf[i+1] == '\n':
		return errNoColon
	case buf[i] == '\r':
		return errBareCR
	}
	return errFieldName
}

func span(from, to int) wire.Span {
	return wire.Span{Off: uint32(from), Len: uint32(to - from)} //nolint:gosec // heads are bounded
}
