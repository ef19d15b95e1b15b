package decode

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// items returns what the list in e holds, each under its own name: "ports[1]". nil and
// a Problem that asks for what it should hold stand for anything but a list.
func (f *fields) items(e *entry, of string) []entry {
	if e.value.Kind != yaml.SequenceNode {
		f.wrong(e, "a list of "+of)
		return nil
	}
	items := make([]entry, 0, len(e.value.Content))
	for i, n := range e.value.Content {
		if !f.o.visit() {
			break
		}
		items = append(items, entry{name: fmt.Sprintf("%s[%d]", e.name, i), key: n, value: resolve(n)})
	}
	return items
}

// list returns a list of texts, nil if missing; one text is a list of one.
func (f *fields) list(name string) []string {
	f.ask(name, shape{form: manyTexts})
	return f.listOf(name)
}

// listOf is list for who takes more than a list.
func (f *fields) listOf(name string) []string {
	e := f.value(name)
	if e == nil {
		return nil
	}
	if e.value.Kind == yaml.ScalarNode {
		return []string{f.o.expand(e.value.Value)}
	}
	items := f.items(e, "texts")
	if items == nil {
		return nil
	}
	texts := make([]string, 0, len(items))
	for i := range items {
		item := &items[i]
		if item.value.Kind != yaml.ScalarNode || isNull(item.value) {
			f.wrong(item, "text")
			return nil
		}
		texts = append(texts, f.o.expand(item.value.Value))
	}
	return texts
}

// commaList returns a list whose items may also be written as one text with commas.
func (f *fields) commaList(name string) []string {
	var items []string
	for _, s := range f.listOf(name) {
		for item := range strings.SplitSeq(s, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
	}
	return items
}

// objects returns the objects of a list, nil if it is missing. Each knows its place in
// the text.
func (f *fields) objects(name string) []*fields {
	f.ask(name, shape{form: manyObjects})
	e := f.value(name)
	if e == nil {
		return nil
	}
	items := f.items(e, "objects")
	list := make([]*fields, 0, len(items))
	for i := range items {
		if resolve(items[i].value).Kind != yaml.MappingNode {
			f.wrong(&items[i], "an object")
			continue
		}
		sub := f.o.open(items[i].key, f.path+items[i].name+".")
		sub.fold, sub.soft = f.fold, f.soft
		if f.recorded {
			f.position(&items[i])
			sub.record()
		}
		list = append(list, sub)
	}
	return list
}
