package config

import (
	"context"
	"reflect"
)

// An Object is one object as a source found it: what it says, or why it says
// nothing. Objects are shared between reads and never changed once handed on.
type Object struct {
	Meta Meta
	// Value is a pointer to one of the kinds that a World holds, or nil when the
	// object does not serve.
	Value any
	// IDs is the object's ambassador_id list, {"default"} where the author gave
	// none; nil for kinds that have no such list.
	IDs      []string
	Problems []Problem
	// Broken is true where what the author wrote cannot serve. Value is nil then, or
	// guards what a broken protector may have been meant to guard.
	Broken bool
	// Digest identifies the text that the object was decoded from. Two objects
	// with the same Digest and position are the same. The zero Digest equals none.
	Digest Digest
}

// A Digest is a hash of an object's text.
type Digest [16]byte

// A Source is a place that objects come from.
type Source interface {
	// Watch calls yield with the source's whole set of objects, first as soon as
	// it is known and then after every change, until ctx is done (nil) or the
	// source fails. It calls yield from one goroutine at a time and does not
	// change a set it has yielded. An object that has not changed should be the same
	// one again: what was made of it before is then used again.
	Watch(ctx context.Context, yield func([]*Object)) error
}

// same reports whether o and p are the same object, without looking inside.
func (o *Object) same(p *Object) bool {
	return o == p || o.Digest == p.Digest && o.Digest != Digest{} &&
		o.Meta.Line == p.Meta.Line && o.Meta.Col == p.Meta.Col && o.Meta.File == p.Meta.File
}

// sameSet reports whether a and b hold the same objects in the same order.
func sameSet(a, b []*Object) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].same(b[i]) {
			return false
		}
	}
	return true
}

// Moved returns o as it is when its text stands the given number of lines further
// down. o itself stays as it was.
func (o *Object) Moved(lines int) *Object {
	if lines == 0 {
		return o
	}
	moved := *o
	moved.Meta = o.Meta.moved(lines)
	moved.Value = withMeta(o.Value, moved.Meta)
	problems := make([]Problem, len(o.Problems))
	for i, p := range o.Problems {
		if p.Ref.Line > 0 {
			p.Ref.Line += lines
		}
		problems[i] = p
	}
	moved.Problems = problems
	return &moved
}

func (m Meta) moved(lines int) Meta {
	m.Line += lines
	if m.Parent.Folded {
		return m
	}
	fields := make([]FieldPos, len(m.Fields))
	for i, f := range m.Fields {
		f.Line += int32(lines) //nolint:gosec // files are far shorter than 2^31 lines
		fields[i] = f
	}
	m.Fields = fields
	return m
}

// meta is how every kind is reached that embeds a Meta.
func (m *Meta) meta() *Meta { return m }

// withMeta returns a copy of value, which points to a kind, that carries meta.
func withMeta(value any, meta Meta) any {
	if value == nil {
		return nil
	}
	c := reflect.New(reflect.TypeOf(value).Elem())
	c.Elem().Set(reflect.ValueOf(value).Elem())
	*c.Interface().(interface{ meta() *Meta }).meta() = meta
	return c.Interface()
}
