package templates

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"legate/config"
	"legate/wire"
)

// What templates call the parts of their data.
const (
	requestHeader = "httpRequestHeader"
	token         = "token"
	idToken       = "idToken"
)

// Headers are headers whose values are templates, in the order in which they are set.
type Headers struct {
	list       []header
	names      names
	perRequest bool
	anyClaim   bool // some of them may look at claims that they do not name
}

type header struct {
	name  string   // as written
	line  wire.Add // without its value
	value *Template
}

// A HeaderError is what is wrong with one of a list of headers.
type HeaderError struct {
	Index int
	Field string // "name" or "value"
	Err   error
}

func (e *HeaderError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *HeaderError) Unwrap() error { return e.Err }

var (
	errName  = errors.New("is no name of a header")
	errOwned = errors.New("frames the message or belongs to the connection, and cannot be set")
)

// NewHeaders compiles list. An error is a *HeaderError about the first that is wrong.
func NewHeaders(list []config.HeaderTemplate) (*Headers, error) {
	s := &Headers{names: names{}, list: make([]header, 0, len(list))}
	for i, h := range list {
		lower, id, err := nameOf(&list[i])
		if err != nil {
			return nil, &HeaderError{i, "name", err}
		}
		t, err := Header(h.Value)
		if err != nil {
			return nil, &HeaderError{i, "value", err}
		}
		for name, parent := range t.names {
			s.names[name] = s.names[name] || parent
		}
		s.perRequest = s.perRequest || t.PerRequest()
		s.anyClaim = s.anyClaim || t.whole || t.ends[token] || t.ends[idToken]
		s.list = append(s.list, header{h.Name, wire.Add{ID: id, Name: []byte(lower)}, t})
	}
	return s, nil
}

// nameOf returns the name of h in lower case, or why nobody may set such a header.
func nameOf(h *config.HeaderTemplate) (lower string, id wire.Field, err error) {
	lower = strings.ToLower(h.Name)
	id = wire.LookupField([]byte(lower))
	switch {
	case !isToken(lower):
		return "", id, fmt.Errorf("%q %w", h.Name, errName)
	case wire.HopByHop.Has(id) || id == wire.FieldHost:
		return "", id, fmt.Errorf("%q %w", h.Name, errOwned)
	}
	return lower, id, nil
}

// Names returns the names of list that may be set, in lower case, whatever else is wrong
// with it.
func Names(list []config.HeaderTemplate) [][]byte {
	var names [][]byte
	for i := range list {
		if lower, _, err := nameOf(&list[i]); err == nil {
			names = append(names, []byte(lower))
		}
	}
	return names
}

// isToken reports whether s, in lower case, is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// PerRequest reports whether some of the values depend on the request, and not on its
// token alone.
func (s *Headers) PerRequest() bool { return s.perRequest }

// Uses reports whether some of the templates may look at what is called name.
func (s *Headers) Uses(name string) bool {
	for i := range s.list {
		if s.list[i].value.Uses(name) {
			return true
		}
	}
	return false
}

// Render returns the lines to set, made of data: of the headers whose values depend on
// the request where perRequest is true, of the others where it is false. A header that is
// not to be set is left out.
func (s *Headers) Render(data map[string]any, perRequest bool) ([]wire.Add, error) {
	var lines []wire.Add
	for i := range s.list {
		h := &s.list[i]
		if h.value.PerRequest() != perRequest {
			continue
		}
		line, set, err := h.render(data)
		if err != nil {
			return nil, err
		}
		if set {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// all returns the lines to set, made of data, in the order of s.
func (s *Headers) all(data map[string]any) ([]wire.Add, error) {
	lines := make([]wire.Add, 0, len(s.list))
	for i := range s.list {
		line, set, err := s.list[i].render(data)
		if err != nil {
			return nil, err
		}
		if set {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// Each is Render of all headers for who goes on without those whose templates fail; the
// error says what these have to say.
func (s *Headers) Each(data map[string]any) ([]wire.Add, error) {
	lines := make([]wire.Add, 0, len(s.list))
	var failed error
	for i := range s.list {
		line, set, err := s.list[i].render(data)
		failed = errors.Join(failed, err)
		if set && err == nil {
			lines = append(lines, line)
		}
	}
	return lines, failed
}

func (h *header) render(data map[string]any) (line wire.Add, set bool, err error) {
	value, set, err := h.value.Value(data)
	if err != nil {
		return line, false, fmt.Errorf("generating header %q: %w", h.name, err)
	}
	line = h.line
	line.Value = []byte(value)
	return line, set, nil
}

// Set makes each of lines the only one of its name in e. Budget: 0 allocs once e has
// grown.
func Set(e *wire.Edits, lines []wire.Add) {
	for _, l := range lines {
		e.Remove(l.ID, l.Name)
		e.AddLine(l)
	}
}

// RequestHeader returns the fields of a request as templates see them, with what was
// changed about them so far: .httpRequestHeader.
func RequestHeader(head *wire.Head, edits *wire.Edits) http.Header {
	h := make(http.Header, head.Len())
	for i := range head.Len() {
		id, name, value := head.Line(i)
		if !edits.Drops(id, name) {
			h.Add(string(name), string(value))
		}
	}
	for _, a := range edits.Adds() {
		h.Add(a.FieldName(), string(a.Value))
	}
	return h
}
