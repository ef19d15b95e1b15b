package config

import (
	"fmt"
	"strings"
)

// A TLSModule is the Module "tls", the way to write TLSContexts before there were any.
// It serves as the TLSContexts that follow from it.
type TLSModule struct {
	Meta
	Contexts []ModuleContext
}

// A ModuleContext is one TLSContext of a TLSModule.
type ModuleContext struct {
	Name    string            // of the context, and of the field it is written in
	Context TLSContext        // without Meta, which the Module's place in the text decides
	Beside  string            // the field that says more of it, "" for none
	Renamed map[string]string // fields of Beside that a TLSContext calls otherwise
}

// tlsModules makes TLSContexts of the first Module "tls" among objects, the only one that
// Ambassador looks at. It returns what else there is, the TLSContexts, and what of the
// Modules does not count.
func tlsModules(objects []*Object) (rest, follow []*Object, problems []Problem) {
	var first *TLSModule
	var from *Object
	own := map[identity]bool{}
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *TLSModule:
			if first == nil || compareMeta(&v.Meta, &first.Meta) < 0 {
				first, from = v, o
			}
			continue
		case *TLSContext:
			own[identityOf(&v.Meta)] = true
		}
		rest = append(rest, o)
	}
	for _, o := range objects {
		if v, ok := o.Value.(*TLSModule); ok && v != first {
			p := v.Problem("", fmt.Sprintf("only one Module tls counts, and %s comes first", first.Ref()), Notice)
			p.Instead = "it is ignored"
			problems = append(problems, p)
		}
	}
	if first == nil {
		return rest, nil, nil
	}
	for i := range first.Contexts {
		c := &first.Contexts[i]
		m := first.context(c)
		if own[identityOf(&m)] {
			p := first.Problem("config."+c.Name, fmt.Sprintf("there is a TLSContext %s/%s too", m.Namespace, m.Name), FieldIgnored)
			p.Instead = "the TLSContext counts"
			problems = append(problems, p)
			continue
		}
		t := c.Context
		t.Meta = m
		follow = append(follow, &Object{Meta: m, IDs: from.IDs, Value: &t})
	}
	return rest, follow, problems
}

// context returns the Meta of the TLSContext that follows from c, its fields where they
// are written in the Module.
func (m *TLSModule) context(c *ModuleContext) Meta {
	meta := Meta{
		Kind: "TLSContext", Name: c.Name, Namespace: m.Namespace, Labels: m.Labels,
		File: m.File, Line: m.Line, Col: m.Col,
		Parent: Parent{Kind: m.Kind, Name: m.Name, Namespace: m.Namespace, Labels: m.Labels},
	}
	if m.Parent.Document > 0 {
		meta.Parent = m.Parent
	}
	take := func(within string, renamed map[string]string) {
		for _, f := range m.Fields {
			name, ok := strings.CutPrefix(f.Field, "config."+within+".")
			if !ok {
				continue
			}
			if other, ok := renamed[name]; ok {
				name = other
			}
			meta.Fields = append(meta.Fields, FieldPos{Field: name, Line: f.Line, Col: f.Col})
		}
	}
	if c.Beside != "" {
		take(c.Beside, c.Renamed) // first: what it says counts
	}
	take(c.Name, nil)
	for _, f := range m.Fields {
		if f.Field == "config."+c.Name && !m.Parent.Folded {
			meta.Line, meta.Col = int(f.Line), int(f.Col)
		}
	}
	return meta
}
