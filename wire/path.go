package wire

import "bytes"

// PathRules are the choices an operator has about paths.
type PathRules struct {
	MergeSlashes         bool // "//" becomes "/"
	RejectEscapedSlashes bool // %2F and %5C are refused
}

// Errors of NormalizePath.
var (
	errPathEscape   = &ProtocolError{BadTarget, "broken escape in the path"}
	errPathNUL      = &ProtocolError{BadTarget, "NUL in the path"}
	errPathFragment = &ProtocolError{BadTarget, "fragment in the request target"}
	errPathSlash    = &ProtocolError{BadTarget, "escaped slash in the path"}
)

// pathPlain marks the bytes that normalisation never touches.
var pathPlain = func() (t [256]bool) {
	for i := range t {
		t[i] = i > ' ' && i != 0x7f && i != '%' && i != '\\' && i != '#' && i != '.' && i != '/'
	}
	return t
}()

// NormalizePath makes Path what is matched and what is forwarded: dot segments
// resolved (also when escaped), backslashes turned to slashes, escapes of
// unreserved characters decoded (RFC 3986 §6.2.2), other escapes kept as written.
// It is idempotent. Budget: 0 allocs once the Head has been used.
func (h *Head) NormalizePath(rules PathRules) *ProtocolError {
	raw := h.path
	if len(raw) == 1 && raw[0] == '*' { // asterisk-form, RFC 9112 §3.2.4
		return nil
	}
	if isNormal(raw, rules) {
		return nil
	}
	out := h.norm[:0]
	if len(raw) == 0 || raw[0] != '/' && raw[0] != '\\' {
		out = append(out, '/')
	}
	out, err := decodePath(out, raw, rules)
	if err != nil {
		return err
	}
	out = resolveDots(out)
	if rules.MergeSlashes {
		out = mergeSlashes(out)
	}
	h.norm, h.path = out, out
	return nil
}

// isNormal reports whether raw is left alone by normalisation.
func isNormal(raw []byte, rules PathRules) bool {
	if len(raw) == 0 || raw[0] != '/' {
		return false
	}
	for i, c := range raw {
		if pathPlain[c] {
			continue
		}
		switch c {
		case '/':
			if rules.MergeSlashes && i > 0 && raw[i-1] == '/' {
				return false
			}
		case '.':
			if raw[i-1] == '/' { // may begin a dot segment
				return false
			}
		default:
			return false
		}
	}
	return true
}

// decodePath appends raw to out with backslashes turned and unreserved escapes
// decoded.
func decodePath(out, raw []byte, rules PathRules) ([]byte, *ProtocolError) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '\\':
			out = append(out, '/')
		case '#':
			return nil, errPathFragment
		case 0:
			return nil, errPathNUL
		case '%':
			if i+2 >= len(raw) || unhex[raw[i+1]] < 0 || unhex[raw[i+2]] < 0 {
				return nil, errPathEscape
			}
			d := byte(unhex[raw[i+1]]<<4 | unhex[raw[i+2]]) //nolint:gosec // two hex digits
			switch {
			case d == 0:
				return nil, errPathNUL
			case (d == '/' || d == '\\') && rules.RejectEscapedSlashes:
				return nil, errPathSlash
			case unreserved[d]:
				out = append(out, d)
			default:
				out = append(out, raw[i:i+3]...)
			}
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

// resolveDots removes "." and ".." segments in place (RFC 3986 §5.2.4); ".." above
// the root is dropped.
func resolveDots(p []byte) []byte {
	w := 0
	for i := 0; i < len(p); {
		end := i + 1
		for end < len(p) && p[end] != '/' {
			end++
		}
		segment := p[i+1 : end] // p[i] is "/"
		last := end == len(p)
		switch string(segment) {
		case ".":
			if last {
				p[w] = '/'
				w++
			}
		case "..":
			w = max(bytes.LastIndexByte(p[:w], '/'), 0)
			if last {
				p[w] = '/'
				w++
			}
		default:
			w += copy(p[w:], p[i:end])
		}
		i = end
	}
	return p[:w]
}

func mergeSlashes(p []byte) []byte {
	w := 0
	for i, c := range p {
		if c == '/' && i > 0 && p[i-1] == '/' {
			continue
		}
		p[w] = c
		w++
	}
	return p[:w]
}

// unhex is the value of a hex digit, -1 for other bytes.
var unhex = func() (t [256]int8) {
	for i := range t {
		switch {
		case '0' <= i && i <= '9':
			t[i] = int8(i - '0')
		case 'a' <= i && i <= 'f':
			t[i] = int8(i - 'a' + 10)
		case 'A' <= i && i <= 'F':
			t[i] = int8(i - 'A' + 10)
		default:
			t[i] = -1
		}
	}
	return t
}()

// unreserved are the characters whose escapes mean nothing (RFC 3986 §2.3).
var unreserved = func() (t [256]bool) {
	for i := range t {
		t[i] = 'a' <= i && i <= 'z' || 'A' <= i && i <= 'Z' || '0' <= i && i <= '9' ||
			i == '-' || i == '.' || i == '_' || i == '~'
	}
	return t
}()
