package authn

import (
	"cmp"
	"slices"
	"time"
)

// policies are the rules of all FilterPolicies, in the order in which they are tried: the
// first that matches a request decides about it. They are found by what their globs have
// to begin with, so that a request is held against those only that it could fit.
type policies struct {
	rules  []rule
	exact  finder
	folded finder // for paths in lower case, by rules' globs in lower case

	patience  time.Duration // see Call.Patience
	offenders *Offenders
}

// A finder finds rules by what their globs have to begin with.
type finder struct {
	hosts  map[string]*pathIndex // of rules for one host, by that
	others pathIndex             // rules for several hosts
}

// A pathIndex finds rules by the text that the paths they match begin with.
type pathIndex struct {
	lengths []int            // of those texts, ascending
	starts  map[string][]int // places of rules, ascending
}

// index puts rules in order and makes them found.
func (p *policies) index() {
	slices.SortStableFunc(p.rules, func(a, b rule) int { return cmp.Compare(b.precedence, a.precedence) })
	for i := range p.rules {
		r := &p.rules[i]
		p.exact.add(r.host, r.path, i)
		p.folded.add(r.host, r.folded, i)
	}
}

func (f *finder) add(host, path glob, place int) {
	text, whole := host.start()
	if !whole {
		f.others.add(path, place)
		return
	}
	if f.hosts == nil {
		f.hosts = map[string]*pathIndex{}
	}
	if f.hosts[text] == nil {
		f.hosts[text] = &pathIndex{}
	}
	f.hosts[text].add(path, place)
}

func (x *pathIndex) add(path glob, place int) {
	start, _ := path.start()
	if x.starts == nil {
		x.starts = map[string][]int{}
	}
	x.starts[start] = append(x.starts[start], place)
	if at, known := slices.BinarySearch(x.lengths, len(start)); !known {
		x.lengths = slices.Insert(x.lengths, at, len(start))
	}
}

// find returns the first rule for a host in lower case and a path, nil for none. bare is
// the host without its port. fold says that path is in lower case, and stands for any other.
// Budget: 0 allocs.
func (p *policies) find(host, bare, path []byte, fold bool) *rule {
	f := &p.exact
	if fold {
		f = &p.folded
	}
	q := query{host, bare, path, fold}
	first := p.first(&f.others, len(p.rules), &q)
	if x := f.hosts[string(host)]; x != nil {
		first = p.first(x, first, &q)
	}
	if len(bare) < len(host) {
		if x := f.hosts[string(bare)]; x != nil {
			first = p.first(x, first, &q)
		}
	}
	if first == len(p.rules) {
		return nil
	}
	return &p.rules[first]
}

// A query is what find looks for.
type query struct {
	host, bare, path []byte
	fold             bool
}

// first returns the place of the first rule of x that matches, before if there is none
// before that.
func (p *policies) first(x *pathIndex, before int, q *query) int {
	for _, n := range x.lengths {
		if n > len(q.path) {
			break
		}
		for _, place := range x.starts[string(q.path[:n])] {
			if place >= before {
				break
			}
			if p.rules[place].matches(q) {
				before = place
				break
			}
		}
	}
	return before
}

// matches reports whether r is what q looks for.
func (r *rule) matches(q *query) bool {
	path := r.path
	if q.fold {
		path = r.folded
	}
	return path.match(q.path) && (r.host.match(q.host) || r.host.match(q.bare))
}
