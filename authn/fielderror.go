package authn

import (
	"errors"
	"fmt"

	"legate/templates"
)

// A fieldError is what is wrong with one field of an object, below the part that was to
// be made ready: "injectRequestHeaders[0].value".
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.err.Error() }

func (e *fieldError) Unwrap() error { return e.err }

// inField returns err, which is one of package templates about what field holds, with the
// field that is to blame.
func inField(field string, err error) error {
	if h, ok := errors.AsType[*templates.HeaderError](err); ok {
		if field == "errorResponse" {
			field += ".headers"
		}
		return &fieldError{fmt.Sprintf("%s[%d].%s", field, h.Index, h.Field), err}
	}
	return &fieldError{field + ".bodyTemplate", err}
}
