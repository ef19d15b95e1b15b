package decode

// A shape is what a reader expects of a field, for the CRDs: they tell an API server to
// refuse what a reader would.
type shape struct {
	form   form
	lo, hi int      // of an integer
	values []string // that a text is one of; nil for any
}

// A form is how a field is written.
type form uint8

// The forms. What can be written in several ways is anything.
const (
	anything form = iota
	aText
	anInteger
	aFlag
	aSpan // text or number
	anObject
	manyObjects
	manyTexts
	finished // no field: all that the object may hold is known
)

// ask tells whoever wants to know what is expected of the named field of f, "" for f
// itself.
func (f *fields) ask(name string, s shape) {
	if f.o.expects != nil {
		f.o.expects(f, name, s)
	}
}

// askNoMore tells that all fields of f are known now, with those that are not served.
func (f *fields) askNoMore(unserved map[string]fate) {
	if f.o.expects == nil {
		return
	}
	for name := range unserved {
		f.ask(name, shape{})
	}
	f.ask("", shape{form: finished})
}
