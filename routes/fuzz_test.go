package routes

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A source draws choices from fuzz bytes; when they run out it draws the first choice.
type source struct{ data []byte }

func (s *source) n(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

func pick[T any](s *source, of ...T) T { return of[s.n(len(of))] }

func (s *source) one(in int) bool { return s.n(in) == 1 }

func (s *source) labels() map[string]string {
	m := map[string]string{}
	for range s.n(3) {
		m[pick(s, "x", "y")] = pick(s, "1", "2")
	}
	return m
}

var globs = []string{"*", "a.b", "*.b", "a.*", "*b", "A.B", "b", "a.b:80", "*.a.b", ".b", "*a*", "a.*.b", "a.a.*", "*.B:80"}

var authorities = []string{"a.b", "A.b", "b", "x.b", "a.a.b", "a.b:80", "a.x", "a.a.x", ".b", "xb", "", "*a*", "a.", "x.b:80", "ab"}

func randomWorld(s *source) (*config.World, Options) {
	w := &config.World{Secrets: []config.Secret{{Meta: config.Meta{Name: "cert", Namespace: "default"}}}}
	opts := Options{LooseSelectors: s.one(4)}
	w.Modules = []config.Module{{StripMatchingHostPort: s.one(3)}}
	w.Listeners = listeners()[:2]
	w.Listeners[0].Port = 80
	for i := range s.n(5) {
		h := host(fmt.Sprint("h", i), pick(s, globs...), insecurely(config.InsecureAction(s.n(3))))
		if s.one(2) {
			h.HasSelector, h.Selector = true, s.labels()
		}
		h.TLSSecret.Name = pick(s, "", "cert", "cert", "missing")
		h.TLSContext = pick(s, "", "", "", "ctx")
		w.Hosts = append(w.Hosts, h)
	}
	crowded := s.one(2) // many Mappings in few groups
	for i := range s.n(12) + 1 {
		m := randomMapping(s, i)
		if crowded {
			m.Prefix, m.Hostname, m.Host = pick(s, "/", "/a"), pick(s, "*", ""), ""
			m.Precedence, m.PrefixRegex, m.Headers, m.QueryParameters = 0, false, nil, nil
		}
		w.Mappings = append(w.Mappings, m)
	}
	w.Sort()
	return w, opts
}

func randomMapping(s *source, i int) *config.Mapping {
	m := mapping(fmt.Sprint(pick(s, "m", "c", "z"), i), pick(s, "/", "/a", "/a/", "/A", "/ab", "/a/b", "/b", "/a/b/c", acmePrefix))
	m.Hostname = pick(s, append([]string{"*", "*", ""}, globs...)...)
	switch s.n(8) {
	case 1:
		m.PrefixRegex, m.Prefix = true, pick(s, "/.*", "/a|/b", "/[ab]+", "^/a/.*", "/A", "/(?i)a", "/(")
	case 2:
		m.PrefixExact = true
	}
	switch s.n(8) {
	case 1:
		m.Hostname, m.Host, m.HostRegex = pick(s, "", "", "a.b"), pick(s, ".*", "a.*", "A\\..", "["), true
	case 2:
		m.Hostname, m.Host = pick(s, "", "b"), pick(s, "a.b", "*.b")
	case 3:
		m.Headers = append(m.Headers, config.NameValue{Name: pick(s, ":authority", ":Authority", "host"), Value: pick(s, "a.b", "*", "B")})
	}
	if s.one(4) {
		m.Precedence = pick(s, 1, -1, 10)
	}
	if s.one(5) {
		m.Method, m.MethodRegex = pick(s, "GET", "POST", "P.*"), s.one(2)
	}
	if s.one(5) {
		m.Headers = append(m.Headers, config.NameValue{Name: pick(s, "x-a", "X-B", "cookie"), Value: pick(s, "1", "2", "1,2")})
	}
	if s.one(5) {
		m.RegexHeaders = append(m.RegexHeaders, config.NameValue{Name: pick(s, "x-a", "X-B", "user-agent"), Value: pick(s, "1", ".*", "1,.")})
	}
	if s.one(5) {
		m.QueryParameters = append(m.QueryParameters, config.NameValue{Name: "q", Value: pick(s, "1", "")})
	}
	if s.one(6) {
		m.RegexQueryParameters = append(m.RegexQueryParameters, config.NameValue{Name: "r", Value: pick(s, "[12]", ".*")})
	}
	if s.one(4) {
		v := s.one(2)
		m.CaseSensitive = &v
	}
	if s.one(3) {
		v := pick(s, 0, 10, 30, 50, 60, 100, 101)
		m.Weight = &v
	}
	if s.one(6) {
		v := s.one(2)
		m.BypassAuth = &v
	}
	m.HostRedirect = s.one(8)
	m.Labels = s.labels()
	m.Namespace = pick(s, "default", "default", "n2")
	return m
}

func randomRequest(s *source) *Request {
	var fields []string
	for range s.n(4) {
		fields = append(fields, pick(s, "x-a", "x-b", "cookie", "user-agent"), pick(s, "1", "2", "1,2"))
	}
	r := &Request{Head: &wire.Head{}}
	target := pick(s, "/", "/a", "/A", "/a/", "/a/b", "/ab", "/b", "/a/b/c/d", "/aB", acmePrefix+"t", "/ba") + pick(s, "", "?q=1", "?q", "?r=1&q=1", "?r=3", "?")
	r.Head.BuildRequest(pick(s, "GET", "POST", "PUT", "ODD"), pick(s, authorities...), target, fields...)
	r.Listener = s.n(2)
	r.TLS = s.one(3)
	r.Secure = s.one(2)
	if r.TLS {
		r.SNI = pick(s, "", "a.b", "x.b", "b", "A.b")
	}
	r.Roll = uint8(s.n(100))
	return r
}

// FuzzMatch holds Match against a slow reading of the rules, one Mapping after the other.
func FuzzMatch(f *testing.F) {
	for i := range 8 {
		data := make([]byte, 300)
		for j := range data {
			data[j] = byte(j*(2*i+1) + j*j*i/7)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{data}
		requests := []*Request{randomRequest(s), randomRequest(s), randomRequest(s), randomRequest(s)}
		w, opts := randomWorld(s)
		holdToRules(t, w, opts, requests, map[string]int{})
	})
}

// TestMatchInRandomWorlds asks much of many worlds, and is not content with worlds
// in which little is answered.
func TestMatchInRandomWorlds(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	answers := map[string]int{}
	data := make([]byte, 2000)
	for range 1500 {
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		s := &source{data}
		w, opts := randomWorld(s)
		var requests []*Request
		for len(s.data) > 0 {
			requests = append(requests, randomRequest(s))
		}
		if holdToRules(t, w, opts, requests, answers); t.Failed() {
			return
		}
	}
	for _, word := range []string{"", "https_redirect", "insecure_rejected", "no_route", "no_host"} {
		if answers[word] < 1000 {
			t.Errorf("too few answers of a kind: %v", answers)
		}
	}
}

// holdToRules compares Match with the oracle and counts the reasons.
func holdToRules(t *testing.T, w *config.World, opts Options, requests []*Request, answers map[string]int) {
	t.Helper()
	table, problems := Build(w, opts)
	o := newOracle(w, opts)
	for _, r := range requests {
		_, _, reason := table.Match(r)
		answers[reason.String()]++
		holdToJudgement(t, table, r)
		if got, want := answer(table, r), o.match(r); got != want {
			t.Errorf("%s %s %s (TLS %v %q, secure %v, roll %d, listener %d): got %s, want %s\nhosts %+v\nmappings %+v\nproblems %v",
				r.Head.MethodName(), r.Head.Host(), r.Head.Target(), r.TLS, r.SNI, r.Secure, r.Roll, r.Listener, got, want, w.Hosts, w.Mappings, problems)
			return
		}
	}
}

// holdToJudgement compares what is told of every route with what Match does.
func holdToJudgement(t *testing.T, table *Table, r *Request) {
	t.Helper()
	chosen, host, reason := table.Match(r)
	judged := table.Judge(r)
	if host == nil != (judged == nil && len(table.Routes) > 0) && len(table.Routes) > 0 {
		t.Errorf("host %v, and %d routes are judged", host, len(judged))
	}
	for i := range judged {
		switch j := &judged[i]; {
		case (j.Route == chosen) != (j.Lost == ""), j.Lost == "was not found", i < slices.Index(table.Routes, chosen) && strings.HasPrefix(j.Lost, "comes after"):
			t.Errorf("%s, %s: of %s it is said %q", r.Head.Host(), reason, j.Route.Name, j.Lost)
		case j.Route == chosen && !slices.Contains(table.HostsOf(chosen), host):
			t.Errorf("%s serves %s, and is said not to", host.By, chosen.Name)
		}
	}
}

// An oracle reads the rules word by word and cares for nothing else.
type oracle struct {
	w      *config.World
	opts   Options
	hosts  []config.Host
	groups []*oracleGroup
}

type oracleGroup struct {
	members []*oracleMapping
	labels  map[string]string
	weight  []any // what groups are sorted by
}

type oracleMapping struct {
	*config.Mapping
	hostGlob  string
	hostRegex bool
	headers   []oracleHeader // with :authority and :method
	query     []oracleHeader
	threshold int
	group     *oracleGroup
}

type oracleHeader struct {
	name, value string
	regex       bool
}

func newOracle(w *config.World, opts Options) *oracle {
	o := &oracle{w: w, opts: opts}
	for _, h := range w.Hosts {
		if h.TLSSecret.Name != "missing" {
			o.hosts = append(o.hosts, h)
		}
	}
	if len(w.Hosts) == 0 {
		o.hosts = []config.Host{host("implicit", "*")}
	}
	o.group()
	return o
}

func (o *oracle) group() {
	byID := map[string]*oracleGroup{}
	for i := range o.w.Mappings {
		m := readOracle(o.w.Mappings[i])
		if m == nil {
			continue
		}
		id := fmt.Sprintf("%q %q %d", orElse(m.Method, "GET"), m.Prefix, m.Precedence)
		for _, h := range m.headers {
			id += fmt.Sprintf(" H %q %q", h.name, h.value)
		}
		for _, q := range m.query {
			id += fmt.Sprintf(" Q %q %q", q.name, q.value)
		}
		if m.hostGlob == "" && !m.hostRegex {
			var matched []string
			for _, h := range o.hosts {
				if s := fmt.Sprint(h.Selector); h.HasSelector && o.selects(h.Selector, m.Labels) && !slices.Contains(matched, s) {
					matched = append(matched, s)
				}
			}
			sort.Strings(matched)
			id += fmt.Sprintf(" S %q", matched)
		}
		g := byID[id]
		if g == nil {
			g = &oracleGroup{}
			byID[id] = g
			o.groups = append(o.groups, g)
		} else if f := g.members[0]; disagree(f, m) || f.HostRedirect || m.HostRedirect {
			continue
		}
		m.group = g
		g.members = append(g.members, m)
	}
	for _, g := range o.groups {
		g.finish()
	}
	sort.SliceStable(o.groups, func(i, j int) bool { return larger(o.groups[i].weight, o.groups[j].weight) })
}

func orElse(s, t string) string {
	if s == "" {
		return t
	}
	return s
}

func readOracle(m *config.Mapping) *oracleMapping {
	o := &oracleMapping{Mapping: m}
	valid := func(pattern string) bool { _, err := regexp.Compile(pattern); return err == nil }
	host, hostRegex := "", false
	for _, h := range m.Headers {
		if strings.ToLower(h.Name) == ":authority" {
			if strings.Contains(h.Value, "*") {
				return nil
			}
			host = h.Value
			continue
		}
		o.headers = append(o.headers, oracleHeader{h.Name, h.Value, false})
	}
	for _, h := range m.RegexHeaders {
		if !valid(h.Value) {
			return nil
		}
		o.headers = append(o.headers, oracleHeader{h.Name, h.Value, true})
	}
	switch {
	case m.Hostname != "":
		host = m.Hostname
	case m.Host != "":
		host, hostRegex = m.Host, m.HostRegex
		if !hostRegex && strings.Contains(host, "*") || hostRegex && !valid(host) {
			return nil
		}
	}
	if host != "" {
		if hostRegex {
			o.hostRegex = true
		} else {
			host = strings.ToLower(host)
			o.hostGlob = host
		}
		o.headers = append(o.headers, oracleHeader{":authority", host, hostRegex})
	}
	if m.Method != "" {
		o.headers = append(o.headers, oracleHeader{":method", m.Method, m.MethodRegex})
	}
	for _, q := range m.QueryParameters {
		o.query = append(o.query, oracleHeader{q.Name, q.Value, false})
	}
	for _, q := range m.RegexQueryParameters {
		o.query = append(o.query, oracleHeader{q.Name, q.Value, true})
	}
	if m.PrefixRegex && !valid(m.Prefix) || m.Weight != nil && *m.Weight > 100 {
		return nil
	}
	return o
}

// disagree: a later member sets a field differently, or one the first did not set.
func disagree(first, later *oracleMapping) bool {
	if later.BypassAuth != nil && (first.BypassAuth == nil || *first.BypassAuth != *later.BypassAuth) {
		return true
	}
	return fmt.Sprint(first.headers) != fmt.Sprint(later.headers) ||
		later.PrefixRegex && !first.PrefixRegex || later.PrefixExact && !first.PrefixExact
}

func (g *oracleGroup) finish() {
	first := g.members[0]
	length := func(s string) int { return len([]rune(s)) }
	score := func(list []oracleHeader) (n int) {
		for _, h := range list {
			n += length(h.name) + length(orElse(h.value, "*"))
			if h.regex {
				n++
			}
		}
		return n
	}
	g.weight = []any{first.Precedence, length(first.Prefix), score(first.headers), score(first.query), first.Prefix, orElse(first.Method, "GET")}
	for _, h := range append(slices.Clone(first.headers), first.query...) {
		g.weight = append(g.weight, h.name+"-"+orElse(h.value, "*"))
	}
	g.labels = map[string]string{}
	caseSensitive := (*bool)(nil)
	for _, m := range g.members {
		maps.Copy(g.labels, m.Labels)
		if m.CaseSensitive != nil {
			caseSensitive = m.CaseSensitive
		}
	}
	sum := 0
	var weighted, free []*oracleMapping
	for _, m := range g.members {
		c := *m.Mapping
		c.PrefixExact, c.PrefixRegex = first.PrefixExact, first.PrefixRegex
		if c.CaseSensitive == nil {
			c.CaseSensitive = caseSensitive
		}
		m.Mapping = &c
		if m.Weight == nil {
			free = append(free, m)
			continue
		}
		sum += *m.Weight
		m.threshold = sum
		weighted = append(weighted, m)
	}
	switch {
	case len(g.members) == 1:
		first.threshold = 100
	case sum <= 100:
		each := math.RoundToEven(float64(100-sum) / float64(len(free)))
		for i, m := range free {
			m.threshold = sum + (i+1)*int(each)
			if i == len(free)-1 {
				m.threshold = 100
			}
		}
	}
	g.members = append(weighted, free...)
}

// larger compares two lists element by element; the longer one is larger if it goes on.
func larger(a, b []any) bool {
	for i := range min(len(a), len(b)) {
		switch x := a[i].(type) {
		case int:
			if y := b[i].(int); x != y {
				return x > y
			}
		case string:
			if y := b[i].(string); x != y {
				return x > y
			}
		}
	}
	return len(a) > len(b)
}

func (o *oracle) selects(selector, labels map[string]string) bool {
	matched := 0
	for k, v := range selector {
		if got, ok := labels[k]; ok && got == v {
			matched++
		}
	}
	return matched == len(selector) || o.opts.LooseSelectors && matched > 0
}

func (o *oracle) match(r *Request) string {
	authority := string(r.Head.Host())
	port := fmt.Sprint(":", o.w.Listeners[r.Listener].Port)
	if o.w.Modules[0].StripMatchingHostPort {
		authority = strings.TrimSuffix(authority, port)
	}
	h := o.chooseHost(r, strings.ToLower(authority))
	if h == nil {
		return decision.NoHost.String()
	}
	found := ""
	for _, g := range o.groups {
		for _, m := range g.members {
			if !o.attached(h, m) || !o.holds(m, r, authority) {
				continue
			}
			switch acme := m.Prefix == acmePrefix; {
			case r.Secure, acme, h.Insecure == config.InsecureRoute:
				if found == "" {
					return m.Name
				}
				if acme {
					return m.Name
				}
			case h.Insecure == config.InsecureRedirect:
				return "https_redirect " + m.Name
			default:
				found = decision.InsecureRejected.String()
			}
		}
	}
	return orElse(found, decision.NoRoute.String())
}

func (o *oracle) chooseHost(r *Request, authority string) *config.Host {
	var candidates []*config.Host
	hosts := slices.Clone(o.hosts)
	if r.TLS {
		hosts = o.chain(strings.ToLower(r.SNI))
	}
	for i := range hosts {
		candidates = append(candidates, &hosts[i])
	}
	var best *config.Host
	for _, h := range candidates {
		if name := strings.ToLower(h.Hostname); fits(name, authority) && (best == nil || !better(strings.ToLower(best.Hostname), name)) {
			best = h // of equal names the later counts
		}
	}
	return best
}

// chain returns the Hosts behind the certificate that a server name gets.
func (o *oracle) chain(sni string) []config.Host {
	chains := map[string][]config.Host{}
	sorted := slices.Clone(o.hosts)
	sort.SliceStable(sorted, func(i, j int) bool { return strings.ToLower(sorted[i].Hostname) < strings.ToLower(sorted[j].Hostname) })
	best := ""
	for _, h := range sorted {
		name, _, _ := strings.Cut(strings.ToLower(h.Hostname), ":")
		if h.TLSSecret.Name == "" || form(name) == 2 {
			continue
		}
		if c := chains[name]; len(c) > 0 && c[0].TLSContext != h.TLSContext {
			continue
		}
		chains[name] = append(chains[name], h)
		if fits(name, sni) && (best == "" || better(name, best)) {
			best = name
		}
	}
	return chains[best]
}

// form is 0 for a name, 1 for *suffix, 2 for prefix*, 3 for the star.
func form(glob string) int {
	star, end := strings.HasPrefix(glob, "*"), strings.HasSuffix(glob, "*")
	switch {
	case glob == "*":
		return 3
	case star && !end:
		return 1
	case end && !star:
		return 2
	}
	return 0
}

// better reports whether glob a is chosen before b.
func better(a, b string) bool {
	if form(a) != form(b) {
		return form(a) < form(b)
	}
	return len(a) > len(b)
}

func fits(glob, name string) bool {
	switch form(glob) {
	case 1:
		return strings.HasSuffix(name, glob[1:]) && len(name) > len(glob)-1
	case 2:
		return strings.HasPrefix(name, glob[:len(glob)-1]) && len(name) > len(glob)-1
	case 3:
		return true
	}
	return glob == name
}

func (o *oracle) attached(h *config.Host, m *oracleMapping) bool {
	if len(o.w.Hosts) == 0 {
		return true
	}
	names := m.hostGlob != "" || m.hostRegex
	hostMatch := m.hostRegex || m.hostGlob != "" && globsMeet(strings.ToLower(h.Hostname), m.hostGlob)
	selMatch := h.HasSelector && o.selects(h.Selector, m.group.labels)
	switch {
	case o.opts.LooseSelectors:
		return hostMatch || selMatch
	case h.HasSelector && names:
		return hostMatch && selMatch
	case h.HasSelector:
		return selMatch
	}
	return hostMatch
}

func globsMeet(a, b string) bool {
	both := func(s string) bool { return strings.HasPrefix(s, "*") && strings.HasSuffix(s, "*") }
	lead := func(s string) bool { return strings.HasPrefix(s, "*") }
	trail := func(s string) bool { return strings.HasSuffix(s, "*") }
	bare := func(s string) string { return strings.Trim(s, "*") }
	switch {
	case a == b || a == "*" || b == "*":
		return true
	case strings.HasPrefix(a, ".") || strings.HasPrefix(b, "."):
		return false
	case both(a) || both(b):
		return false
	case lead(a) && trail(b) || trail(a) && lead(b):
		return true
	case lead(a) && lead(b):
		return strings.HasSuffix(bare(a), bare(b)) || strings.HasSuffix(bare(b), bare(a))
	case trail(a) && trail(b):
		return strings.HasPrefix(bare(a), bare(b)) || strings.HasPrefix(bare(b), bare(a))
	case lead(a):
		return strings.HasSuffix(b, bare(a)) && len(b) > len(bare(a))
	case lead(b):
		return strings.HasSuffix(a, bare(b)) && len(a) > len(bare(b))
	case trail(a):
		return strings.HasPrefix(b, bare(a)) && len(b) > len(bare(a))
	case trail(b):
		return strings.HasPrefix(a, bare(b)) && len(a) > len(bare(b))
	}
	return false
}

func full(pattern, s string, fold bool) bool {
	flags := ""
	if fold {
		flags = "(?i)"
	}
	return regexp.MustCompile(flags + "^(?:" + pattern + ")$").MatchString(s)
}

func (o *oracle) holds(m *oracleMapping, r *Request, authority string) bool {
	if int(r.Roll) >= m.threshold {
		return false
	}
	path := string(r.Head.Path())
	fold := m.CaseSensitive != nil && !*m.CaseSensitive
	prefix := m.Prefix
	if fold && !m.PrefixRegex {
		path, prefix = strings.ToLower(path), strings.ToLower(prefix)
	}
	switch {
	case m.PrefixRegex:
		if !full(prefix, path, false) {
			return false
		}
	case m.PrefixExact:
		if path != prefix {
			return false
		}
	case !strings.HasPrefix(path, prefix):
		return false
	}
	for _, h := range m.headers {
		if !headerHolds(h, r, authority) {
			return false
		}
	}
	query, _ := r.Head.Query()
	for _, q := range m.query {
		found := false
		for pair := range strings.SplitSeq(string(query), "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name == q.name {
				found = q.regex && full(q.value, value, false) || !q.regex && value == q.value
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func headerHolds(h oracleHeader, r *Request, authority string) bool {
	switch strings.ToLower(h.name) {
	case ":authority":
		low := strings.ToLower(authority)
		switch {
		case h.regex:
			return full(h.value, authority, true)
		case form(h.value) == 1:
			return strings.HasSuffix(low, h.value[1:])
		case form(h.value) == 2:
			return strings.HasPrefix(low, h.value[:len(h.value)-1])
		}
		return h.value == "*" || low == h.value
	case "host":
		return strings.EqualFold(authority, h.value)
	case ":method":
		if h.regex {
			return full(h.value, string(r.Head.MethodName()), false)
		}
		return h.value == string(r.Head.MethodName())
	}
	var values []string
	for i := range r.Head.Len() {
		if _, name, value := r.Head.Line(i); string(name) == strings.ToLower(h.name) {
			values = append(values, string(value))
		}
	}
	sep := ","
	if h.name == "cookie" {
		sep = "; "
	}
	joined := strings.Join(values, sep)
	return len(values) > 0 && (h.regex && full(h.value, joined, false) || !h.regex && joined == h.value)
}
