package authn

import (
	"fmt"
	"regexp"

	"legate/config"
	"legate/wire"
)

// A condition is a test of one header of the request, as earlier filters left it.
type condition struct {
	name   fieldName
	value  *string
	regex  *regexp.Regexp // nil for none
	negate bool
}

// newCondition compiles c; nil always holds.
func newCondition(c *config.HeaderCondition) (*condition, error) {
	if c == nil {
		return nil, nil
	}
	k := &condition{name: newFieldName(c.Name), value: c.Value, negate: c.Negate}
	if c.Regex != "" {
		var err error
		if k.regex, err = regexp.Compile(c.Regex); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// holds reports whether c passes the test. Budget: 0 allocs.
func (k *condition) holds(c *Call) bool {
	if k == nil {
		return true
	}
	value, found := c.field(&k.name)
	var is bool
	switch {
	case k.value != nil:
		is = found && string(value) == *k.value
	case k.regex != nil:
		is = found && k.regex.Match(value)
	default:
		is = len(value) > 0
	}
	return is != k.negate
}

// String says what the test is.
func (k *condition) String() string {
	text := "header " + k.name.text
	switch {
	case k.value != nil:
		text += fmt.Sprintf(" = %q", *k.value)
	case k.regex != nil:
		text += fmt.Sprintf(" ~ %q", k.regex)
	}
	if k.negate {
		return "not " + text
	}
	return text
}

// A fieldName is the name of a header, looked up once.
type fieldName struct {
	id    wire.Field
	text  string // in lower case
	bytes []byte
}

func newFieldName(lower string) fieldName {
	return fieldName{wire.LookupField([]byte(lower)), lower, []byte(lower)}
}

// field returns the first value that the request has for a name by now, and whether there
// is one. Budget: 0 allocs.
func (c *Call) field(n *fieldName) (value []byte, found bool) { return n.in(c.Head, c.Edits) }

// in returns the first value of n in head as edits change it. Budget: 0 allocs.
func (n *fieldName) in(head *wire.Head, edits *wire.Edits) (value []byte, found bool) {
	if !edits.Drops(n.id, n.bytes) {
		if n.id != wire.FieldOther {
			value, found = head.Get(n.id), head.Has(n.id)
		} else {
			value, found = head.Find(n.text)
		}
	}
	if found {
		return value, true
	}
	adds := edits.Adds()
	for i := range adds {
		if a := &adds[i]; a.ID == n.id && (n.id != wire.FieldOther || string(a.Name) == n.text) {
			return a.Value, true
		}
	}
	return nil, false
}
