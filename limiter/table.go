package limiter

import (
	"cmp"
	"fmt"
	"math/bits"

	"legate/config"
	"legate/templates"
)

// A Limit is one item of a RateLimit, ready to count.
type Limit struct {
	Window  Window
	Name    string
	By      string // the object that it is part of: "RateLimit shop/basic"
	LogOnly bool
	Index   int // among those of its Table

	InjectRequest, InjectResponse *templates.Headers  // nil for none
	RefusalHeaders                *templates.Headers  // nil for none
	RefusalBody                   *templates.Response // nil for an empty one

	source *config.Limit
	object *config.Meta
}

// A Table is the limits of one domain, by the entries of the descriptors that they are
// for. It is built once and read by many requests at once.
type Table struct {
	Domain string
	Limits []*Limit

	root  node
	exact bool
}

// A node is where patterns lead that begin alike.
type node struct {
	limit *Limit
	next  map[string]*branch // by the key of the next entry
}

// A branch is what may follow under one key.
type branch struct {
	exact map[string]*node // by the entry's value
	any   *node
}

// TableOptions are what a Table is made with.
type TableOptions struct {
	Domain string
	// ExactDepth has a pattern match only descriptors of its own length, as Envoy's
	// service does, instead of those that begin with it.
	ExactDepth bool
}

// NewTable makes the limits of one domain ready. Those of other domains count nothing.
func NewTable(objects []config.RateLimit, opts TableOptions) (*Table, []config.Problem) {
	t := &Table{Domain: opts.Domain, exact: opts.ExactDepth}
	var problems []config.Problem
	for i := range objects {
		o := &objects[i]
		if o.Domain != opts.Domain {
			p := o.Problem("domain", fmt.Sprintf("requests carry labels of the domain %q only", opts.Domain), config.Notice)
			p.Instead = "its limits count nothing"
			problems = append(problems, p)
			continue
		}
		for j := range o.Limits {
			l, ps := newLimit(&o.Meta, &o.Limits[j])
			problems = append(problems, ps...)
			if l != nil {
				l.Index = len(t.Limits)
				t.Limits = append(t.Limits, l)
				problems = append(problems, t.root.place(l, l.source.Pattern)...)
			}
		}
	}
	return t, problems
}

// newLimit makes l ready, or returns nil and why not.
func newLimit(object *config.Meta, l *config.Limit) (*Limit, []config.Problem) {
	ready := &Limit{
		Window: Window{Rate: l.Rate, Unit: l.Unit, Burst: int64(l.Burst)},
		Name:   l.Name, By: object.Ref().String(), LogOnly: l.LogOnly, source: l, object: object,
	}
	field := fmt.Sprintf("limits[%d]", l.Index)
	var problems []config.Problem
	ignored := func(name string, err error) {
		problems = append(problems, object.Problem(field+"."+name, err.Error(), config.FieldIgnored))
	}
	headers := func(name string, list []config.HeaderTemplate) *templates.Headers {
		if list == nil {
			return nil
		}
		h, err := templates.NewHeaders(list)
		if err != nil {
			ignored(name, err)
		}
		return h
	}
	ready.InjectRequest = headers("injectRequestHeaders", l.InjectRequest)
	ready.InjectResponse = headers("injectResponseHeaders", l.InjectResponse)
	ready.RefusalHeaders = headers("errorResponse.headers", l.Error.Headers)
	if l.Error.Body != "" {
		var err error
		if ready.RefusalBody, err = templates.NewResponse(&config.ErrorResponse{Body: l.Error.Body}); err != nil {
			ignored("errorResponse.bodyTemplate", err)
		}
	}
	if len(l.Pattern) == 0 {
		p := object.Problem(field, "has no pattern", config.Notice)
		p.Instead = "it matches nothing"
		problems = append(problems, p)
		return nil, problems
	}
	return ready, problems
}

// place puts l where what is left of its pattern leads to, once for every alternative.
func (n *node) place(l *Limit, pattern [][]config.LabelMatch) []config.Problem {
	if len(pattern) == 0 {
		return n.settle(l)
	}
	var problems []config.Problem
	for _, m := range pattern[0] {
		problems = append(problems, n.follow(m).place(l, pattern[1:])...)
	}
	return problems
}

// follow returns the node that m leads to.
func (n *node) follow(m config.LabelMatch) *node {
	if n.next == nil {
		n.next = map[string]*branch{}
	}
	b := n.next[m.Key]
	if b == nil {
		b = &branch{}
		n.next[m.Key] = b
	}
	if m.Value == "" || m.Value == "*" {
		if b.any == nil {
			b.any = &node{}
		}
		return b.any
	}
	if b.exact == nil {
		b.exact = map[string]*node{}
	}
	to := b.exact[m.Value]
	if to == nil {
		to = &node{}
		b.exact[m.Value] = to
	}
	return to
}

// settle chooses between the limits of one pattern: one that enforces before one that only
// logs, then the strictest, and of those the first.
func (n *node) settle(l *Limit) []config.Problem {
	if n.limit == nil || n.limit == l {
		n.limit = l
		return nil
	}
	winner, loser := n.limit, l
	if l.before(n.limit) {
		winner, loser = l, n.limit
	}
	n.limit = winner
	why := "comes first"
	switch {
	case winner.LogOnly != loser.LogOnly:
		why = "enforces"
	case compareRates(&winner.Window, &loser.Window) != 0:
		why = "is stricter"
	}
	p := loser.object.Problem(fmt.Sprintf("limits[%d].pattern", loser.source.Index), fmt.Sprintf("%s of %s has the same pattern and %s", winner.Name, winner.By, why), config.Notice)
	p.Instead = "that one counts instead"
	return []config.Problem{p}
}

// before reports whether l goes before o, which has the same pattern.
func (l *Limit) before(o *Limit) bool {
	if l.LogOnly != o.LogOnly {
		return o.LogOnly
	}
	return compareRates(&l.Window, &o.Window) < 0
}

// compareRates compares how much passes in the same time, and where that is the same how much
// at once: around a border of the calendar's windows twice the rate.
func compareRates(a, b *Window) int {
	ahi, alo := bits.Mul64(uint64(a.Rate), uint64(b.Unit)) //nolint:gosec // neither is negative
	bhi, blo := bits.Mul64(uint64(b.Rate), uint64(a.Unit)) //nolint:gosec // neither is negative
	return cmp.Or(cmp.Compare(ahi, bhi), cmp.Compare(alo, blo), cmp.Compare(cmp.Or(a.Burst, 2), cmp.Or(b.Burst, 2)))
}

// find returns the limit for a descriptor of those entries, and how many of them its
// pattern has; nil if nothing limits it. A value that is named goes before any value, and
// the longest pattern goes first. Budget: 0 allocs.
func (t *Table) find(d *Descriptor, values [][]byte) (*Limit, int) {
	return t.root.find(t.exact, d.Entries, values, 0)
}

func (n *node) find(exact bool, entries []Entry, values [][]byte, depth int) (*Limit, int) {
	if depth < len(entries) {
		if b := n.next[entries[depth].Key]; b != nil {
			if to := b.exact[string(values[depth])]; to != nil {
				if l, at := to.find(exact, entries, values, depth+1); l != nil {
					return l, at
				}
			}
			if b.any != nil {
				if l, at := b.any.find(exact, entries, values, depth+1); l != nil {
					return l, at
				}
			}
		}
		if exact {
			return nil, 0
		}
	}
	return n.limit, depth
}
