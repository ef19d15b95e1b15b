package authn

import (
	"encoding/json"
	"errors"
	"slices"
)

const maxNesting = 64 // of a token's JSON: nobody's claims are that deep

var (
	errNotJSON = errors.New("it is no JSON")
	errTwice   = errors.New("a name stands twice in one object")
	errNested  = errors.New("it is nested too deeply")
)

// uniqueNames reports whether text is JSON in which no object has a name twice: parsers
// differ in which of two they take, and so would the gateway and who stands behind it
// (RFC 7519 §4, RFC 8725 §2.6).
func uniqueNames(text []byte) error {
	if !json.Valid(text) {
		return errNotJSON
	}
	s := nameScanner{text: text}
	return s.value(0)
}

// A nameScanner walks over text that is known to be JSON.
type nameScanner struct {
	text []byte
	at   int
}

// next passes over white space, commas and colons, and returns what comes then.
func (s *nameScanner) next() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.at++
		default:
			return c
		}
	}
}

func (s *nameScanner) value(depth int) error {
	switch s.next() {
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.list(depth + 1)
	case '"':
		s.quoted()
		return nil
	}
	for s.at < len(s.text) { // a number or a word
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n', ',', '}', ']':
			return nil
		}
		s.at++
	}
	return nil
}

func (s *nameScanner) list(depth int) error {
	if depth > maxNesting {
		return errNested
	}
	for s.at++; s.next() != ']'; {
		if err := s.value(depth); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

// fewNames is the number of names up to which looking at each beats a map.
const fewNames = 24

func (s *nameScanner) object(depth int) error {
	if depth > maxNesting {
		return errNested
	}
	var few [fewNames]string
	list := few[:0]
	var many map[string]bool
	for s.at++; s.next() != '}'; {
		name := s.name()
		switch {
		case many != nil:
			if many[name] {
				return errTwice
			}
			many[name] = true
		case slices.Contains(list, name):
			return errTwice
		case len(list) < fewNames:
			list = append(list, name)
		default:
			many = make(map[string]bool, 4*fewNames)
			for _, n := range list {
				many[n] = true
			}
			many[name] = true
		}
		if err := s.value(depth); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

// name returns the name that comes next, without its escapes.
func (s *nameScanner) name() string {
	raw, escaped := s.quoted()
	if !escaped {
		return string(raw[1 : len(raw)-1])
	}
	var name string
	if json.Unmarshal(raw, &name) != nil {
		return string(raw) // cannot be: the text is JSON
	}
	return name
}

// quoted passes over a string, and returns it in its quotes and whether it has escapes.
func (s *nameScanner) quoted() (raw []byte, escaped bool) {
	from := s.at
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	return s.text[from:s.at], escaped
}
