package authn

import (
	"fmt"
	"slices"
	"strings"

	"legate/config"
)

// maxOverlaps is how many overlaps are told of one policy: who has more has understood.
const maxOverlaps = 3

// overlaps tells of rules of different policies that match the same requests with the same
// precedence. Their order is settled, by their policies' names, and their authors may not
// know that.
func (p *policies) overlaps() (problems []config.Problem) {
	told := map[*config.FilterPolicy]int{}
	starts := make([]ruleStart, len(p.rules))
	for i := range p.rules {
		starts[i] = p.rules[i].start()
		later := &p.rules[i]
		for j := range p.rules[:i] {
			first := &p.rules[j]
			if first.policy == later.policy || first.precedence != later.precedence || told[later.policy] == maxOverlaps || starts[i].apart(&starts[j]) {
				continue
			}
			host, path, both := first.example(later)
			if !both {
				continue
			}
			told[later.policy]++
			problem := later.policy.Problem(fmt.Sprintf("rules[%d]", later.place), fmt.Sprintf("%s matches %s%s too", first.by, host, path), config.Notice)
			problem.Instead = fmt.Sprintf("FilterPolicy %s/%s decides there, being first by name; precedence would settle it", first.policy.Namespace, first.policy.Name)
			problems = append(problems, problem)
		}
	}
	return problems
}

// A ruleStart is what the hosts and paths that a rule matches begin with.
type ruleStart struct {
	host, path               string
	hostIsWhole, pathIsWhole bool
}

func (r *rule) start() (s ruleStart) {
	s.host, s.hostIsWhole = r.host.start()
	s.path, s.pathIsWhole = r.path.start()
	return s
}

// apart reports whether the beginnings tell already that no request is both rules'.
func (s *ruleStart) apart(o *ruleStart) bool {
	return s.hostIsWhole && o.hostIsWhole && s.host != o.host || s.pathIsWhole && o.pathIsWhole && s.path != o.path ||
		!strings.HasPrefix(s.path, o.path) && !strings.HasPrefix(o.path, s.path)
}

// example returns a host and a path that both rules match, and whether there are any.
func (r *rule) example(other *rule) (host, path string, both bool) {
	if path, both = common(r.path.pieces(), other.path.pieces()); !both {
		return "", "", false
	}
	host, both = common(r.host.pieces(), other.host.pieces())
	return host, path, both
}

// common returns a short text that both globs match, and whether there is one.
func common(a, b []piece) (text string, both bool) {
	type state struct{ i, j int }
	type origin struct {
		from state
		by   int // the byte that leads here; -1 for none
	}
	came := map[state]origin{{}: {by: -1}}
	reach := func(queue []state, from, to state, by int) []state {
		if _, been := came[to]; been {
			return queue
		}
		came[to] = origin{from, by}
		return append(queue, to)
	}
	end := state{len(a), len(b)}
	for queue := []state{{}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == end {
			break
		}
		inA, inB := at.i < len(a), at.j < len(b)
		if inA && a[at.i].star {
			queue = reach(queue, at, state{at.i + 1, at.j}, -1)
		}
		if inB && b[at.j].star {
			queue = reach(queue, at, state{at.i, at.j + 1}, -1)
		}
		if !inA || !inB {
			continue
		}
		if by, ok := shared(&a[at.i], &b[at.j]); ok {
			to := at
			if !a[at.i].star {
				to.i++
			}
			if !b[at.j].star {
				to.j++
			}
			queue = reach(queue, at, to, by)
		}
	}
	if _, both = came[end]; !both {
		return "", false
	}
	var back []byte
	for at := end; at != (state{}); at = came[at].from {
		if by := came[at].by; by >= 0 {
			back = append(back, byte(by)) //nolint:gosec // because it is one: -1 stands for none
		}
	}
	slices.Reverse(back)
	return string(back), true
}

// shared returns a byte that both pieces match, one that is easy to read if there is one.
func shared(a, b *piece) (by int, ok bool) {
	for _, easy := range []byte("/.abcdefghijklmnopqrstuvwxyz0123456789") {
		if a.has(easy) && b.has(easy) {
			return int(easy), true
		}
	}
	for c := range 256 {
		if a.has(byte(c)) && b.has(byte(c)) {
			return c, true
		}
	}
	return 0, false
}
