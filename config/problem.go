// Package config holds Ambassador's objects as plain Go values, the World they
// form together, and the Problems found in them. It is data: it parses no text,
// opens no socket and watches nothing.
package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Ref names an object and where it was read.
type Ref struct {
	Kind, Namespace, Name string
	File                  string // "" when the object did not come from a file
	Line, Col             int    // 1-based; 0 when unknown
	// Within says where else the object was written, in words, when it is not an object
	// of its own: "document 2 of the annotation of Service/web.shop".
	Within string
}

// String renders the object's name as operators know it: "Mapping shop/orders".
func (r Ref) String() string {
	if r.Name == "" {
		return r.Kind
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// An Effect is what happens to something that cannot be served as written.
type Effect uint8

// The effects, mildest first.
const (
	Notice        Effect = iota // served, but the author should know
	FieldIgnored                // the rest of the object serves
	ObjectIgnored               // a kind or object that is not served; nothing else changes
	ObjectStale                 // broken: an older version of the object serves
	ObjectDropped               // broken: the object does not serve, everything else does
	RouteClosed                 // a protector is broken: what it guards answers 503
)

var effectNames = [...]string{"notice", "field_ignored", "object_ignored", "object_stale", "object_dropped", "route_closed"}

var effectInstead = [...]string{
	"it is served as written",
	"the field is ignored",
	"the object is ignored",
	"the last good version of the object keeps serving",
	"the object is dropped, the others serve",
	"the routes that it guards answer 503",
}

// String returns the label used by metrics and JSON.
func (e Effect) String() string { return effectNames[e] }

// Broken reports whether e means that a wish of the author is not fulfilled
// because it is wrong: an error rather than a warning.
func (e Effect) Broken() bool { return e >= ObjectStale }

// A Problem is something not served as written: which object, which field, what
// is wrong, and what happens instead.
type Problem struct {
	Ref     Ref    // Line and Col are those of the field where known
	Field   string // dotted path below spec; "" for the whole object
	Msg     string // what is wrong
	Effect  Effect
	Instead string // what happens instead; "" for the effect's own words
	Unknown bool   // it is about a field that Ambassador does not have either
}

// String renders p on one line:
//
//	shop.yaml:14:3: Mapping/orders.shop: prefix: must begin with "/", got "orders"; the object is dropped, the others serve
func (p Problem) String() string {
	var b strings.Builder
	if p.Ref.File != "" {
		b.WriteString(p.Ref.File)
		if p.Ref.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Ref.Line, max(p.Ref.Col, 1))
		}
		b.WriteString(": ")
	}
	if p.Ref.Kind != "" {
		b.WriteString(p.Ref.Kind)
		if p.Ref.Name != "" {
			b.WriteString("/" + p.Ref.Name)
			if p.Ref.Namespace != "" {
				b.WriteString("." + p.Ref.Namespace)
			}
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	instead := p.Instead
	if instead == "" {
		instead = effectInstead[p.Effect]
	}
	b.WriteString(p.Msg)
	if p.Ref.Within != "" {
		b.WriteString(" (" + p.Ref.Within + ")")
	}
	b.WriteString("; " + instead)
	return b.String()
}

// CompareProblems orders problems by file, position, object and text, so that
// two runs over the same input print the same list.
func CompareProblems(a, b *Problem) int {
	if c := compareRefs(&a.Ref, &b.Ref); c != 0 {
		return c
	}
	if c := strings.Compare(a.Field, b.Field); c != 0 {
		return c
	}
	return strings.Compare(a.Msg, b.Msg)
}

// compareRefs compares one after the other: thousands of problems have the first in common.
func compareRefs(a, b *Ref) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line || a.Col != b.Col {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	}
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// SortProblems sorts by CompareProblems; those that are alike stay in their order. Problems
// are large: each is moved once, if at all.
func SortProblems(problems []Problem) {
	order := make([]int32, len(problems))
	inOrder := true
	for i := range problems {
		order[i] = int32(i)
		inOrder = inOrder && (i == 0 || CompareProblems(&problems[i-1], &problems[i]) <= 0)
	}
	if inOrder {
		return
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := CompareProblems(&problems[a], &problems[b]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	permute(problems, order)
}

// permute puts the problem at order[i] at i, for every i. It spoils order.
func permute(problems []Problem, order []int32) {
	for i := range order {
		if int(order[i]) == i {
			continue
		}
		first, at := problems[i], int32(i)
		for int(order[at]) != i { // around the circle
			next := order[at]
			problems[at], order[at] = problems[next], at
			at = next
		}
		problems[at], order[at] = first, at
	}
}

// NewProblems returns those of now that are not in old, each once. Both are sorted.
func NewProblems(old, now []Problem) (come []*Problem) {
	for i := range now {
		p := &now[i]
		for len(old) > 0 && CompareProblems(&old[0], p) < 0 {
			old = old[1:]
		}
		begin := i // of those that are like p
		for begin > 0 && CompareProblems(&now[begin-1], p) == 0 {
			begin--
		}
		if !beginsWith(old, p) && !beginsWith(now[begin:i], p) {
			come = append(come, p)
		}
	}
	return come
}

// beginsWith reports whether p is among those that list begins with and that are like it.
func beginsWith(list []Problem, p *Problem) bool {
	for i := range list {
		if list[i] == *p {
			return true
		}
		if CompareProblems(&list[i], p) != 0 {
			return false
		}
	}
	return false
}
