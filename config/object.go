package config

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
}

// Ref returns m's name and position.
func (m *Meta) Ref() Ref {
	return Ref{Kind: m.Kind, Namespace: m.Namespace, Name: m.Name, File: m.File, Line: m.Line, Col: m.Col}
}

// Problem returns a Problem about field of m, at the field's own position when
// it is known and at the object's otherwise.
func (m *Meta) Problem(field, msg string, effect Effect) Problem {
	ref := m.Ref()
	for _, f := range m.Fields {
		if f.Field == field {
			ref.Line, ref.Col = int(f.Line), int(f.Col)
			break
		}
	}
	return Problem{Ref: ref, Field: field, Msg: msg, Effect: effect}
}

// Is reports whether m names the given object.
func (m *Meta) Is(namespace, name string) bool { return m.Namespace == namespace && m.Name == name }

// FullName returns "name.namespace", the form in which Ambassador refers to objects.
func (m *Meta) FullName() string { return m.Name + "." + m.Namespace }
