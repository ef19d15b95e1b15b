package routes

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"legate/config"
)

// Rebuild makes the table of a World that differs from t's in nothing but its Mappings, or
// in what no table depends on. What Build would make of it is the same, but Rebuild only
// looks at groups that have other members now, and shares all else with t, which stays
// as it was. ok is false where that would be no less work than Build. Rebuilds of one
// table, or of tables that share something with it, come one after the other.
func (t *Table) Rebuild(mappings []*config.Mapping) (next *Table, problems []config.Problem, ok bool) {
	from, gone, ok := config.Trace(t.mappings, mappings)
	if !ok {
		return nil, nil, false
	}
	n := *t
	n.mappings, n.groups = mappings, make([]*group, len(mappings))
	b := newBuilder(&n, t.wishes)
	old, drafts := b.touched(t, from, gone)
	if len(drafts) > 64+len(mappings)/8 {
		return nil, nil, false
	}
	come := b.grouped(drafts)
	b.order(old, come)
	if !n.rank() {
		return nil, nil, false
	}
	n.look()
	left := make(map[*Route]bool, len(old))
	for g := range old {
		for _, r := range g.routes {
			left[r] = true
		}
	}
	var added []*Route
	for _, g := range come {
		added = append(added, g.routes...)
	}
	slices.SortFunc(added, func(a, b *Route) int { return cmp.Compare(a.rank, b.rank) })
	n.views = make([]*view, len(t.views))
	for i, v := range t.views {
		n.views[i] = b.view(v, left, added)
	}
	return &n, n.found(), true
}

// touched returns the groups of t that lose or gain a member, and drafts of all that their
// members are then. The groups of all others stay.
func (b *builder) touched(t *Table, from, gone []int) (groups map[*group]bool, drafts []*draft) {
	groups = map[*group]bool{}
	for _, i := range gone {
		groups[t.groups[i]] = true
	}
	var added []*draft
	for i, was := range from {
		if was < 0 {
			if d := b.draft(i, b.table.mappings[i]); d.route != nil {
				added = append(added, d)
			}
		}
	}
	b.pick(added)
	var id []byte
	for _, d := range added {
		id = d.identity(id[:0])
		if i, found := slices.BinarySearchFunc(t.byID, string(id), func(g *group, id string) int { return strings.Compare(g.id, id) }); found {
			groups[t.byID[i]] = true
		}
	}
	for i, was := range from {
		if was < 0 || groups[t.groups[was]] {
			drafts = append(drafts, b.draft(i, b.table.mappings[i])) // anew also what was read above: as a member among others
			continue
		}
		b.table.groups[i] = t.groups[was]
	}
	return groups, drafts
}

// order puts groups that come in their places among the others, and takes away those that
// are gone.
func (b *builder) order(gone map[*group]bool, come []*group) {
	t := b.table
	left := func(g *group) bool { return gone[g] }
	identified := slices.DeleteFunc(slices.Clone(come), func(g *group) bool { return g.id == "" })
	slices.SortFunc(identified, compareIDs)
	t.byID = config.Splice(t.byID, left, identified, compareIDs)
	serving := slices.DeleteFunc(slices.Clone(come), func(g *group) bool { return len(g.routes) == 0 })
	slices.SortStableFunc(serving, func(x, y *group) int { return y.key.compare(&x.key) })
	t.order = config.Splice(t.order, left, serving, t.compareGroups)
	t.Routes = make([]*Route, 0, len(t.mappings))
	for _, g := range t.order {
		t.Routes = append(t.Routes, g.routes...)
	}
}

func compareIDs(x, y *group) int { return strings.Compare(x.id, y.id) }

// compareGroups orders groups as they serve; of those that are alike the one whose first
// member was loaded first comes first.
func (t *Table) compareGroups(x, y *group) int {
	if c := y.key.compare(&x.key); c != 0 {
		return c
	}
	return cmp.Compare(slices.Index(t.mappings, x.mappings[0]), slices.Index(t.mappings, y.mappings[0]))
}

// stride is how far apart routes are numbered that come one after the other, each beside the
// one before: half of the room each time would be no room after sixty.
const stride = 1 << 24

// rank numbers the routes that have no number yet, between those of their neighbours and
// with room for others. It reports whether there were enough.
func (t *Table) rank() bool {
	for i := 0; i < len(t.Routes); {
		if t.Routes[i].rank > 0 {
			i++
			continue
		}
		low, high, n := uint64(0), uint64(math.MaxUint64), 1
		if i > 0 {
			low = t.Routes[i-1].rank
		}
		for i+n < len(t.Routes) && t.Routes[i+n].rank == 0 {
			n++
		}
		if i+n < len(t.Routes) {
			high = t.Routes[i+n].rank
		}
		step := (high - low) / uint64(n+1)
		switch {
		case step == 0:
			return false
		case low > 0 && low == t.last:
			step = min(step, stride)
		case high == t.first:
			step = min(step, stride)
			low = high - step*uint64(n+1)
		}
		t.first = low + step
		for range n {
			low += step
			t.Routes[i].rank = low
			i++
		}
		t.last = low
	}
	return true
}

// Unattached is what is said of a Mapping that no Host takes.
const Unattached = "attached to 0 Hosts"

// found lists all that is wrong.
func (t *Table) found() []config.Problem {
	problems := slices.Clone(t.problems)
	for i, g := range t.groups {
		if t.mappings[i] == g.mappings[0] {
			problems = append(problems, g.problems...)
		}
	}
	for _, r := range t.Routes {
		if !r.taken {
			p := r.Mapping.Problem("", Unattached, config.Notice)
			p.Instead = "it serves nothing"
			problems = append(problems, p)
		}
	}
	return problems
}
