package script

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Field is one line of a head: a name in lower case and a value.
type Field struct{ Name, Value string }

// A Head is the fields of a message with, in front, what stands in its start line under
// the names that HTTP/2 has for it: ":path", ":status".
type Head struct {
	Fields  []Field
	Changed bool
}

// framing are the fields that the engines own: scripts may look at them.
var framing = map[string]bool{
	"connection": true, "content-length": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true,
}

// Framing reports whether a field, named in lower case, is left as it is whatever a
// script says of it.
func Framing(name string) bool { return framing[name] }

// canonical returns a name as it stands in a Head.
func canonical(name string) string {
	name = strings.ToLower(name)
	if name == "host" {
		return ":authority"
	}
	return name
}

// Get returns the values of a name, joined by commas, and whether there are any.
func (h *Head) Get(name string) (string, bool) {
	all := h.values(name)
	return strings.Join(all, ","), len(all) > 0
}

func (h *Head) values(name string) (all []string) {
	name = canonical(name)
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			all = append(all, h.Fields[i].Value)
		}
	}
	return all
}

var errPseudo = errors.New("what stands in the start line can only be replaced")

// add adds a line beside those that are there.
func (h *Head) add(name, value string) error {
	name = canonical(name)
	if err := valid(name, value); err != nil || framing[name] {
		return err
	}
	if name[0] == ':' {
		return errPseudo
	}
	h.Fields = append(h.Fields, Field{name, value})
	h.Changed = true
	return nil
}

// replace makes value the only one of a name.
func (h *Head) replace(name, value string) error {
	name = canonical(name)
	if err := valid(name, value); err != nil || framing[name] {
		return err
	}
	kept, found := h.Fields[:0], false
	for _, f := range h.Fields {
		switch {
		case f.Name != name:
			kept = append(kept, f)
		case !found:
			kept, found = append(kept, Field{name, value}), true
		}
	}
	h.Fields = kept
	if !found {
		if name[0] == ':' {
			return fmt.Errorf("there is no %s here", name)
		}
		h.Fields = append(h.Fields, Field{name, value})
	}
	h.Changed = true
	return nil
}

// remove takes every line of a name away.
func (h *Head) remove(name string) error {
	name = canonical(name)
	if strings.HasPrefix(name, ":") {
		return errPseudo
	}
	if framing[name] {
		return nil
	}
	kept := h.Fields[:0]
	for _, f := range h.Fields {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	h.Changed = h.Changed || len(kept) < len(h.Fields)
	h.Fields = kept
	return nil
}

// valid refuses what would not stay one field on its way (RFC 9110 §5.5).
func valid(name, value string) error {
	if !isToken(strings.TrimPrefix(name, ":")) {
		return fmt.Errorf("%.60q cannot be a header's name", name)
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("the value of %s holds a line end", name)
	}
	switch name {
	case ":status":
		if n, err := strconv.Atoi(value); err != nil || n < 200 || n > 599 {
			return errors.New(":status must be from 200 to 599")
		}
	case ":method":
		if !isToken(value) {
			return errors.New(":method must be a method's name")
		}
	case ":path":
		if !strings.HasPrefix(value, "/") || strings.ContainsAny(value, " #") {
			return errors.New(":path must begin with / and hold neither a space nor #")
		}
	}
	return nil
}

// isToken reports whether text is a token (RFC 9110 §5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// reply makes a Reply of the fields that respond() was given.
func reply(fields []Field, body string) (*Reply, error) {
	r := &Reply{Body: body}
	for _, f := range fields {
		name := canonical(f.Name)
		if err := valid(name, f.Value); err != nil {
			return nil, err
		}
		switch {
		case name == ":status":
			r.Status, _ = strconv.Atoi(f.Value) // it is valid
		case name[0] != ':' && !framing[name]:
			r.Fields = append(r.Fields, Field{name, f.Value})
		}
	}
	if r.Status == 0 {
		return nil, errors.New("respond needs :status")
	}
	return r, nil
}
