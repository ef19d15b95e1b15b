package authn

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxNesting = 64 // of a token's JSON: nobody's claims are that deep

var (
	errNotJSON   = errors.New("it is no JSON")
	errNotObject = errors.New("it is no JSON object")
	errTwice     = errors.New("a name stands twice in one object")
	errNested    = errors.New("it is nested too deeply")
	errRange     = errors.New("a number in it is beyond all bounds")
)

// readObject returns the object that text is, as encoding/json decodes it into a map. A
// name may not stand twice in an object: parsers differ in which of two they take, and so
// would the gateway and who stands behind it (RFC 7519 §4, RFC 8725 §2.6). It reads a
// token's JSON once, where the library does three times, and its texts share one copy of it.
func readObject(text []byte) (map[string]any, error) {
	r := jsonReader{text: string(text)}
	value, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if r.next(); r.at < len(r.text) {
		return nil, errNotJSON
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errNotObject
	}
	return object, nil
}

// A jsonReader walks over JSON (RFC 8259).
type jsonReader struct {
	text string
	at   int
}

// next passes over white space and returns what comes then, 0 for nothing or NUL.
func (r *jsonReader) next() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take passes over c, or reports false where something else comes.
func (r *jsonReader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

// value reads what comes next, that many levels down.
func (r *jsonReader) value(depth int) (any, error) {
	switch c := r.next(); {
	case c == '{':
		return r.object(depth + 1)
	case c == '[':
		return r.list(depth + 1)
	case c == '"':
		return r.quoted()
	case c == '-' || isDigit(c):
		return r.number()
	}
	for _, w := range [...]struct {
		word  string
		value any
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if strings.HasPrefix(r.text[r.at:], w.word) {
			r.at += len(w.word)
			return w.value, nil
		}
	}
	return nil, errNotJSON
}

// Up to so many members and items are collected without a slice that grows.
const (
	fewMembers = 20
	fewItems   = 8
)

func (r *jsonReader) object(depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNested
	}
	type member struct {
		name  string
		value any
	}
	var few [fewMembers]member
	list := few[:0]
	r.at++
	for more := !r.take('}'); more; more = !r.take('}') {
		if len(list) > 0 && !r.take(',') || r.next() != '"' {
			return nil, errNotJSON
		}
		name, err := r.quoted()
		if err != nil {
			return nil, err
		}
		if !r.take(':') {
			return nil, errNotJSON
		}
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, member{name, value})
	}
	object := make(map[string]any, len(list))
	for _, m := range list {
		object[m.name] = m.value
	}
	if len(object) < len(list) {
		return nil, errTwice
	}
	return object, nil
}

func (r *jsonReader) list(depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNested
	}
	var few [fewItems]any
	list := few[:0]
	r.at++
	for more := !r.take(']'); more; more = !r.take(']') {
		if len(list) > 0 && !r.take(',') {
			return nil, errNotJSON
		}
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return append(make([]any, 0, len(list)), list...), nil
}

// quoted reads a string, at whose first quote r is. What is no UTF-8 becomes U+FFFD.
func (r *jsonReader) quoted() (string, error) {
	from, plain, ascii := r.at, true, true
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			raw := r.text[from:r.at]
			if inner := raw[1 : len(raw)-1]; plain && (ascii || utf8.ValidString(inner)) {
				return inner, nil
			}
			var s string
			if json.Unmarshal([]byte(raw), &s) != nil {
				return "", errNotJSON
			}
			return s, nil
		case c == '\\':
			plain = false
			r.at++
		case c < ' ':
			return "", errNotJSON
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", errNotJSON
}

// number reads a number.
func (r *jsonReader) number() (any, error) {
	from := r.at
	r.skip("-")
	if !r.skip("0") && !r.digits() {
		return nil, errNotJSON
	}
	if r.skip(".") && !r.digits() {
		return nil, errNotJSON
	}
	if r.skip("eE") {
		if r.skip("+-"); !r.digits() {
			return nil, errNotJSON
		}
	}
	n, err := strconv.ParseFloat(r.text[from:r.at], 64)
	if err != nil {
		return nil, errRange
	}
	return n, nil
}

// skip passes over one byte of set, or reports false.
func (r *jsonReader) skip(set string) bool {
	if r.at == len(r.text) || strings.IndexByte(set, r.text[r.at]) < 0 {
		return false
	}
	r.at++
	return true
}

// digits passes over digits, or reports false where there is none.
func (r *jsonReader) digits() bool {
	from := r.at
	for r.at < len(r.text) && isDigit(r.text[r.at]) {
		r.at++
	}
	return r.at > from
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
