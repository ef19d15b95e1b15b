package routes

import (
	"cmp"
	"slices"
	"strings"

	"legate/config"
)

// A view is a set of routes that Hosts share, found by authority and path. Which
// Hosts a Mapping belongs to follows almost wholly from its own condition on the
// authority, so ten thousand Mappings under a thousand Hosts are held once.
type view struct {
	exact    map[string]pathIndex
	suffixes []lengthIndex // by the length of the text beside the star
	prefixes []lengthIndex
	regex    pathIndex // routes whose host is a regex
	any      pathIndex // routes for every authority
}

// A lengthIndex holds the routes of globs whose texts have one length.
type lengthIndex struct {
	lengthMap[pathIndex]
	best uint32
}

// views builds the views and says which Mappings no Host takes.
func (b *builder) views() {
	if b.table.implicit {
		b.table.Hosts[0].views = []*view{b.view(b.table.Routes)}
		return
	}
	taken := make([]bool, len(b.table.Routes))
	b.namedView(taken)
	b.selectedViews(taken)
	for i, r := range b.table.Routes {
		if !taken[i] {
			p := r.Mapping.Problem("", "attached to 0 Hosts", config.Notice)
			p.Instead = "it serves nothing"
			b.problem(p)
		}
	}
}

// namedView holds the routes with a hostname, for the Hosts that go by names.
func (b *builder) namedView(taken []bool) {
	var hosts []*Host
	for _, h := range b.table.Hosts {
		if h.selector == nil || b.opts.LooseSelectors {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return
	}
	names := newNameSet(hosts)
	named := make([]*Route, 0, len(b.table.Routes))
	for _, r := range b.table.Routes {
		if r.host.named {
			named = append(named, r)
			taken[r.Index] = r.host.kind == hostRegex || names.meets(r.host.glob)
		}
	}
	v := b.view(named)
	for _, h := range hosts {
		h.views = append(h.views, v)
	}
}

// selectedViews holds, for every selector, the routes that it selects.
func (b *builder) selectedViews(taken []bool) {
	if len(b.selectors) == 0 {
		return
	}
	bySelector := map[*selector][]*Host{}
	for _, h := range b.table.Hosts {
		if h.selector != nil {
			bySelector[h.selector] = append(bySelector[h.selector], h)
		}
	}
	loose := b.opts.LooseSelectors
	index := newLabelIndex(b.table.Routes, func(r *Route) map[string]string { return r.labels })
	for _, s := range b.selectors {
		hosts := bySelector[s]
		names := newNameSet(hosts)
		var routes []*Route
		for _, r := range index.selected(s, loose) {
			fits := loose || !r.host.named || r.host.kind == hostRegex || names.meets(r.host.glob)
			taken[r.Index] = taken[r.Index] || fits
			if fits && !(loose && r.host.named) { // loosely, named routes are in the named view
				routes = append(routes, r)
			}
		}
		slices.SortFunc(routes, func(a, b *Route) int { return cmp.Compare(a.Index, b.Index) })
		v := b.view(slices.Compact(routes))
		for _, h := range hosts {
			h.views = append(h.views, v)
		}
	}
}

// view indexes routes, which are in match order.
func (b *builder) view(routes []*Route) *view {
	v := &view{exact: map[string]pathIndex{}}
	sorted := make([]*Route, 0, len(routes))
	for _, r := range routes {
		if r.Share > 0 {
			sorted = append(sorted, r)
		}
	}
	slices.SortStableFunc(sorted, func(x, y *Route) int {
		return cmp.Or(cmp.Compare(x.host.kind, y.host.kind), cmp.Compare(x.host.text, y.host.text))
	})
	v.regex, v.any = noPaths, noPaths
	for len(sorted) > 0 {
		kind, text := sorted[0].host.kind, sorted[0].host.text
		n := 1
		for n < len(sorted) && sorted[n].host.kind == kind && sorted[n].host.text == text {
			n++
		}
		v.set(kind, text, b.paths(sorted[:n]))
		sorted = sorted[n:]
	}
	return v
}

func (v *view) set(kind hostKind, text string, p pathIndex) {
	switch kind {
	case hostExact:
		v.exact[text] = p
	case hostSuffix:
		v.suffixes = setPaths(v.suffixes, text, p)
	case hostPrefix:
		v.prefixes = setPaths(v.prefixes, text, p)
	case hostRegex:
		v.regex = p
	case hostAny:
		v.any = p
	}
}

func setPaths(list []lengthIndex, text string, p pathIndex) []lengthIndex {
	i := slices.IndexFunc(list, func(l lengthIndex) bool { return l.n == len(text) })
	if i < 0 {
		i = len(list)
		list = append(list, lengthIndex{lengthMap[pathIndex]{len(text), map[string]pathIndex{}}, noRank})
	}
	list[i].m[text] = p
	list[i].best = min(list[i].best, p.best)
	return list
}

// A nameSet tells whether a glob is compatible with some Host, without asking
// every Host.
type nameSet struct {
	names  []string
	odd    []string // see oddGlob
	globs  globMap[struct{}]
	begins []string // exact names and the texts of prefix globs, sorted
	ends   []string // exact names and the texts of suffix globs reversed, sorted
	known  map[string]bool
}

func newNameSet(hosts []*Host) *nameSet {
	s := &nameSet{known: map[string]bool{}}
	for _, h := range hosts {
		s.names = append(s.names, h.Name)
		if oddGlob(h.Name) {
			s.odd = append(s.odd, h.Name)
			continue
		}
		kind, text := splitGlob(h.Name)
		s.globs.set(kind, text, struct{}{})
		if kind == globExact || kind == globPrefix {
			s.begins = append(s.begins, text)
		}
		if kind == globExact || kind == globSuffix {
			s.ends = append(s.ends, reversed(text))
		}
	}
	slices.Sort(s.begins)
	slices.Sort(s.ends)
	return s
}

// meets reports whether glob is compatible with the name of some Host.
func (s *nameSet) meets(glob string) bool {
	yes, ok := s.known[glob]
	if !ok {
		yes = s.search(glob)
		s.known[glob] = yes
	}
	return yes
}

func (s *nameSet) search(glob string) bool {
	among := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return compatible(name, glob) })
	}
	kind, text := splitGlob(glob)
	switch {
	case oddGlob(glob):
		return among(s.names)
	case len(s.names) == 0, among(s.odd):
		return len(s.names) > 0
	case s.globs.hasAny:
		return true
	}
	switch kind {
	case globAny:
		return true
	case globSuffix:
		return len(s.globs.prefixes) > 0 || coversText(s.globs.suffixes, text, suffixOf) || hasLonger(s.ends, reversed(text))
	case globPrefix:
		return len(s.globs.suffixes) > 0 || coversText(s.globs.prefixes, text, prefixOf) || hasLonger(s.begins, text)
	default:
		_, found := s.globs.find([]byte(text))
		return found
	}
}

func suffixOf(s string, n int) string { return s[len(s)-n:] }
func prefixOf(s string, n int) string { return s[:n] }

// coversText reports whether some glob's text is the part of text that cut cuts.
func coversText(list []lengthMap[struct{}], text string, cut func(string, int) string) bool {
	for _, l := range list {
		if l.n > len(text) {
			continue
		}
		if _, ok := l.m[cut(text, l.n)]; ok {
			return true
		}
	}
	return false
}

// hasLonger reports whether a sorted list has a text that begins with text and is longer.
func hasLonger(sorted []string, text string) bool {
	i, _ := slices.BinarySearch(sorted, text)
	for i < len(sorted) && sorted[i] == text {
		i++
	}
	return i < len(sorted) && strings.HasPrefix(sorted[i], text)
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
