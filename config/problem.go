// Package config holds Ambassador's objects as plain Go values, the World they
// form together, and the Problems found in them. It is data: it parses no text,
// opens no socket and watches nothing.
package config

import (
	"cmp"
	"fmt"
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
func CompareProblems(a, b Problem) int {
	return cmp.Or(
		cmp.Compare(a.Ref.File, b.Ref.File),
		cmp.Compare(a.Ref.Line, b.Ref.Line),
		cmp.Compare(a.Ref.Col, b.Ref.Col),
		cmp.Compare(a.Ref.Kind, b.Ref.Kind),
		cmp.Compare(a.Ref.Namespace, b.Ref.Namespace),
		cmp.Compare(a.Ref.Name, b.Ref.Name),
		cmp.Compare(a.Field, b.Field),
		cmp.Compare(a.Msg, b.Msg),
	)
}
