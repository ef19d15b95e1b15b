package decode

import (
	"cmp"
	"math"
	"regexp"
	"strings"

	"legate/config"
)

// decodeFilterPolicy reads a FilterPolicy. One that cannot be understood guards all that
// it could, see protect.
func decodeFilterPolicy(o *object, spec *fields) any {
	spec.fold = true
	p := &config.FilterPolicy{}
	if spec.value("rules") == nil {
		spec.missing("rules")
	}
	for _, rule := range spec.objects("rules") {
		p.Rules = append(p.Rules, rule.filterRule())
	}
	spec.finish(nil)
	p.Meta = o.Meta
	return p
}

// filterRule reads one rule. Without filters it lets requests through, unless a misspelt
// field of it may have been meant to be the filters.
func (f *fields) filterRule() config.FilterRule {
	rule := config.FilterRule{
		Host: strings.ToLower(cmp.Or(f.text("host"), "*")),
		Path: cmp.Or(f.text("path"), "*"),
	}
	f.glob("host", rule.Host)
	f.pathGlob(rule.Path)
	for _, name := range []string{"v3Precedence", "precedence"} {
		if n := f.number(name, math.MinInt32, math.MaxInt32); n != nil {
			rule.Precedence = *n
		}
	}
	for _, use := range f.objects("filters") {
		rule.Filters = append(rule.Filters, use.filterUse())
	}
	f.finishLock("host", "path", "filters")
	return rule
}

// glob reports a glob that says nothing.
func (f *fields) glob(name, glob string) {
	if !validGlob(glob) {
		f.wrong(f.find(name), "a glob, in which a set ends with a bracket and a backslash is not the last character")
	}
}

// pathGlob is glob for a path, and tells of one that none begins as: its author believes in a
// lock that nobody ever meets.
func (f *fields) pathGlob(glob string) {
	f.glob("path", glob)
	if !strings.ContainsAny(glob[:1], `/*?[\`) {
		f.o.report(f.at("path"), f.path+"path", `matches no path, as they all begin with "/"`, config.Notice).Instead = "the rule decides about no request"
	}
}

// validGlob reports whether every set of a glob ends, and every backslash is followed by
// what it is for.
func validGlob(glob string) bool {
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			if i++; i == len(glob) {
				return false
			}
		case '[':
			end := setEnd(glob, i)
			if end < 0 {
				return false
			}
			i = end
		}
	}
	return true
}

// setEnd returns where the set that begins at from ends, -1 for nowhere. A bracket is one
// of the set's own where it comes first.
func setEnd(glob string, from int) int {
	i := from + 1
	if i < len(glob) && (glob[i] == '!' || glob[i] == '^') {
		i++
	}
	if i < len(glob) && glob[i] == ']' {
		i++
	}
	for ; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
		case ']':
			return i
		}
	}
	return -1
}

// filterUse reads one Filter as a rule uses it.
func (f *fields) filterUse() config.FilterUse {
	u := config.FilterUse{
		Name:      f.required("name"),
		Namespace: cmp.Or(f.text("namespace"), f.o.Meta.Namespace),
		If:        f.headerCondition("ifRequestHeader"),
	}
	u.ContinueOnDeny = f.oneOf("onDeny", "break", "continue") == "continue"
	u.BreakOnAllow = f.oneOf("onAllow", "break", "continue") == "break"
	if a := f.object("arguments"); a != nil {
		u.Arguments = a.filterArguments()
	}
	f.finishLock("ifRequestHeader", "onDeny", "onAllow", "arguments", "namespace")
	return u
}

// filterArguments reads what a rule tells a Filter, whatever its kind.
func (f *fields) filterArguments() *config.Arguments {
	a := &config.Arguments{}
	f.jwtArguments(a)
	if i := f.object("insteadOfRedirect"); i != nil {
		a.Instead = i.insteadOfRedirect()
	}
	a.SameSite = f.oneOf("sameSite", "lax", "strict", "none")
	f.finishLock("scope", "scopes", "propagateToken", "insteadOfRedirect", "sameSite")
	return a
}

func (f *fields) insteadOfRedirect() *config.InsteadOfRedirect {
	r := &config.InsteadOfRedirect{If: f.headerCondition("ifRequestHeader")}
	if n := f.number("httpStatusCode", 400, 599); n != nil {
		r.Status = *n
	}
	for _, use := range f.objects("filters") {
		r.Filters = append(r.Filters, use.filterUse())
	}
	if r.Status != 0 && len(r.Filters) > 0 {
		f.complain(f.find("filters"), "there is httpStatusCode too, and only one of them can be what happens")
	}
	f.finishLock("ifRequestHeader", "httpStatusCode", "filters")
	return r
}

// headerCondition reads a test of one header, nil if it is missing.
func (f *fields) headerCondition(name string) *config.HeaderCondition {
	c := f.object(name)
	if c == nil {
		return nil
	}
	h := &config.HeaderCondition{
		Name:  strings.ToLower(c.required("name")),
		Value: c.textPtr("value"), Regex: c.text("valueRegex"), Negate: c.isSet("negate"),
	}
	if h.Value != nil && h.Regex != "" {
		c.complain(c.find("valueRegex"), "value is given too, and only one of them can be the test")
	}
	if _, err := regexp.Compile(h.Regex); err != nil {
		c.wrong(c.find("valueRegex"), "a regular expression")
	}
	c.finishLock("name", "value", "valueRegex", "negate")
	return h
}
