package decode

import "strings"

// expand replaces $NAME and ${NAME} by the environment's values, as Ambassador
// does. Names that the environment does not have stay as written, so that a
// regular expression with a "$" survives.
func (o *object) expand(s string) string {
	if o.opts.Lookup == nil || !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		name, length := variable(s)
		value, ok := "", false
		if name != "" {
			value, ok = o.opts.Lookup(name)
		}
		if !ok {
			value = s[:max(length, 1)]
		}
		b.WriteString(value)
		s = s[max(length, 1):]
	}
}

// variable reads the name at the start of s, "$NAME" or "${NAME}", and how long it
// is as written; "" if there is none. Between braces a name may hold anything else.
func variable(s string) (name string, length int) {
	if body, brace := strings.CutPrefix(s[1:], "{"); brace {
		name, _, closed := strings.Cut(body, "}")
		if !closed || name == "" {
			return "", 0
		}
		return name, len(name) + len("${}")
	}
	body, n := s[1:], 0
	for n < len(body) && (body[n] == '_' || isLetter(body[n]) || n > 0 && '0' <= body[n] && body[n] <= '9') {
		n++
	}
	if n == 0 {
		return "", 0
	}
	return body[:n], 1 + n
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
