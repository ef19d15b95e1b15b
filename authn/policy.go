package authn

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/wire"
)

// A rule is what happens to requests that it matches. Without uses nothing is asked.
type rule struct {
	by         string // "FilterPolicy shop/api rule 2"
	policy     *config.FilterPolicy
	place      int  // among the policy's rules
	host       glob // in lower case
	path       glob
	folded     glob // path in lower case
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

// maxReading is the longest path and host that are looked at without allocating.
const maxReading = 512

// Filter asks the Filters of the rules that decide about c: of the first that matches, and
// where a service might read the path in other ways of the first that matches each of those too.
// Budget: 0 allocs beside the Filters', for a host and a path up to maxReading.
func (p *policies) Filter(c *Call) Outcome {
	if len(p.rules) == 0 {
		return Allow
	}
	var hosts [maxReading]byte
	host := append(hosts[:0], c.Head.Host()...)
	wire.LowerInPlace(host)
	bare := bytes.TrimSuffix(withoutPort(host), []byte(".")) // which names the same host (RFC 3986 §3.2.2)
	c.Patience = p.patience
	first := p.find(host, bare, c.Path, false)
	outcome := first.decide(c, c.Path)
	if all := c.readings(); all != 0 && outcome == Allow {
		outcome = p.otherwise(c, host, bare, first, all)
	}
	p.offenders.settle(c)
	c.Patience, c.until = 0, time.Time{} // an AuthService has a time of its own
	return outcome
}

// decide asks r's Filters about c, whose path is read as path. nil asks nobody.
func (r *rule) decide(c *Call, path []byte) Outcome {
	if r == nil {
		return Allow
	}
	if c.Dry {
		c.note(r.verdict(c, string(path)))
	}
	return r.Filter(c)
}

// verdict tells what r has to do with c, whose path is read as path.
func (r *rule) verdict(c *Call, path string) string {
	text := fmt.Sprintf("%s decides: host %q, path %q", r.by, r.host, r.path)
	if path != string(c.Path) {
		text += fmt.Sprintf(", as a service may read the path as %q", path)
	}
	if len(r.uses) == 0 {
		text += "; it has no filters, so nobody is asked"
	}
	return text
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

// newPolicies makes the rules of w's FilterPolicies, with filters that build makes.
func newPolicies(w *config.World, d *Deps, build func(p *config.FilterPolicy, field string, u *config.FilterUse) (Filter, []config.Problem)) (policies, []config.Problem) {
	list := inOrder(w.FilterPolicies)
	var all policies
	var problems []config.Problem
	for _, p := range list {
		for i := range p.Rules {
			r := &p.Rules[i]
			compiled := rule{
				by:     fmt.Sprintf("FilterPolicy %s/%s rule %d", p.Namespace, p.Name, i+1),
				policy: p, place: i,
				host: glob(strings.ToLower(r.Host)), path: glob(r.Path), folded: lowerGlob(r.Path), precedence: r.Precedence,
			}
			var found []config.Problem
			compiled.uses, found = newUses(p, d, fmt.Sprintf("rules[%d].filters", i), r.Filters, build)
			problems = append(problems, found...)
			all.rules = append(all.rules, compiled)
		}
	}
	all.index()
	return all, append(problems, all.overlaps()...)
}

// lowerGlob returns what text is with its letters as LowerInPlace leaves them in paths.
func lowerGlob(text string) glob {
	b := []byte(text)
	wire.LowerInPlace(b)
	return glob(b)
}

// newUses makes the Filters that field of p lists, by build.
func newUses(p *config.FilterPolicy, d *Deps, field string, list []config.FilterUse, build func(p *config.FilterPolicy, field string, u *config.FilterUse) (Filter, []config.Problem)) (uses []use, problems []config.Problem) {
	for n := range list {
		u := &list[n]
		filter, found := build(p, fmt.Sprintf("%s[%d]", field, n), u)
		problems = append(problems, found...)
		when, err := newCondition(u.If)
		if err != nil { // the decoder looks at it too
			filter = newInvalid(u.Namespace, u.Name, d)
		}
		uses = append(uses, use{
			filter: filter, by: fmt.Sprintf("Filter %s/%s", u.Namespace, u.Name), when: when,
			continueOnDeny: u.ContinueOnDeny, breakOnAllow: u.BreakOnAllow,
		})
	}
	return uses, problems
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
