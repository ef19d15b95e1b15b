package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A keeper remembers the last good version of every object of every source, and lets it
// stand in where an object is broken now: until that is mended or deleted. What guards
// others is never stood in for: a broken lock closes.
type keeper struct {
	opts    Options
	sources []*memory
	merger  merger
}

// A memory is what is known of one source's objects. It is brought up to date by what
// differs from the set before.
type memory struct {
	set  []*Object // as last seen
	torn []*Object // of them, texts that cannot be read
	of   map[identity]*standing
	open map[identity]*standing // of those, the ones that have changed or have not settled
}

// An identity is what stays the same of an object while its author changes it.
type identity struct{ kind, name, namespace string }

func identityOf(m *Meta) identity {
	return identity{kind: m.Kind, name: m.Name, namespace: m.Namespace}
}

// A standing is where one object of one source stands.
type standing struct {
	id     identity
	now    []*Object // all that the source says of it; none where it may be in a text that cannot be read, or has gone
	before []*Object // its last good version, with the guards that it implies; nil for none
	lost   *Object   // the text that cannot be read
	stale  bool      // before stands in
	why    []Problem
}

// A survey is the standing of everything at one time.
type survey struct {
	keeper *keeper
	sets   [][]*Object
	last   World // that was made of it
}

// survey looks at what the sources say now. There is one at a time.
func (k *keeper) survey(sets [][]*Object) *survey {
	for len(k.sources) < len(sets) {
		k.sources = append(k.sources, &memory{of: map[identity]*standing{}, open: map[identity]*standing{}})
	}
	for i, set := range sets {
		k.sources[i].see(set, &k.opts)
	}
	return &survey{keeper: k, sets: sets}
}

// see looks at what differs between a source's set and the one before.
func (m *memory) see(set []*Object, opts *Options) {
	gone, come := differences(m.set, set)
	m.set = set
	rip := false
	for _, o := range gone {
		rip = rip || o.torn()
		if st := m.of[identityOf(&o.Meta)]; st != nil {
			m.open[st.id] = st
			st.now = slices.DeleteFunc(slices.Clone(st.now), func(p *Object) bool { return p == o })
		}
	}
	for _, o := range come {
		rip = rip || o.torn()
		if o.Meta.Name != "" && opts.selects(o) {
			m.add(o)
		}
	}
	if rip {
		m.torn = slices.DeleteFunc(slices.Clone(set), func(o *Object) bool { return !o.torn() || !opts.selects(o) })
	}
	for _, st := range m.open {
		st.lost, st.why = nil, nil
		st.stale = st.before != nil && st.broken()
	}
	m.missing()
}

// torn reports whether o is a text that cannot be read.
func (o *Object) torn() bool { return o.Broken && o.Meta.Name == "" }

// add adds what is said of an object.
func (m *memory) add(o *Object) {
	id := identityOf(&o.Meta)
	st := m.of[id]
	if st == nil {
		st = &standing{id: id}
		m.of[id] = st
	}
	m.open[id] = st
	st.now = append(slices.Clip(st.now), o)
	if len(st.now) > 1 { // in the order of the set, whoever came last
		slices.SortFunc(st.now, func(a, b *Object) int { return cmp.Compare(slices.Index(m.set, a), slices.Index(m.set, b)) })
	}
}

// find returns where an object stands, nil for one that is nowhere.
func (m *memory) find(id identity) *standing {
	if st := m.of[id]; st != nil && (len(st.now) > 0 || st.lost != nil) {
		return st
	}
	return nil
}

// differences returns the objects of old that are not in now, and those of now that are
// not in old; all of both where too much has moved.
func differences(old, now []*Object) (gone, come []*Object) {
	from, left, ok := Trace(old, now)
	if !ok {
		return old, now
	}
	for _, i := range left {
		gone = append(gone, old[i])
	}
	for i, was := range from {
		if was < 0 {
			come = append(come, now[i])
		}
	}
	return gone, come
}

// missing finds what may be in texts that cannot be read: all that was last read there and
// is nowhere now.
func (m *memory) missing() {
	for _, o := range m.torn {
		for _, st := range m.open {
			if len(st.now) > 0 || st.before == nil || st.lost != nil {
				continue
			}
			if at := &st.before[0].Meta; at.File == o.Meta.File && at.Parent.sameObject(&o.Meta.Parent) {
				st.lost, st.stale = o, true
			}
		}
	}
}

func (p *Parent) sameObject(q *Parent) bool {
	return p.Kind == q.Kind && p.Name == q.Name && p.Namespace == q.Namespace
}

// broken reports whether nothing of what is said of the object can serve, and nothing
// is guarded because of that.
func (st *standing) broken() bool {
	broken := false
	for i := range st.now {
		if st.now[i].Value != nil {
			return false
		}
		broken = broken || st.now[i].Broken
	}
	return broken
}

// edited reports whether the object has changed since its last good version, in a kind
// that may turn out not to serve when the whole is made.
func (st *standing) edited() bool {
	switch st.id.kind {
	case "Service", "Endpoints", "EndpointSlice":
		return false
	}
	if st.before == nil {
		return false
	}
	return !slices.EqualFunc(st.good(), st.before, func(a, b *Object) bool { return a.Digest == b.Digest && a.Digest != Digest{} })
}

// world makes a World of what the sources say, with last good versions for what is
// broken.
func (s *survey) world() World {
	s.last = s.keeper.merger.merge(s.keeper.opts, s.standIn())
	return s.last
}

// offer returns another World, if problems tell that in the last one a new version turns
// out to be broken, or an old one not to serve any more.
func (s *survey) offer(problems []Problem) (World, bool) {
	if !s.judge(s.dropped(problems)) {
		return World{}, false
	}
	return s.world(), true
}

// dropped returns the objects among problems that do not serve, leaving out what was
// known when the last World was made.
func (s *survey) dropped(problems []Problem) map[identity][]Problem {
	known := map[Problem]bool{}
	for _, p := range s.last.Problems {
		if p.Effect == ObjectDropped {
			known[p] = true
		}
	}
	found := map[identity][]Problem{}
	for _, p := range problems {
		if p.Effect == ObjectDropped && p.Ref.Name != "" && !known[p] {
			id := identity{kind: p.Ref.Kind, name: p.Ref.Name, namespace: p.Ref.Namespace}
			found[id] = append(found[id], p)
		}
	}
	return found
}

// judge lets last good versions stand in for new ones that were dropped, and gives up
// those that were dropped themselves. It reports whether anything changed, which for
// each object it does twice at most.
func (s *survey) judge(dropped map[identity][]Problem) bool {
	changed := false
	for id, problems := range dropped {
		for _, m := range s.keeper.sources {
			st := m.find(id)
			if st != nil {
				m.open[id] = st
			}
			switch {
			case st == nil:
			case s.blameSecret(st, problems[0]):
				changed = true
			case st.before == nil:
			case st.stale: // whatever it needs is gone
				st.stale, st.before, st.why = false, nil, nil
				changed = true
			case st.edited():
				st.stale, st.why = true, problems
				changed = true
			}
		}
	}
	return changed
}

// blameSecret lets the last good version of a Host's certificate stand in, if it has
// changed and the Host was dropped: then the Host is judged again.
func (s *survey) blameSecret(host *standing, p Problem) bool {
	version := host.good()
	if host.stale || version == nil {
		version = host.before
	}
	if len(version) == 0 {
		return false
	}
	h, ok := version[0].Value.(*Host)
	if !ok || h.TLSSecret.Name == "" {
		return false
	}
	id := identity{kind: "Secret", name: h.TLSSecret.Name, namespace: cmp.Or(h.TLSSecret.Namespace, h.Namespace)}
	for _, m := range s.keeper.sources {
		st := m.find(id)
		if st == nil || st.stale || !st.edited() {
			continue
		}
		problem := st.now[0].Meta.Problem("", p.Ref.String()+" cannot use it: "+p.Msg, ObjectDropped)
		st.stale, st.why = true, []Problem{problem}
		return true
	}
	return false
}

// standIn returns the sets with last good versions in the place of what is broken.
func (s *survey) standIn() [][]*Object {
	sets := make([][]*Object, len(s.sets))
	for i, set := range s.sets {
		m := s.keeper.sources[i]
		if !m.anyStale() {
			sets[i] = set
			continue
		}
		done := map[identity]bool{}
		for _, o := range set {
			st := m.of[identityOf(&o.Meta)]
			switch {
			case o.torn():
				sets[i] = append(sets[i], m.unreadable(o)...)
			case st == nil || !st.stale || !s.keeper.opts.selects(o):
				sets[i] = append(sets[i], o)
			case !done[st.id]:
				done[st.id] = true
				sets[i] = append(sets[i], st.standIn()...)
			}
		}
	}
	return sets
}

func (m *memory) anyStale() bool {
	for _, st := range m.open {
		if st.stale {
			return true
		}
	}
	return false
}

// standIn returns the last good version, with what is wrong with the present one.
func (st *standing) standIn() []*Object {
	var problems []Problem
	for i := range st.now {
		problems = append(problems, st.now[i].Problems...)
	}
	problems = append(problems, st.why...)
	for i := range problems {
		if p := &problems[i]; p.Effect == ObjectDropped {
			p.Effect, p.Instead = ObjectStale, ""
		}
	}
	objects := st.placed(st.now[0])
	objects[0].Problems = problems
	return objects
}

// placed returns the last good version as if it were written where at is, as its own
// text is no more. It says nothing beside what is dangerous: at does.
func (st *standing) placed(at *Object) []*Object {
	objects := make([]*Object, len(st.before))
	for i, before := range st.before {
		o := *before
		m := o.Meta
		m.File, m.Line, m.Col, m.Parent, m.Fields = at.Meta.File, at.Meta.Line, at.Meta.Col, at.Meta.Parent, nil
		o.Value, o.Digest = withMeta(o.Value, m), Digest{}
		o.Meta = m
		var closed []Problem
		for _, p := range o.Problems {
			if p.Effect == RouteClosed {
				p.Ref = m.Ref()
				closed = append(closed, p)
			}
		}
		o.Problems = closed
		if len(st.now) > 0 { // who it belongs to is what its author says now
			o.IDs, o.Meta.Labels = at.IDs, at.Meta.Labels
		}
		objects[i] = &o
	}
	return objects
}

// unreadable returns a text that cannot be read, and what stands in for it.
func (m *memory) unreadable(text *Object) []*Object {
	o := *text
	var names []string
	var objects []*Object
	for _, id := range slices.SortedFunc(maps.Keys(m.open), compareIdentities) {
		if st := m.open[id]; st.lost == text && st.stale {
			names = append(names, id.kind+" "+id.namespace+"/"+id.name)
			objects = append(objects, st.placed(text)...)
		}
	}
	if len(names) == 0 {
		return []*Object{&o}
	}
	if more := len(names) - 3; more > 0 {
		names = append(names[:3], fmt.Sprintf("%d more", more))
	}
	o.Problems = slices.Clone(o.Problems)
	for i := range o.Problems {
		if p := &o.Problems[i]; p.Effect == ObjectDropped {
			p.Effect, p.Instead = ObjectStale, "the last good version keeps serving of "+strings.Join(names, ", ")
		}
	}
	return append([]*Object{&o}, objects...)
}

func compareIdentities(a, b identity) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
}

// learn takes as good what serves, as problems tell, now that the last World is in force.
// It forgets what is gone.
func (s *survey) learn(problems []Problem) {
	dropped := s.dropped(problems)
	for _, m := range s.keeper.sources {
		for id := range dropped {
			if st := m.find(id); st != nil {
				m.open[id] = st
			}
		}
		for id, st := range m.open {
			m.learn(st, dropped[id] != nil)
		}
	}
}

// learn is the same for one object. One that neither has stood in nor was dropped is
// settled until it changes.
func (m *memory) learn(st *standing, dropped bool) {
	switch {
	case st.stale:
		return
	case dropped:
		if st.before != nil && st.edited() { // else it does not serve because of another object
			st.before = nil
		}
	default:
		st.before = st.good()
		delete(m.open, st.id)
	}
	if len(st.now) == 0 {
		delete(m.open, st.id)
		delete(m.of, st.id)
	}
}

// good returns what of the present version may stand in for later ones, the object and
// then the guards that it implies: nil if it does not serve itself.
func (st *standing) good() []*Object {
	if len(st.now) == 1 { // as nearly always
		if o := st.now[0]; o.Value == nil || o.Broken {
			return nil
		}
		return st.now
	}
	last := -1 // of several definitions
	for i := range st.now {
		if o := st.now[i]; o.Value != nil && !o.Broken && (last < 0 || !sameText(o, st.now[last])) {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	var version []*Object
	for i := last; i < len(st.now) && sameText(st.now[i], st.now[last]); i++ {
		version = append(version, st.now[i])
	}
	return version
}

// sameText reports whether a and b were decoded from one text.
func sameText(a, b *Object) bool {
	return a.Digest == b.Digest && a.Meta.File == b.Meta.File && a.Meta.Line == b.Meta.Line && a.Meta.Parent.Document == b.Meta.Parent.Document
}
