package routes

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"legate/config"
	"legate/wire"
)

// A draft is a Mapping on its way to become a Route.
type draft struct {
	mapping *config.Mapping
	host    hostCond
	conds   []namedCond // in Ambassador's order, ":authority" and ":method" among them
	queries []namedCond
	route   *Route      // nil for a Mapping that cannot serve
	picked  []*selector // selectors that select it
	at      int         // its place among the World's Mappings

	problems []config.Problem
}

// A namedCond is a condition as its author wrote it: what orders and groups
// Mappings is the text.
type namedCond struct {
	name, value string
	regex       bool
}

// score is what a condition contributes to a Mapping's place in the order.
func (c *namedCond) score() int {
	n := utf8.RuneCountInString(c.name) + utf8.RuneCountInString(c.shown())
	if c.regex {
		n++
	}
	return n
}

func (c *namedCond) key() string { return c.name + "-" + c.shown() }

func (c *namedCond) shown() string {
	if c.value == "" {
		return "*"
	}
	return c.value
}

// draft reads the Mapping at a place among all.
func (b *builder) draft(at int, m *config.Mapping) *draft {
	d := &draft{mapping: m, at: at}
	b.sink = &d.problems
	if field, err := b.read(d); err != nil {
		b.problem(m.Problem(field, err.Error(), config.ObjectDropped))
		d.route = nil
	}
	return d
}

// read compiles one Mapping. It returns the field that keeps it from serving.
func (b *builder) read(d *draft) (field string, err error) {
	m := d.mapping
	if m.Prefix == "" {
		return "prefix", fmt.Errorf("must not be empty")
	}
	if m.Weight != nil && (*m.Weight < 0 || *m.Weight > 100) {
		return "weight", fmt.Errorf("invalid weight %d, must be 0 to 100", *m.Weight)
	}
	d.route = &Route{
		Mapping: m,
		Name:    m.FullName(),
		By:      m.Ref().String(),
		Share:   100,
		acme:    m.Prefix == acmePrefix,
	}
	if m.PrefixRegex {
		if d.route.pathRE, err = b.regexp(m.Prefix, fullMatch); err != nil {
			return "prefix", err
		}
	}
	for _, step := range []func(*draft) (string, error){b.readHost, b.readHeaders, b.readMethod, b.readQuery, b.readRewrite, b.readRedirect, b.readHeaderValues} {
		if field, err := step(d); err != nil {
			return field, err
		}
	}
	if !m.PrefixRegex && m.Prefix[0] != '/' && m.Prefix[0] != '*' {
		b.problem(m.Problem("prefix", `can never match, as paths begin with "/"`, config.Notice))
	}
	return "", nil
}

// readHost settles which authorities the Mapping is for: its hostname, else its
// host, else a header condition on ":authority".
func (b *builder) readHost(d *draft) (string, error) {
	m := d.mapping
	glob := ""
	for _, h := range m.Headers {
		if !wire.EqualFold(h.Name, ":authority") {
			continue
		}
		if strings.Contains(h.Value, "*") {
			return "headers", fmt.Errorf(":authority exact-match %q contains *, which cannot match anything", h.Value)
		}
		glob = h.Value
	}
	switch {
	case m.Hostname != "":
		if m.Host != "" {
			b.problem(m.Problem("host", "both host and hostname are set", config.FieldIgnored))
		}
		glob = m.Hostname
	case m.Host != "" && m.HostRegex:
		re, err := b.regexp(m.Host, fullMatchFold)
		if err != nil {
			return "host", err
		}
		d.host = hostCond{kind: hostRegex, re: re, named: true}
		return "", nil
	case strings.Contains(m.Host, "*"):
		return "host", fmt.Errorf("host exact-match %q contains *, which cannot match anything", m.Host)
	case m.Host != "":
		glob = m.Host
	}
	d.host = newHostCond(strings.ToLower(glob))
	return "", nil
}

func (b *builder) readHeaders(d *draft) (string, error) {
	m := d.mapping
	for _, h := range m.Headers {
		if wire.EqualFold(h.Name, ":authority") {
			continue // it is the Mapping's host
		}
		d.conds = append(d.conds, namedCond{name: h.Name, value: h.Value})
		d.route.conds = append(d.route.conds, newHeaderCond(h.Name, h.Value))
	}
	for _, h := range m.RegexHeaders {
		c := newHeaderCond(h.Name, "")
		form := fullMatch
		if c.on == onAuthority {
			form = fullMatchFold
		}
		var err error
		if c.re, err = b.regexp(h.Value, form); err != nil {
			return "regex_headers." + h.Name, err
		}
		d.conds = append(d.conds, namedCond{name: h.Name, value: h.Value, regex: true})
		d.route.conds = append(d.route.conds, c)
	}
	switch {
	case d.host.kind == hostRegex:
		d.conds = append(d.conds, namedCond{name: ":authority", value: m.Host, regex: true})
	case d.host.named:
		d.conds = append(d.conds, namedCond{name: ":authority", value: d.host.glob})
	}
	return "", nil
}

func (b *builder) readMethod(d *draft) (string, error) {
	m := d.mapping
	if m.Method == "" {
		return "", nil
	}
	c := cond{on: onMethod, value: m.Method}
	if m.MethodRegex {
		var err error
		if c.re, err = b.regexp(m.Method, fullMatch); err != nil {
			return "method", err
		}
	}
	d.conds = append(d.conds, namedCond{name: ":method", value: m.Method, regex: m.MethodRegex})
	d.route.conds = append(d.route.conds, c)
	return "", nil
}

func (b *builder) readQuery(d *draft) (string, error) {
	for _, q := range d.mapping.QueryParameters {
		d.queries = append(d.queries, namedCond{name: q.Name, value: q.Value})
		d.route.conds = append(d.route.conds, cond{on: onQuery, name: q.Name, value: q.Value})
	}
	for _, q := range d.mapping.RegexQueryParameters {
		re, err := b.regexp(q.Value, fullMatch)
		if err != nil {
			return "regex_query_parameters." + q.Name, err
		}
		d.queries = append(d.queries, namedCond{name: q.Name, value: q.Value, regex: true})
		d.route.conds = append(d.route.conds, cond{on: onQuery, name: q.Name, re: re})
	}
	return "", nil
}
