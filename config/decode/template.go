package decode

import (
	"cmp"
	"strconv"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// logFormat reads envoy_log_format, nil if it is missing or does not fit kind: a text
// for text, an object for the two kinds of JSON.
func (f *fields) logFormat(kind string) *config.Template {
	e := f.value("envoy_log_format")
	if e == nil {
		return nil
	}
	t, ok := f.template(e)
	switch {
	case !ok:
		return nil
	case cmp.Or(kind, "text") == "text" && t.Kind == config.TemplateObject:
		f.wrong(e, "a text, as envoy_log_type is text")
		return nil
	case kind != "" && kind != "text" && t.Kind != config.TemplateObject:
		f.wrong(e, "an object, as envoy_log_type is "+kind)
		return nil
	case t.Kind == config.TemplateList:
		f.wrong(e, "a text or an object")
		return nil
	}
	return &t
}

// template reads a text with commands, or an object or a list of such.
func (f *fields) template(e *entry) (t config.Template, ok bool) {
	n := resolve(e.value)
	if !f.o.visit() {
		return t, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		sub := f.o.open(n, f.path+e.name+".")
		sub.soft = f.soft
		t.Kind = config.TemplateObject
		for i := range sub.written {
			value, ok := sub.template(&sub.written[i])
			if !ok {
				return t, false
			}
			t.Fields = append(t.Fields, config.TemplateField{Name: sub.written[i].name, Value: value})
		}
		return t, true
	case yaml.SequenceNode:
		t.Kind = config.TemplateList
		for _, item := range f.items(e, "values") {
			value, ok := f.template(&item)
			if !ok {
				return t, false
			}
			t.Items = append(t.Items, value)
		}
		return t, true
	case yaml.ScalarNode:
		return f.scalarTemplate(n), true
	default:
		f.wrong(e, "text, an object or a list")
		return t, false
	}
}

// scalarTemplate reads a text, a number, a boolean or null.
func (f *fields) scalarTemplate(n *yaml.Node) config.Template {
	t := config.Template{Text: f.o.expand(n.Value)}
	switch n.Tag {
	case "!!null":
		t.Kind = config.TemplateNull
	case "!!bool":
		if b, ok := f.o.boolean(n); ok {
			t.Kind, t.Text = config.TemplateBool, strconv.FormatBool(b)
		}
	case "!!int":
		if i, ok := f.o.integer(n); ok {
			t.Kind, t.Text = config.TemplateNumber, strconv.FormatInt(i, 10)
		}
	case "!!float":
		if x, err := strconv.ParseFloat(t.Text, 64); err == nil && x-x == 0 { // neither infinite nor no number
			t.Kind, t.Text = config.TemplateNumber, strconv.FormatFloat(x, 'g', -1, 64)
		}
	}
	return t
}
