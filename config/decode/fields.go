package decode

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// fields are the fields of one object in the text. They are read by name; finish
// then reports those that nobody asked for. A field that is null is as good as not
// there, as the API server removes such fields.
type fields struct {
	o       *object
	node    *yaml.Node // the object, or what stands in its place
	path    string     // what leads to a field: "cors."
	written []entry
	places  map[string]int // of a name in written; nil while there are few
	asked   []string
	// fold lets names match in any case, as Ambassador does for some kinds. soft
	// ignores a field that cannot be understood instead of dropping the object.
	// recorded notes the positions of nested objects' fields too.
	fold, soft, recorded bool
}

// An entry is one field as written.
type entry struct {
	name       string
	key, value *yaml.Node
	used       bool
}

// open reads the fields of n, which must be an object: anything else is a Problem
// and has no fields. path is what leads to them.
func (o *object) open(n *yaml.Node, path string) *fields {
	f := &fields{o: o, node: n, path: path}
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		o.report(f.node, strings.TrimSuffix(path, "."), "must be an object, got "+shown(n), config.ObjectDropped)
		return f
	}
	f.written = make([]entry, 0, len(n.Content)/2)
	f.collect(n)
	return f
}

// openOr opens an entry, or takes a missing one as empty.
func (o *object) openOr(e *entry, path string, parent *fields) *fields {
	if e == nil || isNull(e.value) {
		return &fields{o: o, node: parent.node, path: path}
	}
	if path != "" {
		path += "."
	}
	return o.open(e.value, path)
}

// collect lists n's fields, and after them those that "<<" merges in and n does
// not have itself.
func (f *fields) collect(n *yaml.Node) {
	var merged []*yaml.Node
	own := len(f.written)
	for i := 0; i+1 < len(n.Content) && f.o.visit(); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		switch {
		case key.Tag == "!!merge":
			merged = append(merged, value)
			continue
		case key.Kind != yaml.ScalarNode:
			f.o.report(key, strings.TrimSuffix(f.path, "."), "a field's name must be text, got "+shown(key), config.ObjectDropped)
			continue
		}
		if j := f.place(key.Value); j >= own {
			f.o.report(key, f.path+key.Value, fmt.Sprintf("is written twice, first on line %d", f.o.line(f.written[j].key)), config.ObjectDropped)
			continue
		} else if j >= 0 {
			continue
		}
		f.add(entry{name: f.o.expand(key.Value), key: n.Content[i], value: value})
	}
	for _, m := range merged {
		f.merge(m)
	}
}

// few is the number of fields up to which looking at each beats a map.
const few = 64

// add appends a field that is not there yet.
func (f *fields) add(e entry) {
	f.written = append(f.written, e)
	switch {
	case f.places != nil:
		f.places[e.name] = len(f.written) - 1
	case len(f.written) > few:
		f.places = make(map[string]int, 2*few)
		for i, w := range f.written {
			f.places[w.name] = i
		}
	}
}

// place returns where in written the named field is, or -1.
func (f *fields) place(name string) int {
	if f.places == nil {
		return slices.IndexFunc(f.written, func(e entry) bool { return e.name == name })
	}
	if i, ok := f.places[name]; ok {
		return i
	}
	return -1
}

// merge adds the fields of an object, or of a list of objects.
func (f *fields) merge(n *yaml.Node) {
	switch n = resolve(n); {
	case !f.o.visit():
	case n.Kind == yaml.MappingNode:
		f.collect(n)
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if item = resolve(item); item.Kind == yaml.MappingNode {
				f.merge(item)
			}
		}
	}
}

// record notes the positions of f's fields in the object's Meta.
func (f *fields) record() {
	f.recorded = true
	for i := range f.written {
		f.position(&f.written[i])
	}
}

// position notes where e is in the object's Meta.
func (f *fields) position(e *entry) {
	if f.o.nowhere() {
		return
	}
	f.o.Meta.Fields = append(f.o.Meta.Fields, config.FieldPos{
		Field: f.path + e.name,
		Line:  int32(f.o.line(e.key)),   //nolint:gosec // files are far shorter than 2^31 lines
		Col:   int32(f.o.column(e.key)), //nolint:gosec // and so are their lines
	})
}

// find returns the named field, or nil.
func (f *fields) find(name string) *entry {
	i := f.place(name)
	if i < 0 && f.fold {
		i = slices.IndexFunc(f.written, func(e entry) bool { return strings.EqualFold(e.name, name) })
	}
	if i < 0 {
		return nil
	}
	return &f.written[i]
}

// has reports whether the named field is there, without reading it.
func (f *fields) has(name string) bool { return f.find(name) != nil }

// at returns where the named field, or else the whole object, is written.
func (f *fields) at(name string) *yaml.Node {
	if e := f.find(name); e != nil {
		return e.key
	}
	return f.node
}

// take returns the named field as read, or nil.
func (f *fields) take(name string) *entry {
	f.ask(name, shape{})
	f.asked = append(f.asked, name)
	e := f.find(name)
	if e != nil {
		e.used = true
	}
	return e
}

// value returns the named field's node, or nil if it is missing or null.
func (f *fields) value(name string) *entry {
	e := f.take(name)
	if e == nil || isNull(e.value) {
		return nil
	}
	return e
}

// wrong reports a field whose value cannot be understood.
func (f *fields) wrong(e *entry, want string) {
	effect := config.ObjectDropped
	if f.soft {
		effect = config.FieldIgnored
	}
	f.o.report(e.key, f.path+e.name, "must be "+want+", got "+shown(e.value), effect)
}

// missing reports a required field.
func (f *fields) missing(name string) {
	effect := config.ObjectDropped
	if f.soft {
		effect = config.FieldIgnored
	}
	f.o.report(f.at(name), f.path+name, "is required", effect)
}

// scalar returns e's text, or false and a Problem.
func (f *fields) scalar(e *entry) (string, bool) {
	if e.value.Kind != yaml.ScalarNode {
		f.wrong(e, "text")
		return "", false
	}
	return f.o.expand(e.value.Value), true
}

// text returns a text, "" if missing. Numbers and booleans are taken as written.
func (f *fields) text(name string) string {
	f.ask(name, shape{form: aText})
	return f.textOf(name)
}

// textOf is text for who has told more of it.
func (f *fields) textOf(name string) string {
	e := f.value(name)
	if e == nil {
		return ""
	}
	s, _ := f.scalar(e)
	return s
}

// required returns a text that must be there and not be empty.
func (f *fields) required(name string) string {
	f.ask(name, shape{form: aText})
	e := f.value(name)
	if e == nil {
		f.missing(name)
		return ""
	}
	s, ok := f.scalar(e)
	if ok && s == "" {
		f.missing(name)
	}
	return s
}

// textPtr returns a text, nil if missing.
func (f *fields) textPtr(name string) *string {
	f.ask(name, shape{form: aText})
	e := f.value(name)
	if e == nil {
		return nil
	}
	if s, ok := f.scalar(e); ok {
		return &s
	}
	return nil
}

// oneOf returns a text that must be among values, or "" and a Problem.
func (f *fields) oneOf(name string, values ...string) string {
	f.ask(name, shape{form: aText, values: values})
	s := f.textOf(name)
	if s == "" || slices.Contains(values, s) {
		return s
	}
	f.wrong(f.find(name), "one of "+strings.Join(values, ", "))
	return ""
}

// number returns an integer from lo to hi, nil if missing. A quoted number is one.
func (f *fields) number(name string, lo, hi int) *int {
	f.ask(name, shape{form: anInteger, lo: lo, hi: hi})
	e := f.value(name)
	if e == nil {
		return nil
	}
	n, ok := f.o.integer(e.value)
	switch {
	case !ok:
		f.wrong(e, "an integer")
	case n < int64(lo) || n > int64(hi):
		f.wrong(e, fmt.Sprintf("an integer from %d to %d", lo, hi))
	default:
		i := int(n)
		return &i
	}
	return nil
}

// integer reads a number as YAML 1.1 and JSON write it; 3000.0 is an integer too.
func (o *object) integer(n *yaml.Node) (int64, bool) {
	if n.Kind != yaml.ScalarNode {
		return 0, false
	}
	text, base := strings.TrimSpace(o.expand(n.Value)), 10
	if n.Tag == "!!int" {
		base = 0
	}
	if i, err := strconv.ParseInt(text, base, 64); err == nil {
		return i, true
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, false
	}
	return int64(x), true
}

// flag returns a boolean, nil if missing. The plain words of YAML 1.1 count, as
// kubectl turned them into booleans before anybody saw them.
func (f *fields) flag(name string) *bool {
	f.ask(name, shape{form: aFlag})
	e := f.value(name)
	if e == nil {
		return nil
	}
	if b, ok := f.o.boolean(e.value); ok {
		return &b
	}
	f.wrong(e, "true or false")
	return nil
}

func (o *object) boolean(n *yaml.Node) (value, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return false, false
	}
	text := strings.ToLower(o.expand(n.Value))
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case text == "true", plain && (text == "yes" || text == "on" || text == "y"):
		return true, true
	case text == "false", plain && (text == "no" || text == "off" || text == "n"):
		return false, true
	}
	return false, false
}

// loose returns a boolean that may also be any of the words that Ambassador takes
// for true in a few settings; every other word is false.
func (f *fields) loose(name string) bool {
	e := f.value(name)
	if e == nil {
		return false
	}
	if e.value.Kind != yaml.ScalarNode {
		f.wrong(e, "true or false")
		return false
	}
	switch strings.ToLower(f.o.expand(e.value.Value)) {
	case "y", "yes", "t", "true", "on", "1":
		return true
	}
	return false
}

// isSet returns a boolean, false if missing.
func (f *fields) isSet(name string) bool {
	b := f.flag(name)
	return b != nil && *b
}

// object returns the fields of a nested object and notes their positions, nil if
// it is missing.
func (f *fields) object(name string) *fields {
	f.ask(name, shape{form: anObject})
	e := f.value(name)
	if e == nil {
		return nil
	}
	if resolve(e.value).Kind != yaml.MappingNode {
		f.wrong(e, "an object")
		return nil
	}
	sub := f.o.open(e.value, f.path+e.name+".")
	sub.fold, sub.soft = f.fold, f.soft
	if f.recorded {
		sub.record()
	}
	return sub
}

// texts returns an object whose values are all texts, nil if missing.
func (f *fields) texts(name string) map[string]string {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	m := make(map[string]string, len(sub.written))
	for i := range sub.written {
		e := &sub.written[i]
		if isNull(e.value) {
			m[e.name] = ""
		} else if s, ok := sub.scalar(e); ok {
			m[e.name] = s
		}
	}
	return m
}

// finish reports the fields that nobody asked for. unserved says what is known of
// some of them.
func (f *fields) finish(unserved map[string]fate) {
	f.askNoMore(unserved)
	var names []string // that there are
	for i := range f.written {
		e := &f.written[i]
		if e.used {
			continue
		}
		field := f.path + e.name
		switch why, known := unserved[e.name]; {
		case !known:
			if names == nil {
				names = slices.AppendSeq(slices.Clone(f.asked), maps.Keys(unserved))
				slices.Sort(names) // equal guesses must not depend on a map's order
			}
			f.unknown(e, names)
		case why == quiet || isNull(e.value):
		case why == notYet:
			f.o.report(e.key, field, string(why), config.FieldIgnored)
		default:
			f.o.report(e.key, field, string(why), config.Notice).Instead = "nothing changes"
		}
	}
}

// unknown reports a field that Ambassador does not have either.
func (f *fields) unknown(e *entry, known []string) {
	msg := "there is no such field"
	if guess := closest(e.name, known); guess != "" {
		msg += fmt.Sprintf(", did you mean %q?", guess)
	}
	f.o.report(e.key, f.path+e.name, msg, config.FieldIgnored).Unknown = true
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
