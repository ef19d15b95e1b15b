package templates

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"legate/config"
	"legate/wire"
)

// A Response is what refusals of one object look like.
type Response struct {
	headers *Headers  // nil for the default
	body    *Template // nil for the default
}

// A BodyError is what is wrong with a bodyTemplate.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *BodyError) Unwrap() error { return e.Err }

// NewResponse compiles c. An error is a *HeaderError or a *BodyError.
func NewResponse(c *config.ErrorResponse) (*Response, error) {
	r := &Response{}
	var err error
	if c.Headers != nil {
		if r.headers, err = NewHeaders(c.Headers); err != nil {
			return nil, err
		}
	}
	if c.Body != "" {
		if r.body, err = Body(c.Body); err != nil {
			return nil, &BodyError{err}
		}
	}
	return r, nil
}

// A Refusal is what is told of a request that goes no further.
type Refusal struct {
	Status    int
	Message   string
	Err       error // .error of templates
	RequestID string
	Header    func() http.Header // .httpRequestHeader; asked for only if it is needed
	Extra     map[string]any     // further names for templates, which json shows too
}

// An Answer is a rendered refusal.
type Answer struct {
	Status      int
	ContentType []byte // nil for none
	Headers     []wire.Add
	Body        []byte
	Err         error // why it is not what its author wanted; nil for nothing
}

var applicationJSON = []byte("application/json")

// Render returns r's answer to f. Templates that fail make it a 500 that says so.
func (r *Response) Render(f *Refusal) Answer {
	if r.headers == nil && r.body == nil {
		return plainAnswer(f)
	}
	doc := f.document()
	if r.usesHeader() && f.Header != nil {
		doc[requestHeader] = f.Header()
	}
	a := Answer{Status: f.Status, ContentType: applicationJSON}
	if r.headers != nil {
		lines, err := r.headers.all(doc)
		if err != nil {
			return f.failed(err)
		}
		a.ContentType, a.Headers = nil, lines
		a.takeContentType()
	}
	text, err := doc.json(), error(nil)
	if r.body != nil {
		text, err = r.body.Text(doc)
	}
	if err != nil {
		return f.failed(fmt.Errorf("generating body: %w", err))
	}
	a.Body = []byte(text)
	return a
}

func (r *Response) usesHeader() bool {
	return r.headers != nil && r.headers.Uses(requestHeader) || r.body != nil && r.body.Uses(requestHeader)
}

// takeContentType makes the last Content-Type among the headers the answer's own.
func (a *Answer) takeContentType() {
	a.Headers = slices.DeleteFunc(a.Headers, func(h wire.Add) bool {
		if h.ID == wire.FieldContentType {
			a.ContentType = h.Value
		}
		return h.ID == wire.FieldContentType
	})
}

// plainAnswer is the answer that refusals have where nobody asks for another.
func plainAnswer(f *Refusal) Answer {
	return Answer{Status: f.Status, ContentType: applicationJSON, Body: []byte(f.document().json())}
}

// failed is the answer where a template failed.
func (f *Refusal) failed(err error) Answer {
	a := plainAnswer(&Refusal{Status: http.StatusInternalServerError, Message: "errorResponse: " + err.Error(), RequestID: f.RequestID, Extra: f.Extra})
	a.Err = err
	return a
}

// A document is the data of a response's templates.
type document map[string]any

func (f *Refusal) document() document {
	d := document{
		"status_code": f.Status, "httpStatus": f.Status, "message": f.Message, "error": f.Err,
		"request_id": f.RequestID, "requestId": f.RequestID,
	}
	maps.Copy(d, f.Extra)
	return d
}

// hidden are the names of a document that are for templates, and that JSON does not show.
var hidden = []string{"httpStatus", "error", "requestId", requestHeader}

// MarshalJSON shows what is meant for clients.
func (d document) MarshalJSON() ([]byte, error) {
	shown := maps.Clone(map[string]any(d))
	for _, name := range hidden {
		delete(shown, name)
	}
	if status, _ := d["status_code"].(int); status < http.StatusInternalServerError {
		delete(shown, "request_id")
	}
	return json.Marshal(shown)
}

// json returns d as clients see it.
func (d document) json() string {
	text, err := indented("", d)
	if err != nil {
		return "" // only what Extra brings could not be shown
	}
	return text
}
