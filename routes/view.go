package routes

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A view is a set of routes that Hosts share, found by authority and path. Which
// Hosts a Mapping belongs to follows almost wholly from its own condition on the
// authority, so ten thousand Mappings under a thousand Hosts are held once.
type view struct {
	selector *selector // of its Hosts; nil for those that go by names
	names    *nameSet  // of its Hosts; nil where every route is theirs

	exact    map[string]*pathIndex
	suffixes []lengthIndex // by the length of the text beside the star
	prefixes []lengthIndex
	regex    *pathIndex // routes whose host is a regex; nil for none
	any      *pathIndex // routes for every authority; nil for none
}

// A lengthIndex holds the routes of globs whose texts have one length.
type lengthIndex struct {
	lengthMap[*pathIndex]
	best uint64
}

// views builds the views and says which Hosts look into which.
func (b *builder) views() {
	t := b.table
	if t.implicit {
		b.addView(&view{}, t.Hosts, t.Routes)
		return
	}
	var named []*Host
	bySelector := map[*selector][]*Host{}
	for _, h := range t.Hosts {
		if h.selector == nil || b.opts.LooseSelectors {
			named = append(named, h)
		}
		if h.selector != nil {
			bySelector[h.selector] = append(bySelector[h.selector], h)
		}
	}
	if len(named) > 0 {
		b.addView(&view{names: newNameSet(named)}, named, t.Routes)
	}
	if len(b.selectors) == 0 {
		return
	}
	index := newLabelIndex(t.Routes, func(r *Route) map[string]string { return r.labels })
	for _, s := range b.selectors {
		selected := slices.Clone(index.selected(s, b.opts.LooseSelectors))
		slices.SortFunc(selected, func(a, b *Route) int { return cmp.Compare(a.rank, b.rank) })
		b.addView(&view{selector: s, names: newNameSet(bySelector[s])}, bySelector[s], slices.Compact(selected))
	}
}

// addView has hosts find those of routes in v that belong there.
func (b *builder) addView(v *view, hosts []*Host, routes []*Route) {
	for _, h := range hosts {
		h.views = append(h.views, len(b.table.views))
	}
	b.table.views = append(b.table.views, b.view(v, nil, routes))
}

// joins reports whether r is found in v, and whether some Host of v takes it.
func (b *builder) joins(v *view, r *Route) (held, taken bool) {
	loose := b.opts.LooseSelectors
	switch {
	case v.names == nil:
		return true, true
	case v.selector == nil:
		return r.host.named, r.host.named && (r.host.kind == hostRegex || v.names.meets(r.host.glob))
	case !v.selector.selects(r.labels, loose):
		return false, false
	}
	taken = loose || !r.host.named || r.host.kind == hostRegex || v.names.meets(r.host.glob)
	return taken && !(loose && r.host.named), taken // loosely, named routes are in the named view
}

// A changed is what changes under one condition on the authority.
type changed struct {
	condition
	come []*Route
}

// A condition is a route's on the authority, as it is found.
type condition struct {
	kind hostKind
	text string
}

// view returns v without the routes that are gone, and with those of come that belong
// there, and notes which of them some Host takes. v itself stays as it was.
func (b *builder) view(v *view, gone map[*Route]bool, come []*Route) *view {
	var changes []*changed
	byCondition := map[condition]*changed{}
	of := func(r *Route) *changed {
		key := condition{r.host.kind, r.host.text}
		c := byCondition[key]
		if c == nil {
			c = &changed{condition: key}
			byCondition[key] = c
			changes = append(changes, c)
		}
		return c
	}
	for r := range gone {
		if held, _ := b.joins(v, r); held && r.Share > 0 {
			of(r)
		}
	}
	for _, r := range come {
		held, taken := b.joins(v, r)
		r.taken = r.taken || taken
		if held && r.Share > 0 {
			c := of(r)
			c.come = append(c.come, r)
		}
	}
	return v.with(gone, changes)
}

// with returns v as it is after changes. v itself stays as it was.
func (v *view) with(gone map[*Route]bool, changes []*changed) *view {
	if len(changes) == 0 && v.exact != nil {
		return v
	}
	next := *v
	next.exact = make(map[string]*pathIndex, len(v.exact))
	maps.Copy(next.exact, v.exact)
	next.suffixes, next.prefixes = cloneLengths(v.suffixes), cloneLengths(v.prefixes)
	for _, c := range changes {
		next.set(c.kind, c.text, next.get(c.kind, c.text).with(gone, c.come))
	}
	return &next
}

func cloneLengths(list []lengthIndex) []lengthIndex {
	list = slices.Clone(list)
	for i := range list {
		list[i].m = maps.Clone(list[i].m)
	}
	return list
}

// get returns the routes of one condition on the authority, none of them if there are
// none.
func (v *view) get(kind hostKind, text string) *pathIndex {
	var p *pathIndex
	switch kind {
	case hostExact:
		p = v.exact[text]
	case hostSuffix:
		p = getPaths(v.suffixes, text)
	case hostPrefix:
		p = getPaths(v.prefixes, text)
	case hostRegex:
		p = v.regex
	case hostAny:
		p = v.any
	}
	if p == nil {
		return &pathIndex{}
	}
	return p
}

func getPaths(list []lengthIndex, text string) *pathIndex {
	for i := range list {
		if list[i].n == len(text) {
			return list[i].m[text]
		}
	}
	return nil
}

// set notes the routes of one condition on the authority, nil for none.
func (v *view) set(kind hostKind, text string, p *pathIndex) {
	switch kind {
	case hostExact:
		if p == nil {
			delete(v.exact, text)
			return
		}
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

func setPaths(list []lengthIndex, text string, p *pathIndex) []lengthIndex {
	i := slices.IndexFunc(list, func(l lengthIndex) bool { return l.n == len(text) })
	if i < 0 {
		i = len(list)
		list = append(list, lengthIndex{lengthMap[*pathIndex]{len(text), map[string]*pathIndex{}}, noRank})
	}
	l := &list[i]
	if p == nil {
		delete(l.m, text) // what is the best of the others stays no worse than best
		return list
	}
	l.m[text] = p
	l.best = min(l.best, p.best)
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

// maxKnown is how many globs are remembered. A nameSet lives for as long as its Hosts
// stay as they are.
const maxKnown = 1 << 16

// meets reports whether glob is compatible with the name of some Host.
func (s *nameSet) meets(glob string) bool {
	yes, ok := s.known[glob]
	if !ok {
		if len(s.known) >= maxKnown {
			clear(s.known)
		}
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
