package authn

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, row := range []struct {
		glob, text string
		want       bool
	}{
		{"*", "", true},
		{"*", "/a/b", true},
		{"", "", true},
		{"", "/", false},
		{"/httpbin/*", "/httpbin/", true},
		{"/httpbin/*", "/httpbin/a/b", true},
		{"/httpbin/*", "/httpbin", false},
		{"/httpbin/ip", "/httpbin/ip", true},
		{"/httpbin/ip", "/httpbin/ipx", false},
		{"/httpbin/ip", "/httpbin/i", false},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false},
		{"/a*b*c", "/abbcbc", true},
		{"/a*b*c", "/abbcb", false},
		{"/a**c", "/ac", true},
		{"/?", "/a", true},
		{"/?", "/", false},
		{"/?", "/ab", false},
		{"/[a-c]x", "/bx", true},
		{"/[a-c]x", "/dx", false},
		{"/[!a-c]x", "/dx", true},
		{"/[^a-c]x", "/ax", false},
		{"/[]]x", "/]x", true},
		{"/[a\\]b]", "/]", true},
		{"/[a-]", "/-", true},
		{"/\\*", "/*", true},
		{"/\\*", "/a", false},
		{"/\\?x", "/?x", true},
		{"/{a,b}", "/a", false},
		{"/{a,b}", "/{a,b}", true},
	} {
		if got := glob(row.glob).match([]byte(row.text)); got != row.want {
			t.Errorf("%q matches %q: %v, want %v", row.glob, row.text, got, row.want)
		}
	}
}

// expression is what a glob means as a regular expression. Bytes are what Latin-1 calls
// characters.
func expression(g string) (re *regexp.Regexp, ok bool) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := g; rest != ""; {
		switch c := rest[0]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		case '[':
			return nil, false
		case '\\':
			if len(rest) == 1 {
				return nil, false
			}
			rest = rest[1:]
			fallthrough
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(rest[0]))))
		}
		rest = rest[1:]
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String()), true
}

func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// FuzzGlob holds matching to regular expressions, what a glob begins with to what it
// matches, and what two globs have in common to both.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][3]string{
		{"/api/*", "/*/x", "/api/x"}, {"*a*b", "b*", "bab"}, {"/[a-z]?", "/\\*", "/*"}, {"*", "", ""}, {"[", "]", "["}, {"\\", "[!", "x"}, {"/a[]b]*", "/a]*", "/a]"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, a, b, text string) {
		if len(a)+len(b)+len(text) > 200 {
			return
		}
		matched := glob(a).match([]byte(text))
		if re, ok := expression(a); ok {
			if want := re.MatchString(latin1(text)); matched != want {
				t.Errorf("%q matches %q: %v, as a regular expression %v", a, text, matched, want)
			}
		}
		start, whole := glob(a).start()
		if matched && (!strings.HasPrefix(text, start) || whole && text != start) {
			t.Errorf("%q matches %q, which does not begin with %q", a, text, start)
		}
		example, both := common(glob(a).pieces(), glob(b).pieces())
		if both && (!glob(a).match([]byte(example)) || !glob(b).match([]byte(example))) {
			t.Errorf("%q is none that both %q and %q match", example, a, b)
		}
		if !both && matched && glob(b).match([]byte(text)) {
			t.Errorf("%q and %q match %q, and no such text was found", a, b, text)
		}
	})
}
