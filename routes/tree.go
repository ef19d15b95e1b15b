package routes

import (
	"bytes"
	"math"
	"slices"
	"strings"

	"legate/wire"
)

// noRank is worse than every route's rank.
const noRank = math.MaxUint32

// A pathIndex holds the routes of one host condition: two radix trees over bytes,
// the second in lower case for routes that disregard case. A regex stands where its
// literal beginning ends. 0 is no tree.
type pathIndex struct {
	root, fold uint32
	best       uint32 // the lowest rank within
}

var noPaths = pathIndex{best: noRank}

// A node is one step of a tree.
type node struct {
	text     string // follows the texts above
	kids     uint32 // index of the first; they lie side by side
	branches span   // their first bytes, ascending
	under    span   // entries for paths that go on
	at       span   // entries for paths that end here
	best     uint32 // the lowest rank here and below
}

// A span is a part of one of the table's arrays.
type span struct{ off, n uint32 }

// An entry is a route in a node.
type entry struct {
	rank  uint32
	plain bool // nothing is left to be checked
	route *Route
}

// A keyed is a route and the text it is found by.
type keyed struct {
	key   string
	exact bool
	route *Route
}

// paths indexes routes of one host condition, which are in match order.
func (b *builder) paths(routes []*Route) pathIndex {
	t := b.table
	if len(t.nodes) == 0 {
		t.nodes = append(t.nodes, node{}) // 0 is no tree
	}
	p := pathIndex{best: rankOf(routes[0])}
	var buf, foldBuf [4]keyed // most indexes are tiny
	plain, fold := buf[:0], foldBuf[:0]
	for _, r := range routes {
		switch {
		case r.path == pathRegex:
			plain = append(plain, keyed{literalStart(r), false, r})
		case r.CaseSensitive:
			plain = append(plain, keyed{r.Mapping.Prefix, r.path == pathExact, r})
		default:
			lower := []byte(r.Mapping.Prefix)
			wire.LowerInPlace(lower)
			fold = append(fold, keyed{string(lower), r.path == pathExact, r})
		}
	}
	p.root, p.fold = t.addTree(plain), t.addTree(fold)
	return p
}

func rankOf(r *Route) uint32 { return uint32(r.Index) } //nolint:gosec // there are fewer routes than 2^32

// literalStart is the text that every path begins with that the regex matches.
func literalStart(r *Route) string {
	prog := programOf(strings.TrimPrefix(r.Mapping.Prefix, "^")) // it is anchored anyway
	if prog == nil {
		return ""
	}
	text, _ := prog.Prefix()
	return text
}

func (t *Table) addTree(list []keyed) uint32 {
	if len(list) == 0 {
		return 0
	}
	slices.SortStableFunc(list, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	root := uint32(len(t.nodes)) //nolint:gosec // there are fewer nodes than 2^32
	t.nodes = append(t.nodes, node{})
	t.fill(root, list, 0)
	return root
}

// fill makes node at of list, which is sorted by key and then rank, and whose keys
// share their first depth bytes.
func (t *Table) fill(at uint32, list []keyed, depth int) {
	end := depth + common(list[0].key[depth:], list[len(list)-1].key[depth:])
	n := node{text: list[0].key[depth:end], best: noRank}
	here := 0
	for here < len(list) && len(list[here].key) == end {
		here++
	}
	n.under = t.addEntries(list[:here], false, &n.best)
	n.at = t.addEntries(list[:here], true, &n.best)
	list = list[here:]

	n.kids = uint32(len(t.nodes))            //nolint:gosec // see addTree
	n.branches.off = uint32(len(t.branches)) //nolint:gosec // see addTree
	for i := range list {
		if i == 0 || list[i].key[end] != list[i-1].key[end] {
			t.branches = append(t.branches, list[i].key[end])
			t.nodes = append(t.nodes, node{})
			n.branches.n++
		}
	}
	for kid := n.kids; len(list) > 0; kid++ {
		i := 1
		for i < len(list) && list[i].key[end] == list[0].key[end] {
			i++
		}
		t.fill(kid, list[:i], end)
		n.best = min(n.best, t.nodes[kid].best)
		list = list[i:]
	}
	t.nodes[at] = n
}

// addEntries adds the routes of list that want the exact path, or those that do not.
func (t *Table) addEntries(list []keyed, exact bool, best *uint32) span {
	s := span{off: uint32(len(t.entries))} //nolint:gosec // see addTree
	for _, k := range list {
		if k.exact == exact {
			e := entry{rankOf(k.route), k.route.plain(), k.route}
			t.entries = append(t.entries, e)
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
func (t *Table) branch(n *node, c byte) int {
	first := t.branches[n.branches.off : n.branches.off+n.branches.n]
	if len(first) == 0 {
		return -1
	}
	if i := int(c) - int(first[0]); i >= 0 && i < len(first) && first[i] == c {
		return i
	}
	return bytes.IndexByte(first, c)
}
