package routes

import (
	"cmp"
	"slices"

	"legate/wire"
)

// A HeaderName is the name of a header.
type HeaderName struct {
	ID   wire.Field
	Name string // in lower case
}

// Looks returns the headers that decide which route serves a request, sorted: with any of
// them changed it may be another.
func (t *Table) Looks() []HeaderName { return t.looks }

// look notes which headers the routes look at.
func (t *Table) look() {
	t.looks = nil
	for _, r := range t.Routes {
		for i := range r.conds {
			if c := &r.conds[i]; c.on == onHeader {
				name := HeaderName{c.field, c.name}
				if at, known := slices.BinarySearchFunc(t.looks, name, func(a, b HeaderName) int { return cmp.Compare(a.Name, b.Name) }); !known {
					t.looks = slices.Insert(t.looks, at, name)
				}
			}
		}
	}
}
