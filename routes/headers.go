package routes

import (
	"errors"
	"strings"

	"legate/config"
	"legate/format"
	"legate/wire"
)

// HeaderEdits are what a route changes about headers, ready to be applied: Remove,
// then the values of Formats, which may speak of what is left, then Add, then each
// formatted line that has a value. The zero value changes nothing.
type HeaderEdits struct {
	Formats []FormattedAdd

	removed, replaced names
	adds              []wire.Add
}

// names are header names, in lower case.
type names struct {
	known  wire.FieldSet
	others [][]byte
}

// A FormattedAdd is a line whose value depends on the request.
type FormattedAdd struct {
	Add    wire.Add // without its value
	Text   string   // as its author wrote it
	Value  *format.Format
	Append bool // beside the lines of that name, not instead of them
}

// Apply makes edits without Formats. The bytes stay the table's.
// Budget: 0 allocs once to has been used.
func (e *HeaderEdits) Apply(to *wire.Edits) {
	e.Remove(to)
	e.Add(to)
}

// Remove takes away the names that the route's author wants removed, with what was
// added under them. Budget: 0 allocs once to has been used.
func (e *HeaderEdits) Remove(to *wire.Edits) { e.removed.drop(to) }

// Add adds the ready lines. Budget: 0 allocs once to has been used.
func (e *HeaderEdits) Add(to *wire.Edits) {
	e.replaced.drop(to)
	for _, a := range e.adds {
		to.AddLine(a)
	}
}

// Put adds a formatted line with its value. Budget: 0 allocs once to has been used.
func (a *FormattedAdd) Put(to *wire.Edits, value []byte) {
	if !a.Append {
		to.Remove(a.Add.ID, a.Add.Name)
	}
	ready := a.Add
	ready.Value = value
	to.AddLine(ready)
}

func (n *names) add(name []byte) {
	if f := wire.LookupField(name); f != wire.FieldOther {
		n.known |= wire.SetOf(f)
		return
	}
	n.others = append(n.others, name)
}

func (n *names) drop(to *wire.Edits) {
	if n.known != 0 {
		to.DropSet(n.known)
		for f := wire.FieldOther + 1; f < wire.NumFields && len(to.Adds()) > 0; f++ {
			if n.known.Has(f) {
				to.Unadd(f)
			}
		}
	}
	for _, name := range n.others {
		to.Remove(wire.FieldOther, name)
	}
}

// Removes returns the names that e removes, but for those that it only replaces.
func (e *HeaderEdits) Removes() (names []string) {
	for f := wire.FieldOther + 1; f < wire.NumFields; f++ {
		if e.removed.known.Has(f) {
			names = append(names, f.String())
		}
	}
	for _, name := range e.removed.others {
		names = append(names, string(name))
	}
	return names
}

// headerWishes are what the members of a group want changed about headers.
type headerWishes struct {
	adds    []headerWish
	removes []headerWish // of the last member that has any say
}

// A headerWish is one header of one Mapping.
type headerWish struct {
	config.HeaderAdd
	owner *config.Meta
	field string
}

// collect notes the wishes of one member, direction being "request" or "response":
// its own, or the Module's where it says nothing.
func (w *headerWishes) collect(m *config.Mapping, direction string, own, defaults *config.HeaderWishes, module *config.Meta) {
	adds, addsOf, addsField := own.Add, &m.Meta, "add_"+direction+"_headers"
	if adds == nil && defaults.Add != nil {
		adds, addsOf, addsField = defaults.Add, module, defaults.AddField
	}
	removes, removesOf, removesField := own.Remove, &m.Meta, "remove_"+direction+"_headers"
	if removes == nil && defaults.Remove != nil {
		removes, removesOf, removesField = defaults.Remove, module, defaults.RemoveField
	}
	for _, a := range adds {
		wish := headerWish{a, addsOf, addsField + "." + a.Name}
		if i := w.index(a.Name); i >= 0 {
			w.adds[i] = wish
		} else {
			w.adds = append(w.adds, wish)
		}
	}
	if removes == nil {
		return
	}
	w.removes = w.removes[:0]
	for _, name := range removes {
		w.removes = append(w.removes, headerWish{config.HeaderAdd{Name: name}, removesOf, removesField})
	}
}

func (w *headerWishes) index(name string) int {
	for i := range w.adds {
		if wire.EqualFold(w.adds[i].Name, name) {
			return i
		}
	}
	return -1
}

// compile makes the wishes ready; what cannot be fulfilled is named and left out.
func (w *headerWishes) compile(b *builder) (e HeaderEdits) {
	for i := range w.removes {
		if name, ok := w.removes[i].name(b); ok {
			e.removed.add(name)
		}
	}
	for i := range w.adds {
		w.adds[i].compile(b, &e)
	}
	return e
}

// compile adds one line to e.
func (w *headerWish) compile(b *builder, e *HeaderEdits) {
	name, ok := w.name(b)
	if !ok {
		return
	}
	value, notices, err := compileValue(w.Value)
	if err != nil { // a Mapping's own was looked at before: it is the Module's
		b.problem(w.owner.Problem(w.field, err.Error(), config.FieldIgnored))
		return
	}
	for _, n := range notices {
		p := w.owner.Problem(w.field, n, config.Notice)
		p.Instead = "nothing stands in its place"
		b.problem(p)
	}
	line := wire.Add{ID: wire.LookupField(name), Name: name}
	text, constant := value.Constant()
	switch {
	case !constant:
		e.Formats = append(e.Formats, FormattedAdd{line, w.Value, value, w.Append})
		return
	case len(wire.TrimOWS(text)) == 0: // Envoy skips what is empty, also where it would replace
		return
	case !w.Append:
		e.replaced.add(name)
	}
	line.Value = wire.TrimOWS(text)
	e.adds = append(e.adds, line)
}

// compileValue makes a header's value ready.
func compileValue(value string) (f *format.Format, notices []string, err error) {
	if strings.ContainsAny(value, "\r\n\x00") {
		return nil, nil, errors.New("a header value cannot hold a line break or NUL")
	}
	return format.Compile(value, format.Header)
}

// readHeaderValues looks at the values that a Mapping adds: one that makes no sense
// keeps it from serving, as Envoy would refuse it.
func (b *builder) readHeaderValues(d *draft) (string, error) {
	m := d.mapping
	for _, adds := range []struct {
		field string
		list  []config.HeaderAdd
	}{{"add_request_headers.", m.Request.Add}, {"add_response_headers.", m.Response.Add}} {
		for _, a := range adds.list {
			if _, _, err := compileValue(a.Value); err != nil {
				return adds.field + a.Name, err
			}
		}
	}
	return "", nil
}

// name returns the wish's header name in lower case, or why it cannot be edited.
func (w *headerWish) name(b *builder) ([]byte, bool) {
	name := []byte(w.Name)
	wire.LowerInPlace(name)
	f := wire.LookupField(name)
	msg := ""
	switch {
	case strings.HasPrefix(w.Name, ":"), f == wire.FieldHost:
		msg = "pseudo headers and host cannot be edited; see host_rewrite"
	case f != wire.FieldOther && wire.HopByHop.Has(f):
		msg = "belongs to the connection or the framing and cannot be edited"
	case !isToken(w.Name):
		msg = "is not a header name"
	}
	if msg != "" {
		b.problem(w.owner.Problem(w.field, w.Name+" "+msg, config.FieldIgnored))
	}
	return name, msg == ""
}

// isToken reports whether s may be a field name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
