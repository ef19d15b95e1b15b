package wire

import "slices"

// An Add is one field line to be added. Name is in lower case. The bytes belong to
// the snapshot or to the exchange; engines copy them when they write the head.
type Add struct {
	ID    Field
	Name  []byte
	Value []byte
}

// Edits are what the gateway changes about a head on its way: engines remove
// hop-by-hop fields first, then what is dropped here, then write what is added
// here. A field that is set is dropped and added. The zero value changes nothing.
type Edits struct {
	Path  []byte // replaces the path; nil keeps it
	Query []byte // replaces the query when Path is set and HasQuery says so; nil takes it away
	Host  []byte // replaces the authority; nil keeps it

	Upgrade []byte // the protocols to offer, or that are switched to; nil for none

	Casing *Casing // how HTTP/1.1 spells names; nil for lower case

	HasQuery bool
	drop     FieldSet
	names    [][]byte // further names to drop, in lower case
	adds     []Add
}

// Reset forgets all edits and keeps the memory.
func (e *Edits) Reset() { *e = Edits{names: e.names[:0], adds: e.adds[:0]} }

// Drop removes every line of that known name.
func (e *Edits) Drop(f Field) { e.drop |= 1 << f }

// DropSet removes every line of the known names in s.
func (e *Edits) DropSet(s FieldSet) { e.drop |= s }

// DropName removes every line of that name, given in lower case.
func (e *Edits) DropName(name []byte) {
	if f := LookupField(name); f != FieldOther {
		e.drop |= 1 << f
		return
	}
	e.names = append(e.names, name)
}

// Remove removes every line of a name, interned as f and given in lower case, also
// those that were added before.
func (e *Edits) Remove(f Field, name []byte) {
	if f != FieldOther {
		e.Unadd(f)
		e.drop |= 1 << f
		return
	}
	e.adds = slices.DeleteFunc(e.adds, func(a Add) bool { return a.ID == FieldOther && string(a.Name) == string(name) })
	e.names = append(e.names, name)
}

// Add adds a line of a known name, beside those that are there.
func (e *Edits) Add(f Field, value []byte) {
	e.adds = append(e.adds, Add{ID: f, Value: value})
}

// AddName adds a line of any name, given in lower case.
func (e *Edits) AddName(name, value []byte) {
	e.adds = append(e.adds, Add{LookupField(name), name, value})
}

// AddLine adds a ready line.
func (e *Edits) AddLine(a Add) { e.adds = append(e.adds, a) }

// Set makes value the only line of a known name.
func (e *Edits) Set(f Field, value []byte) {
	e.Unadd(f)
	e.drop |= 1 << f
	e.adds = append(e.adds, Add{ID: f, Value: value})
}

// SetName makes value the only line of any name, given in lower case.
func (e *Edits) SetName(name, value []byte) {
	if f := LookupField(name); f != FieldOther {
		e.Set(f, value)
		return
	}
	e.Remove(FieldOther, name)
	e.AddName(name, value)
}

// Unadd takes back lines of a known name that were added before.
func (e *Edits) Unadd(f Field) {
	e.adds = slices.DeleteFunc(e.adds, func(a Add) bool { return a.ID == f })
}

// Drops reports whether a line of that name, interned as f, is removed.
// Budget: 0 allocs.
func (e *Edits) Drops(f Field, name []byte) bool {
	if f != FieldOther {
		return e.drop.Has(f)
	}
	for _, n := range e.names {
		if string(n) == string(name) {
			return true
		}
	}
	return false
}

// Adds returns the lines to add, in order.
func (e *Edits) Adds() []Add { return e.adds }

// FieldName returns the line's name in lower case.
func (a *Add) FieldName() string {
	if a.ID != FieldOther {
		return fieldNames[a.ID]
	}
	return string(a.Name)
}
