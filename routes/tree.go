package routes

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"

	"legate/config"
)

// noRank is worse than every route's rank.
const noRank = math.MaxUint64

// A pathIndex holds the routes of one host condition: two radix trees over bytes,
// the second in lower case for routes that disregard case. A regex stands where its
// literal beginning ends. 0 is no tree. Tables share those in which they do not differ.
type pathIndex struct {
	root, fold uint32
	best       uint64  // the lowest rank within
	nodes      []node  // of both trees
	branches   []byte  // first bytes of the nodes' kids
	entries    []entry // the nodes' routes

	plain, folded []keyed // what the trees are made of, sorted
}

// A node is one step of a tree.
type node struct {
	text     string // follows the texts above
	kids     uint32 // index of the first; they lie side by side
	branches span   // their first bytes, ascending
	under    span   // entries for paths that go on
	at       span   // entries for paths that end here
	best     uint64 // the lowest rank here and below
}

// A span is a part of one of the index' arrays.
type span struct{ off, n uint32 }

// An entry is a route in a node.
type entry struct {
	rank  uint64
	plain bool // nothing is left to be checked
	route *Route
}

// A keyed is a route and the text it is found by.
type keyed struct {
	key   string
	exact bool
	route *Route
}

func compareKeyed(a, b keyed) int {
	if c := strings.Compare(a.key, b.key); c != 0 {
		return c
	}
	return cmp.Compare(a.route.rank, b.route.rank)
}

// with returns an index of p's routes without those that are gone, and with those that
// come; nil if there are none.
func (p *pathIndex) with(gone map[*Route]bool, come []*Route) *pathIndex {
	var plain, folded []keyed
	for _, r := range come {
		if k, fold := newKeyed(r); fold {
			folded = append(folded, k)
		} else {
			plain = append(plain, k)
		}
	}
	slices.SortFunc(plain, compareKeyed)
	slices.SortFunc(folded, compareKeyed)
	left := func(k keyed) bool { return gone[k.route] }
	q := &pathIndex{
		plain:  config.Splice(p.plain, left, plain, compareKeyed),
		folded: config.Splice(p.folded, left, folded, compareKeyed),
	}
	n := len(q.plain) + len(q.folded)
	if n == 0 {
		return nil
	}
	q.nodes, q.entries = make([]node, 1, max(len(p.nodes)+1, n+2)), make([]entry, 0, n) // 0 is no tree
	q.root, q.fold = q.addTree(q.plain), q.addTree(q.folded)
	q.best = noRank
	for _, root := range []uint32{q.root, q.fold} {
		if root > 0 {
			q.best = min(q.best, q.nodes[root].best)
		}
	}
	return q
}

// newKeyed returns what r is found by, and whether regardless of case.
func newKeyed(r *Route) (k keyed, fold bool) {
	switch {
	case r.path == pathRegex:
		return keyed{literalStart(r), false, r}, false
	case r.CaseSensitive:
		return keyed{r.Mapping.Prefix, r.path == pathExact, r}, false
	}
	return keyed{lower(r.Mapping.Prefix), r.path == pathExact, r}, true
}

// literalStart is the text that every path begins with that the regex matches.
func literalStart(r *Route) string {
	prog := programOf(strings.TrimPrefix(r.Mapping.Prefix, "^")) // it is anchored anyway
	if prog == nil {
		return ""
	}
	text, _ := prog.Prefix()
	return text
}

func (p *pathIndex) addTree(list []keyed) uint32 {
	if len(list) == 0 {
		return 0
	}
	root := uint32(len(p.nodes)) //nolint:gosec // there are fewer nodes than 2^32
	p.nodes = append(p.nodes, node{})
	p.fill(root, list, 0)
	return root
}

// fill makes node at of list, which is sorted by key and then rank, and whose keys
// share their first depth bytes.
func (p *pathIndex) fill(at uint32, list []keyed, depth int) {
	end := depth + common(list[0].key[depth:], list[len(list)-1].key[depth:])
	n := node{text: list[0].key[depth:end], best: noRank}
	here := 0
	for here < len(list) && len(list[here].key) == end {
		here++
	}
	n.under = p.addEntries(list[:here], false, &n.best)
	n.at = p.addEntries(list[:here], true, &n.best)
	list = list[here:]

	n.kids = uint32(len(p.nodes))            //nolint:gosec // see addTree
	n.branches.off = uint32(len(p.branches)) //nolint:gosec // see addTree
	for i := range list {
		if i == 0 || list[i].key[end] != list[i-1].key[end] {
			p.branches = append(p.branches, list[i].key[end])
			p.nodes = append(p.nodes, node{})
			n.branches.n++
		}
	}
	for kid := n.kids; len(list) > 0; kid++ {
		i := 1
		for i < len(list) && list[i].key[end] == list[0].key[end] {
			i++
		}
		p.fill(kid, list[:i], end)
		n.best = min(n.best, p.nodes[kid].best)
		list = list[i:]
	}
	p.nodes[at] = n
}

// addEntries adds the routes of list that want the exact path, or those that do not.
func (p *pathIndex) addEntries(list []keyed, exact bool, best *uint64) span {
	s := span{off: uint32(len(p.entries))} //nolint:gosec // see addTree
	for _, k := range list {
		if k.exact == exact {
			e := entry{k.route.rank, k.route.plain(), k.route}
			p.entries = append(p.entries, e)
			*best = min(*best, e.rank)
			s.n++
		}
	}
	return s
}

// plain reports whether rt matches wherever its host text and prefix do.
func (rt *Route) plain() bool {
	return rt.Share >= 100 && len(rt.conds) == 0 && rt.path != pathRegex &&
		!rt.host.odd && (rt.host.kind == hostAny || rt.host.kind == hostExact)
}

// common returns how many bytes a and b begin with in common.
func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// branch returns which kid of n goes on with c, negative for none. Kids are mostly
// digits or letters in a row, so that the first guess is right.
func (p *pathIndex) branch(n *node, c byte) int {
	first := p.branches[n.branches.off : n.branches.off+n.branches.n]
	if len(first) == 0 {
		return -1
	}
	if i := int(c) - int(first[0]); i >= 0 && i < len(first) && first[i] == c {
		return i
	}
	return bytes.IndexByte(first, c)
}
