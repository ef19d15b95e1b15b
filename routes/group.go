package routes

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"legate/config"
)

// A group is the Mappings that ask for the same requests and share them by weight.
type group struct {
	id       string // what they have in common; "" for a Mapping that cannot serve
	key      sortKey
	mappings []*config.Mapping // all, in load order; not every one need serve
	routes   []*Route          // of those that do, in the order in which they are asked
	problems []config.Problem

	// While it is made:
	drafts  []*draft // of the mappings
	members []*draft // that serve, in load order
	shadow  *draft   // that sees copies of what they are asked; nil for none
}

// A sortKey is a group's place in the order: larger comes first, element by element.
type sortKey struct {
	precedence, prefixLen, headers, query int
	prefix, method                        string
	conds                                 []string
}

func (k *sortKey) compare(l *sortKey) int {
	if c := cmp.Or(
		cmp.Compare(k.precedence, l.precedence),
		cmp.Compare(k.prefixLen, l.prefixLen),
		cmp.Compare(k.headers, l.headers),
		cmp.Compare(k.query, l.query),
	); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(k.prefix, l.prefix), strings.Compare(k.method, l.method), slices.Compare(k.conds, l.conds))
}

func newSortKey(d *draft) sortKey {
	m := d.mapping
	k := sortKey{
		precedence: m.Precedence,
		prefixLen:  utf8.RuneCountInString(m.Prefix),
		prefix:     m.Prefix,
		method:     cmp.Or(m.Method, "GET"),
		conds:      make([]string, 0, len(d.conds)+len(d.queries)),
	}
	for i := range d.conds {
		k.headers += d.conds[i].score()
		k.conds = append(k.conds, d.conds[i].key())
	}
	for i := range d.queries {
		k.query += d.queries[i].score()
		k.conds = append(k.conds, d.queries[i].key())
	}
	return k
}

// grouped makes groups of drafts, which hold every member of each, in the order of their
// first members.
func (b *builder) grouped(drafts []*draft) []*group {
	b.pick(drafts)
	groups := make([]*group, 0, len(drafts))
	byIdentity := make(map[string]*group, len(drafts))
	var id []byte
	for _, d := range drafts {
		var g *group
		if d.route != nil {
			id = d.identity(id[:0])
			g = byIdentity[string(id)]
		}
		if g == nil {
			g = &group{}
			groups = append(groups, g)
			if d.route != nil {
				g.id = string(id)
				byIdentity[g.id] = g
			}
		}
		g.drafts, g.mappings = append(g.drafts, d), append(g.mappings, d.mapping)
		b.table.groups[d.at] = g
	}
	for _, g := range groups {
		b.settle(g)
	}
	return groups
}

// settle settles which members of g serve, and how.
func (b *builder) settle(g *group) {
	for _, d := range g.drafts {
		g.problems = append(g.problems, d.problems...)
	}
	b.sink = &g.problems
	for _, d := range g.drafts {
		if d.route != nil {
			g.admit(b, d)
		}
	}
	switch {
	case len(g.members) > 0:
		g.key = newSortKey(g.members[0])
		g.share(b)
		g.settle(b)
		for _, d := range g.byTurn() {
			d.route.ClosedBy = b.closes(d.route)
			g.routes = append(g.routes, d.route)
		}
	case g.shadow != nil:
		b.problem(g.shadow.mapping.Problem("shadow", "there is no other Mapping of the same match whose requests could be copied", config.Notice))
	}
	g.drafts, g.members, g.shadow = nil, nil, nil
}

// pick notes for Mappings without a host which selectors select them: it tells
// groups apart.
func (b *builder) pick(drafts []*draft) {
	if len(b.selectors) == 0 {
		return
	}
	unnamed := make([]*draft, 0, len(drafts))
	for _, d := range drafts {
		if d.route != nil && !d.host.named {
			unnamed = append(unnamed, d)
		}
	}
	index := newLabelIndex(unnamed, func(d *draft) map[string]string { return d.mapping.Labels })
	for _, s := range b.selectors {
		for _, d := range index.selected(s, b.opts.LooseSelectors) {
			if !slices.Contains(d.picked, s) {
				d.picked = append(d.picked, s)
			}
		}
	}
}

// identity appends what two Mappings must share to be one group.
func (d *draft) identity(id []byte) []byte {
	m := d.mapping
	id = strconv.AppendQuote(id, cmp.Or(m.Method, "GET"))
	id = strconv.AppendQuote(id, m.Prefix)
	id = strconv.AppendInt(id, int64(m.Precedence), 10)
	for _, c := range d.conds {
		id = strconv.AppendQuote(append(id, 'h'), c.name)
		id = strconv.AppendQuote(id, c.value)
	}
	for _, c := range d.queries {
		id = strconv.AppendQuote(append(id, 'q'), c.name)
		id = strconv.AppendQuote(id, c.value)
	}
	for _, s := range d.picked {
		id = strconv.AppendQuote(append(id, 's'), s.id)
	}
	return id
}

// admit takes d as a member unless it disagrees with the first.
func (g *group) admit(b *builder, d *draft) {
	if d.mapping.Shadow {
		if g.shadow != nil {
			b.problem(d.mapping.Problem("shadow", fmt.Sprintf("cannot accept %s as second shadow after %s", d.mapping.Name, g.shadow.mapping.Name), config.ObjectDropped))
			return
		}
		g.shadow = d
		return
	}
	if len(g.members) == 0 {
		g.members = append(g.members, d)
		return
	}
	first := g.members[0]
	if fields := mismatches(first, d); len(fields) > 0 {
		b.problem(d.mapping.Problem("", fmt.Sprintf(
			"cannot accept new mapping %s with mismatched %s. Please verify field is set with the same value in all related mappings; %s has the same match",
			d.mapping.Name, strings.Join(fields, ", "), first.mapping.Ref()), config.ObjectDropped))
		return
	}
	if msg := redirectClash(first.mapping, d.mapping); msg != "" {
		b.problem(d.mapping.Problem("host_redirect", msg, config.ObjectDropped))
		return
	}
	g.members = append(g.members, d)
}

// mismatches names the fields that d sets differently from the first member.
func mismatches(first, d *draft) (fields []string) {
	a, m := first.mapping, d.mapping
	differ := func(name string, differs bool, got, want any) {
		if differs {
			fields = append(fields, fmt.Sprintf("%s: %v != %v", name, shown(got), shown(want)))
		}
	}
	differ("bypass_auth", !agrees(a.BypassAuth, m.BypassAuth), m.BypassAuth, a.BypassAuth)
	differ("circuit_breakers", !reflect.DeepEqual(a.CircuitBreakers, m.CircuitBreakers), m.CircuitBreakers, a.CircuitBreakers)
	differ("bypass_error_response_overrides", !agrees(a.BypassErrorResponseOverrides, m.BypassErrorResponseOverrides), m.BypassErrorResponseOverrides, a.BypassErrorResponseOverrides)
	differ("cluster_idle_timeout_ms", !agrees(a.ClusterIdleTimeoutMS, m.ClusterIdleTimeoutMS), m.ClusterIdleTimeoutMS, a.ClusterIdleTimeoutMS)
	differ("cluster_max_connection_lifetime_ms", !agrees(a.ClusterMaxConnectionLifetimeMS, m.ClusterMaxConnectionLifetimeMS),
		m.ClusterMaxConnectionLifetimeMS, a.ClusterMaxConnectionLifetimeMS)
	differ("connect_timeout_ms", !agrees(a.ConnectTimeoutMS, m.ConnectTimeoutMS), m.ConnectTimeoutMS, a.ConnectTimeoutMS)
	differ("headers", !slices.Equal(first.conds, d.conds), "regex", "regex")
	differ("keepalive", !agrees(a.Keepalive, m.Keepalive), m.Keepalive, a.Keepalive)
	differ("labels", m.LimitLabels != nil && !reflect.DeepEqual(a.LimitLabels, m.LimitLabels), m.LimitLabels, a.LimitLabels)
	differ("load_balancer", m.LoadBalancer != nil && !reflect.DeepEqual(a.LoadBalancer, m.LoadBalancer), m.LoadBalancer, a.LoadBalancer)
	differ("prefix_exact", m.PrefixExact && !a.PrefixExact, true, nil)
	differ("prefix_regex", m.PrefixRegex && !a.PrefixRegex, true, nil)
	return fields
}

// agrees reports whether a later member's field is unset or as the first set it.
func agrees[T comparable](first, later *T) bool {
	return later == nil || first != nil && *first == *later
}

// shown is a field's value in a Problem.
func shown(v any) any {
	switch rv := reflect.ValueOf(v); {
	case !rv.IsValid(), rv.Kind() == reflect.Pointer && rv.IsNil():
		return "-unset-"
	case rv.Kind() == reflect.Pointer:
		return rv.Elem()
	}
	return v
}

// redirectClash says why m cannot join the group of first, if redirects are why.
func redirectClash(first, m *config.Mapping) string {
	switch {
	case first.HostRedirect && m.HostRedirect:
		return fmt.Sprintf("cannot accept %s as second host_redirect after %s", m.Name, first.Name)
	case m.HostRedirect:
		return fmt.Sprintf("cannot accept %s with host_redirect after mappings without host_redirect (eg %s)", m.Name, first.Name)
	case first.HostRedirect:
		return fmt.Sprintf("cannot accept %s without host_redirect after %s with host_redirect", m.Name, first.Name)
	}
	return ""
}

// byTurn returns the members in the order in which they are asked: weighted ones first.
func (g *group) byTurn() []*draft {
	if len(g.members) == 1 {
		return g.members
	}
	turn := make([]*draft, 0, len(g.members))
	for _, weighted := range []bool{true, false} {
		for _, d := range g.members {
			if (d.mapping.Weight != nil) == weighted {
				turn = append(turn, d)
			}
		}
	}
	return turn
}

// share deals out the rolls 0 to 99. A member gets those below its Share that no
// member before it got.
func (g *group) share(b *builder) {
	if len(g.members) == 1 {
		return // always 100 %, whatever its weight
	}
	total := 0
	var rest []*Route
	for _, d := range g.members {
		if d.mapping.Weight == nil {
			rest = append(rest, d.route)
			continue
		}
		total += *d.mapping.Weight
		d.route.Share = uint8(min(total, 100)) //nolint:gosec // at most 100
	}
	if total > 100 {
		p := g.members[0].mapping.Problem("weight", "Total weight of mappings exceeds 100, please reconfigure for correct behavior. Could not normalize mapping weights, ignoring...", config.FieldIgnored)
		p.Instead = "later members share what the first leave of 100, members without weight get nothing"
		b.problem(p)
		for _, r := range rest {
			r.Share = 0
		}
		return
	}
	each := 0
	if len(rest) > 0 {
		each = int(math.RoundToEven(float64(100-total) / float64(len(rest))))
	}
	for i, r := range rest {
		total += each
		if i == len(rest)-1 {
			total = 100
		}
		r.Share = uint8(min(total, 100))
	}
}

// labels returns those of all members together: for selectors a group is one.
func (g *group) labels() map[string]string {
	if len(g.members) == 1 {
		return g.members[0].mapping.Labels
	}
	labels := map[string]string{}
	for _, d := range g.members {
		maps.Copy(labels, d.mapping.Labels)
	}
	return labels
}

// settle gives every member the settings that the group shares.
func (g *group) settle(b *builder) {
	first := g.members[0].mapping
	labels := g.labels()
	shared := g.shared(b)
	for _, d := range g.members {
		r := d.route
		r.key, r.labels = &g.key, labels
		r.host = d.host
		switch {
		case first.PrefixRegex:
			r.path = pathRegex
			r.pathRE = g.members[0].route.pathRE
		case first.PrefixExact:
			r.path = pathExact
		}
		r.CaseSensitive = true
		if cs := cmp.Or(d.mapping.CaseSensitive, shared.caseSensitive); cs != nil {
			r.CaseSensitive = *cs
		}
		r.LoadBalancer, r.Retry, r.Priority = shared.loadBalancer, shared.retry, shared.priority
		r.Request, r.Response = shared.request, shared.response
		r.rewrite.regex = shared.regexRewrite
		r.Upgrades = shared.upgrades
		r.CORS = cmp.Or(shared.cors, b.moduleCORS)
		r.Limits = first.LimitLabels
		if g.shadow != nil {
			r.Shadow = g.shadow.route
		}
		if d.mapping.GRPC && len(r.Upgrades) > 0 {
			r.Upgrades = nil
			b.problem(d.mapping.Problem("allow_upgrade", "an upstream of HTTP/2, which grpc: true asks for, switches to no other protocol", config.FieldIgnored))
		}
	}
}

// sharedSettings are those of a group: of each field the last member that sets it
// counts, and added headers are collected.
type sharedSettings struct {
	caseSensitive     *bool
	regexRewrite      *regexSub
	loadBalancer      *config.LoadBalancer
	retry             *config.RetryPolicy
	priority          config.Priority
	request, response HeaderEdits
	upgrades          []string
	cors              *CORS
}

func (g *group) shared(b *builder) (s sharedSettings) {
	var request, response headerWishes
	module := b.module
	for _, d := range g.members {
		m := d.mapping
		s.caseSensitive = cmp.Or(m.CaseSensitive, s.caseSensitive)
		s.retry = cmp.Or(m.Retry, s.retry)
		if m.Priority != nil {
			s.priority = *m.Priority
		}
		s.loadBalancer = cmp.Or(m.LoadBalancer, s.loadBalancer)
		s.regexRewrite = cmp.Or(d.route.rewrite.regex, s.regexRewrite)
		if m.AllowUpgrade != nil {
			s.upgrades = m.AllowUpgrade
		}
		s.cors = cmp.Or(b.cors(&m.Meta, "cors", m.CORS), s.cors)
		request.collect(m, "request", &m.Request, &module.Defaults.Request, &module.Meta)
		response.collect(m, "response", &m.Response, &module.Defaults.Response, &module.Meta)
	}
	if g.members[0].mapping.HostRedirect { // Ambassador takes these from forwarding members only
		return s
	}
	s.request, s.response = request.compile(b), response.compile(b)
	return s
}
