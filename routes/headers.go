package routes

import (
	"strings"

	"legate/config"
	"legate/wire"
)

// HeaderEdits are what a route changes about headers, ready to be applied: first
// names are removed, then lines added. The zero value changes nothing.
type HeaderEdits struct {
	Drop  wire.FieldSet // known names to remove
	Names [][]byte      // other names to remove, in lower case
	Adds  []wire.Add
}

// Apply adds e to the edits made so far. The bytes stay the table's.
// Budget: 0 allocs once to has been used.
func (e *HeaderEdits) Apply(to *wire.Edits) {
	if e.Drop != 0 {
		to.DropSet(e.Drop)
		for f := wire.FieldOther + 1; f < wire.NumFields && len(to.Adds()) > 0; f++ {
			if e.Drop.Has(f) {
				to.Unadd(f)
			}
		}
	}
	for _, name := range e.Names {
		to.DropName(name)
	}
	for _, a := range e.Adds {
		to.AddLine(a)
	}
}

// Removes returns the names that e removes, but for those that it only replaces.
func (e *HeaderEdits) Removes() (names []string) {
	replaced := func(name string) bool {
		for i := range e.Adds {
			if e.Adds[i].FieldName() == name {
				return true
			}
		}
		return false
	}
	for f := wire.FieldOther + 1; f < wire.NumFields; f++ {
		if e.Drop.Has(f) && !replaced(f.String()) {
			names = append(names, f.String())
		}
	}
	for _, name := range e.Names {
		if !replaced(string(name)) {
			names = append(names, string(name))
		}
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

// collect notes the wishes of one member, direction being "request" or "response".
func (w *headerWishes) collect(owner *config.Meta, direction string, adds []config.HeaderAdd, removes []string) {
	for _, a := range adds {
		wish := headerWish{a, owner, "add_" + direction + "_headers." + a.Name}
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
		w.removes = append(w.removes, headerWish{config.HeaderAdd{Name: name}, owner, "remove_" + direction + "_headers"})
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
			e.drop(name)
		}
	}
	for i := range w.adds {
		wish := &w.adds[i]
		name, ok := wish.name(b)
		if !ok {
			continue
		}
		value, problem := literal(wish.Value)
		if problem != "" {
			b.problem(wish.owner.Problem(wish.field, problem, config.FieldIgnored))
			continue
		}
		if value == "" { // Ambassador skips what is empty, also where it would replace
			continue
		}
		if !wish.Append {
			e.drop(name)
		}
		e.Adds = append(e.Adds, wire.Add{ID: wire.LookupField(name), Name: name, Value: []byte(value)})
	}
	return e
}

func (e *HeaderEdits) drop(name []byte) {
	if f := wire.LookupField(name); f != wire.FieldOther {
		e.Drop |= wire.SetOf(f)
		return
	}
	e.Names = append(e.Names, name)
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

// literal returns the value that a format stands for, or what is wrong with it.
func literal(format string) (value, problem string) {
	if strings.ContainsAny(format, "\r\n\x00") {
		return "", "a header value cannot hold a line break or NUL"
	}
	var out strings.Builder
	for {
		text, rest, found := strings.Cut(format, "%")
		out.WriteString(text)
		switch {
		case !found:
			return wireTrim(out.String()), ""
		case !strings.HasPrefix(rest, "%"):
			return "", "%COMMAND% in header values is not served yet"
		}
		out.WriteByte('%')
		format = rest[1:]
	}
}

// wireTrim takes off what a receiver would not see as part of the value.
func wireTrim(s string) string { return strings.Trim(s, " \t") }
