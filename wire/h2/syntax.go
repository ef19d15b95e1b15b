package h2

import (
	"bytes"

	"legate/wire"
)

// The errors of a field block. Texts name the rule, never the bytes.
var (
	errFieldName       = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field name is empty or holds a forbidden character"}
	errFieldValue      = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field value holds a forbidden character"}
	errConnectionField = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "field that concerns one HTTP/1.1 connection only"}
	errTE              = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "TE says more than trailers"}
	errPseudoUnknown   = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "unknown or misplaced pseudo-field"}
	errPseudoTwice     = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "pseudo-field given twice"}
	errPseudoLate      = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "pseudo-field after a field"}
	errPseudoMissing   = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "pseudo-field is missing"}
	errMethod          = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed :method"}
	errScheme          = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed :scheme"}
	errProtocol        = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed or misplaced :protocol"}
	errStatus          = &wire.ProtocolError{Kind: wire.BadSyntax, Text: "malformed :status"}
	errTarget          = &wire.ProtocolError{Kind: wire.BadTarget, Text: "malformed :path"}
	errConnect         = &wire.ProtocolError{Kind: wire.BadMethod, Text: "CONNECT is not served"}
	errNoAuthority     = &wire.ProtocolError{Kind: wire.BadAuthority, Text: ":authority and Host are missing"}
	errTwoHosts        = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "more than one Host"}
	errAuthority       = &wire.ProtocolError{Kind: wire.BadAuthority, Text: ":authority is not a valid authority"}
	errHostDisagrees   = &wire.ProtocolError{Kind: wire.BadAuthority, Text: "Host and :authority name different authorities"}
	errTooManyLines    = &wire.ProtocolError{Kind: wire.TooManyLines, Text: "too many field lines"}
	errHeadTooLarge    = &wire.ProtocolError{Kind: wire.HeadTooLarge, Text: "head over the limit"}
	errTwoLengths      = &wire.ProtocolError{Kind: wire.BadFraming, Text: "more than one Content-Length"}
	errLength          = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Content-Length is not a plain number"}
	errLengthDisagrees = &wire.ProtocolError{Kind: wire.BadFraming, Text: "Content-Length is not what DATA came to"}
)

// Character classes of RFC 9110 §5.6.2 (token) without upper case, which RFC 9113
// §8.2.1 forbids in names, §5.5 (field value) and RFC 9112 §3.2 (target).
const (
	isName = 1 << iota
	isValue
	isTarget
	isToken
)

var class = func() (t [256]uint8) {
	const marks = "!#$%&'*+-.^_`|~"
	for i := range t {
		upper := 'A' <= i && i <= 'Z'
		alnum := 'a' <= i && i <= 'z' || upper || '0' <= i && i <= '9'
		if alnum || i < 0x80 && bytes.IndexByte([]byte(marks), byte(i)) >= 0 {
			t[i] |= isToken
			if !upper {
				t[i] |= isName
			}
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

// all reports whether s is not empty and every byte of it is in the class.
func all(s string, in uint8) bool {
	for i := range len(s) {
		if class[s[i]]&in == 0 {
			return false
		}
	}
	return s != ""
}

// trim returns s without the spaces and tabs around it, which RFC 9113 §8.2.1 forbids
// and clients send.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// parseLength accepts digits only, without leading zeros, up to 2^63-1.
func parseLength(v []byte) (int64, *wire.ProtocolError) {
	if len(v) == 0 || len(v) > 19 || len(v) > 1 && v[0] == '0' {
		return 0, errLength
	}
	var n uint64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, errLength
		}
		n = n*10 + uint64(c-'0')
	}
	if n > 1<<63-1 {
		return 0, errLength
	}
	return int64(n), nil
}
