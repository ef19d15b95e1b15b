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
	hosts  map[string]*pathIndex // of rules for one host, by that
	others pathIndex             // rules for several hosts

	patience  time.Duration // see Call.Patience
	offenders *Offenders
}

// A pathIndex finds rules by the text that the paths they match begin with.
type pathIndex struct {
	lengths []int            // of those texts, ascending
	starts  map[string][]int // places of rules, ascending
}

// index puts rules in order and makes them found.
func (p *policies) index() {
	slices.SortStableFunc(p.rules, func(a, b rule) int { return cmp.Compare(b.precedence, a.precedence) })
	p.hosts = map[string]*pathIndex{}
	for i := range p.rules {
		r := &p.rules[i]
		host, whole := r.host.start()
		if !whole {
			p.others.add(r.path, i)
			continue
		}
		if p.hosts[host] == nil {
			p.hosts[host] = &pathIndex{}
		}
		p.hosts[host].add(r.path, i)
	}
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
// the host without its port. Budget: 0 allocs.
func (p *policies) find(host, bare, path []byte) *rule {
	first := p.first(&p.others, len(p.rules), host, bare, path)
	if x := p.hosts[string(host)]; x != nil {
		first = p.first(x, first, host, bare, path)
	}
	if len(bare) < len(host) {
		if x := p.hosts[string(bare)]; x != nil {
			first = p.first(x, first, host, bare, path)
		}
	}
	if first == len(p.rules) {
		return nil
	}
	return &p.rules[first]
}

// first returns the place of the first rule of x that matches, before if there is none
// before that.
func (p *policies) first(x *pathIndex, before int, host, bare, path []byte) int {
	for _, n := range x.lengths {
		if n > len(path) {
			break
		}
		for _, place := range x.starts[string(path[:n])] {
			if place >= before {
				break
			}
			if p.rules[place].matches(host, bare, path) {
				before = place
				break
			}
		}
	}
	return before
}

// matches reports whether r is about a host and a path.
func (r *rule) matches(host, bare, path []byte) bool {
	return r.path.match(path) && (r.host.match(host) || r.host.match(bare))
}
