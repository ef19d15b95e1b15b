package wire

import "bytes"

// hostByte marks what may stand in the host of an authority: RFC 3986 reg-name
// without escapes, which no name in DNS needs and which hide what is meant.
var hostByte = func() (t [256]bool) {
	for i := range t {
		t[i] = unreserved[i] || bytes.IndexByte([]byte("!$&'()*+,;="), byte(i)) >= 0
	}
	return t
}()

// ValidAuthority reports whether a is host[:port] (RFC 9110 §4.2.1) with a non-empty
// host, a bracketed IPv6 address or a name, and a port of digits below 65536.
// User information is refused. Budget: 0 allocs.
func ValidAuthority(a []byte) bool {
	host, port, hasPort := SplitPort(a)
	if hasPort && !validPort(port) {
		return false
	}
	if len(host) == 0 {
		return false
	}
	if host[0] == '[' {
		return validIPLiteral(host)
	}
	for _, c := range host {
		if !hostByte[c] {
			return false
		}
	}
	return true
}

// SplitPort splits host[:port]; brackets stay with the host.
func SplitPort(a []byte) (host, port []byte, hasPort bool) {
	colon := bytes.LastIndexByte(a, ':')
	if colon < 0 || bytes.IndexByte(a[colon:], ']') >= 0 {
		return a, nil, false
	}
	return a[:colon], a[colon+1:], true
}

// validPort accepts an empty port, which RFC 3986 §3.2.3 allows.
func validPort(p []byte) bool {
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
		if n > 65535 {
			return false
		}
	}
	return true
}

func validIPLiteral(h []byte) bool {
	if len(h) < 4 || h[len(h)-1] != ']' {
		return false
	}
	colons := 0
	for _, c := range h[1 : len(h)-1] {
		switch {
		case c == ':':
			colons++
		case c != '.' && unhex[c] < 0:
			return false
		}
	}
	return colons >= 2
}

// SameAuthority reports whether two authorities mean the same server for a scheme
// whose default port is given: case and an explicit default port do not matter.
func SameAuthority(a, b []byte, defaultPort string) bool {
	ah, ap, _ := SplitPort(a)
	bh, bp, _ := SplitPort(b)
	if !EqualFold(ah, bh) {
		return false
	}
	return portOr(ap, defaultPort) == portOr(bp, defaultPort)
}

func portOr(p []byte, def string) string {
	if len(p) == 0 {
		return def
	}
	return string(p)
}
