package config

import (
	"fmt"
	"strconv"
)

// A FieldPos is where one field of an object was written.
type FieldPos struct {
	Field     string // dotted path below spec (below data for Secrets): "cors.origins"
	Line, Col int32  // 1-based, in Meta.File
}

// Meta is what every object has: its name, its labels and where it was read.
type Meta struct {
	Kind, Name, Namespace string
	Labels                map[string]string
	File                  string
	Line, Col             int
	Fields                []FieldPos // positions of the fields, in the order written
	Parent                Parent     // zero for an object of its own
}

// A Parent is the object that another one was written in, or follows from.
type Parent struct {
	Kind, Name, Namespace string
	Labels                map[string]string
	// Document is which document of the parent's annotation the object is, counting
	// from 1; 0 for one that follows from the parent itself.
	Document int
	// Folded is true where the annotation's lines are not lines of the file, as in a
	// quoted text: positions of Fields then count from the annotation's own beginning.
	Folded bool
}

// At says where in p something was written, "" if p is zero. line is the line of the
// annotation where that is not a line of the file, otherwise 0.
func (p *Parent) At(line int) string {
	name := p.Kind + "/" + p.Name + "." + p.Namespace
	switch {
	case p.Kind == "":
		return ""
	case p.Document == 0:
		return "from " + name
	case line == 0:
		return fmt.Sprintf("document %d of the annotation of %s", p.Document, name)
	}
	return fmt.Sprintf("document %d, line %d of the annotation of %s", p.Document, line, name)
}

// Ref returns m's name and position.
func (m *Meta) Ref() Ref {
	return Ref{
		Kind: m.Kind, Namespace: m.Namespace, Name: m.Name,
		File: m.File, Line: m.Line, Col: m.Col, Within: m.Parent.At(0),
	}
}

// Problem returns a Problem about field of m, at the field's own position when
// it is known and at the object's otherwise.
func (m *Meta) Problem(field, msg string, effect Effect) Problem {
	ref := m.Ref()
	for _, f := range m.Fields {
		if f.Field != field {
			continue
		}
		if m.Parent.Folded {
			ref.Within = m.Parent.At(int(f.Line))
		} else {
			ref.Line, ref.Col = int(f.Line), int(f.Col)
		}
		break
	}
	return Problem{Ref: ref, Field: field, Msg: msg, Effect: effect}
}

// Is reports whether m names the given object.
func (m *Meta) Is(namespace, name string) bool { return m.Namespace == namespace && m.Name == name }

// Key returns Ambassador's name for where m comes from, which puts objects in order:
// "name.namespace.1", or "web.shop.2" for the second document of the annotation of web
// in namespace shop.
func (m *Meta) Key() string {
	if p := &m.Parent; p.Document > 0 {
		return p.Name + "." + p.Namespace + "." + strconv.Itoa(p.Document)
	}
	return m.FullName() + ".1"
}

// FullName returns "name.namespace", the form in which Ambassador refers to objects.
func (m *Meta) FullName() string { return m.Name + "." + m.Namespace }
