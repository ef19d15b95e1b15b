package authn

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"legate/config"
	"legate/wire"
)

// policies are the rules of all FilterPolicies, in the order in which they are tried. The
// first that matches a request decides about it.
type policies []rule

// A rule is what happens to requests that it matches. Without uses nothing is asked.
type rule struct {
	by         string // "FilterPolicy shop/api rule 2"
	host       glob   // in lower case
	path       glob
	precedence int
	uses       []use
}

// A use is one Filter as a rule uses it.
type use struct {
	filter         Filter
	by             string
	when           *condition // nil for always
	continueOnDeny bool
	breakOnAllow   bool
}

// find returns the rule that decides about c, nil for none. Budget: 0 allocs.
func (p policies) find(c *Call) *rule {
	if len(p) == 0 {
		return nil
	}
	var buf [256]byte
	host := append(buf[:0], c.Head.Host()...)
	wire.LowerInPlace(host)
	bare := withoutPort(host)
	for i := range p {
		if r := &p[i]; r.path.match(c.Path) && (r.host.match(host) || r.host.match(bare)) {
			return r
		}
	}
	return nil
}

// withoutPort cuts the port off an authority.
func withoutPort(host []byte) []byte {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	return host[:i]
}

// Filter asks the rule's Filters in order. What one that lets pass changes, the next one
// sees. Budget: 0 allocs beside the Filters'.
func (r *rule) Filter(c *Call) Outcome {
	for i := range r.uses {
		u := &r.uses[i]
		if !u.when.holds(c) {
			if c.Dry {
				c.note(u.by + ": passed over, as " + u.when.String() + " does not hold")
			}
			continue
		}
		c.Reply = Reply{}
		outcome := u.filter.Filter(c)
		if c.Dry {
			c.explain(u, outcome)
		}
		switch {
		case outcome == Deny && !u.continueOnDeny:
			return Deny
		case outcome == Deny:
			c.Reply = Reply{}
		case u.breakOnAllow:
			return Allow
		}
	}
	return Allow
}

// note keeps what somebody who only asks is told.
func (c *Call) note(text string) { c.Notes = append(c.Notes, text) }

// explain notes what became of c at u.
func (c *Call) explain(u *use, outcome Outcome) {
	switch {
	case outcome == Deny && u.continueOnDeny:
		c.note(fmt.Sprintf("%s: refuses (%s), which onDeny: continue passes over", u.by, c.Reply.Reason))
	case outcome == Deny:
		c.note(fmt.Sprintf("%s: refuses (%s)", u.by, c.Reply.Reason))
	case c.Identity != nil && c.Identity.By == u.by:
		c.note(fmt.Sprintf("%s: recognises %q of issuer %q", u.by, c.Identity.Subject, c.Identity.Issuer))
	default:
		c.note(u.by + ": lets pass")
	}
}

// order puts rules in the order in which they are tried: by precedence, highest first,
// then by their policies' namespaces and names, then as written.
func (p policies) order() {
	slices.SortStableFunc(p, func(a, b rule) int { return cmp.Compare(b.precedence, a.precedence) })
}

// newPolicies makes the rules of w's FilterPolicies, with filters that build makes.
func newPolicies(w *config.World, build func(p *config.FilterPolicy, field string, u *config.FilterUse) (Filter, []config.Problem)) (policies, []config.Problem) {
	list := inOrder(w.FilterPolicies)
	var all policies
	var problems []config.Problem
	for _, p := range list {
		for i := range p.Rules {
			r := &p.Rules[i]
			compiled := rule{
				by:   fmt.Sprintf("FilterPolicy %s/%s rule %d", p.Namespace, p.Name, i+1),
				host: glob(strings.ToLower(r.Host)), path: glob(r.Path), precedence: r.Precedence,
			}
			for n := range r.Filters {
				u := &r.Filters[n]
				field := fmt.Sprintf("rules[%d].filters[%d]", i, n)
				filter, found := build(p, field, u)
				problems = append(problems, found...)
				when, err := newCondition(u.If)
				if err != nil { // the decoder looks at it too
					filter = newInvalid(u.Namespace, u.Name)
				}
				compiled.uses = append(compiled.uses, use{
					filter: filter, by: fmt.Sprintf("Filter %s/%s", u.Namespace, u.Name), when: when,
					continueOnDeny: u.ContinueOnDeny, breakOnAllow: u.BreakOnAllow,
				})
			}
			all = append(all, compiled)
		}
	}
	all.order()
	return all, problems
}

// inOrder returns pointers to policies in the order of their namespaces and names.
func inOrder(list []config.FilterPolicy) []*config.FilterPolicy {
	sorted := make([]*config.FilterPolicy, len(list))
	for i := range list {
		sorted[i] = &list[i]
	}
	slices.SortStableFunc(sorted, func(a, b *config.FilterPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}
