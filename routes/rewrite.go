package routes

import (
	"fmt"
	"regexp"

	"legate/config"
)

// A rewrite says what becomes of the path on its way to the upstream.
type rewrite struct {
	regex *regexSub // if not nil, it alone counts
	to    string    // replaces what matched; "" leaves the path alone
}

func (b *builder) readRewrite(d *draft) (string, error) {
	m := d.mapping
	d.route.rewrite.to = "/"
	if m.Rewrite != nil {
		d.route.rewrite.to = *m.Rewrite
	}
	if m.RegexRewrite == nil {
		return "", nil
	}
	var err error
	if d.route.rewrite.regex, err = b.regexSub(m.RegexRewrite); err != nil {
		return "regex_rewrite", err
	}
	if d.route.rewrite.to != "/" {
		b.problem(m.Problem("rewrite", "regex_rewrite is given too and counts", config.FieldIgnored))
	}
	return "", nil
}

// RewritePath appends to dst the path that the upstream receives, and reports
// whether the route rewrites paths at all: then x-envoy-original-path is sent,
// even if the path stays as it was. Without a rewrite nothing is appended and out
// is nil. path is one that the route matches, without query.
// Budget: 0 allocs if dst has room, but for regex_rewrite.
func (rt *Route) RewritePath(dst, path []byte) (out []byte, rewritten bool) {
	switch {
	case rt.rewrite.regex != nil:
		return rt.rewrite.regex.replace(dst, path), true
	case rt.rewrite.to == "":
		return nil, false
	}
	return append(append(dst, rt.rewrite.to...), rt.rest(path)...), true
}

// rest is what follows the part of path that the route matched.
func (rt *Route) rest(path []byte) []byte {
	if rt.path == pathPrefix && len(path) >= len(rt.Mapping.Prefix) {
		return path[len(rt.Mapping.Prefix):]
	}
	return nil
}

// A regexSub replaces every match of an expression.
type regexSub struct {
	re    *regexp.Regexp
	parts []subPart
}

// A subPart is literal text and the group that follows it, -1 for none.
type subPart struct {
	text  string
	group int
}

// regexSub compiles a substitution in RE2's language: \0 to \9 are groups, \\ is a
// backslash.
func (b *builder) regexSub(s *config.RegexSub) (*regexSub, error) {
	re, err := b.regexp(s.Pattern, anywhere)
	if err != nil {
		return nil, err
	}
	sub := &regexSub{re: re}
	text := []byte{}
	for i := 0; i < len(s.Substitution); i++ {
		c := s.Substitution[i]
		if c != '\\' {
			text = append(text, c)
			continue
		}
		i++
		if i == len(s.Substitution) {
			return nil, fmt.Errorf("substitution %q ends with a lone backslash", s.Substitution)
		}
		switch c = s.Substitution[i]; {
		case c == '\\':
			text = append(text, c)
		case '0' <= c && c <= '9' && int(c-'0') <= re.NumSubexp():
			sub.parts = append(sub.parts, subPart{string(text), int(c - '0')})
			text = text[:0]
		default:
			return nil, fmt.Errorf("substitution %q: no group \\%c", s.Substitution, c)
		}
	}
	sub.parts = append(sub.parts, subPart{string(text), -1})
	return sub, nil
}

// replace appends path with every match replaced.
func (s *regexSub) replace(dst, path []byte) []byte {
	done := 0
	for _, at := range s.re.FindAllSubmatchIndex(path, -1) {
		dst = append(dst, path[done:at[0]]...)
		for _, p := range s.parts {
			dst = append(dst, p.text...)
			if p.group >= 0 && at[2*p.group] >= 0 {
				dst = append(dst, path[at[2*p.group]:at[2*p.group+1]]...)
			}
		}
		done = at[1]
	}
	return append(dst, path[done:]...)
}
