package authn

import (
	"net/url"
	"strings"
)

// A parameter is one of a query: a name and a value.
type parameter struct{ name, value string }

// editQuery returns a query with parameters set and removed. What stays is as it was
// sent, in its place; of several of a name that is set the first gets the value.
func editQuery(query string, set []parameter, remove []string) string {
	values, gone := make(map[string]string, len(set)), map[string]bool{}
	for _, name := range remove {
		gone[name] = true
	}
	for _, p := range set {
		values[p.name] = p.value
	}
	var parts []string
	for part := range strings.SplitSeq(query, "&") {
		written, _, _ := strings.Cut(part, "=")
		name := unescape(written)
		value, there := values[name]
		switch {
		case part == "" || gone[name]:
		case there:
			parts = append(parts, written+"="+escape(value))
			gone[name] = true
		default:
			parts = append(parts, part)
		}
	}
	for _, p := range set {
		if !gone[p.name] {
			parts = append(parts, escape(p.name)+"="+escape(values[p.name]))
			gone[p.name] = true
		}
	}
	return strings.Join(parts, "&")
}

// unescape returns what a name stands for, itself where it is broken.
func unescape(name string) string {
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	return name
}

// escape writes s so that it can be a part of a query. Escapes that it holds stay: who
// sends such has escaped it already.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			b.WriteByte(c)
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`"#%&+<>\^`+"`{|}", c) >= 0:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
