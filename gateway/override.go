package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"legate/config"
	"legate/format"
	"legate/wire"
)

// An override is the body that answers of one status get instead of their own.
type override struct {
	status      int
	body        *format.Format
	contentType []byte
}

var typeJSON = []byte("application/json")

// overrides are those of r: its own, or else the Module's.
func (c *compiler) overrides(m *config.Mapping) []override {
	if m.BypassErrorResponseOverrides != nil && *m.BypassErrorResponseOverrides {
		return nil
	}
	if own := c.compileOverrides(&m.Meta, m.ErrorResponseOverrides); own != nil {
		return own
	}
	return c.moduleOverrides
}

// compileOverrides makes rules ready; one that makes no sense is named and left out.
func (c *compiler) compileOverrides(owner *config.Meta, rules []config.ErrorOverride) (ready []override) {
	for i := range rules {
		r := &rules[i]
		o := override{status: r.Status, contentType: textPlain}
		var notices []string
		var err error
		switch {
		case r.JSON != nil:
			o.contentType = typeJSON
			o.body, notices, err = format.CompileJSON(r.JSON, format.Body, true)
		case r.Text != nil:
			o.body, notices, err = format.Compile(*r.Text, format.Body)
		default:
			var text string
			c.next.base.files = true
			if text, err = overrideFile(r.File); err == nil {
				o.body, notices, err = format.Compile(text, format.Body)
			}
		}
		if err == nil && strings.ContainsFunc(r.ContentType, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			err = errors.New("content_type cannot be a header's value")
		}
		if err != nil {
			p := owner.Problem(r.Field, err.Error(), config.FieldIgnored)
			p.Instead = "the rule is skipped"
			c.problems = append(c.problems, p)
			continue
		}
		for _, n := range notices {
			p := owner.Problem(r.Field, n, config.Notice)
			p.Instead = "what stands for a missing value is written"
			c.problems = append(c.problems, p)
		}
		if r.ContentType != "" {
			o.contentType = []byte(r.ContentType)
		}
		ready = append(ready, o)
	}
	return ready
}

// maxOverrideFile is far more than a page of an error needs.
const maxOverrideFile = 1 << 20

// secretPlaces hold what no client may read, whoever names a file there.
var secretPlaces = []string{"/proc/", "/sys/", "/dev/", "/run/secrets/", "/var/run/secrets/"}

// overrideFile reads the text of a rule.
func overrideFile(name string) (string, error) {
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", fmt.Errorf("text_format_source: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", fmt.Errorf("text_format_source: %w", err)
	}
	for _, place := range secretPlaces {
		if strings.HasPrefix(path, place) {
			return "", fmt.Errorf("text_format_source: what is in %s is not shown to clients", place)
		}
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxOverrideFile { // before it is opened: a pipe would wait for who writes
		return "", fmt.Errorf("text_format_source: %s is no file of at most 1 MiB", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("text_format_source: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxOverrideFile))
	if err != nil {
		return "", fmt.Errorf("text_format_source: %w", err)
	}
	if bytes.Contains(b, []byte("PRIVATE KEY-----")) { // wherever keys are mounted
		return "", errors.New("text_format_source: a private key is not shown to clients")
	}
	return string(b), nil
}

// overrideBody gives an answer the body that the route, or the Module, wants for its
// status, whoever gave it. The status stays, and so do the upstream's other headers.
func (x *Exchange) overrideBody() {
	status := x.reply.status
	if x.link != nil {
		status = cmp.Or(x.status, x.Resp.Status)
	}
	if status < 400 {
		return
	}
	for i := range x.Route.overrides {
		if o := &x.Route.overrides[i]; o.status == status {
			x.wear(o)
			return
		}
	}
}

// wear makes the answer say what o does.
func (x *Exchange) wear(o *override) {
	body := x.render(o.body)
	x.ToClient.Set(wire.FieldContentType, o.contentType)
	if x.link == nil {
		x.reply.body = string(body)
		return
	}
	x.worn = body
	x.ToClient.Unadd(wire.FieldContentEncoding)
	x.ToClient.Drop(wire.FieldContentEncoding)
}

// tellWorn sends the body that was put in the place of the upstream's. The connection
// to that stays if what it says is at hand.
func (x *Exchange) tellWorn() error {
	x.stopPump()
	if !x.Resp.NoBody && !x.link.Done() {
		if _, whole := x.link.Rest(); !whole {
			x.link.Abort()
		}
	}
	if len(x.worn) > 0 {
		if _, err := x.stream.WriteBody(x.worn); err != nil {
			return &clientError{err}
		}
	}
	return clientSide(x.stream.End(nil))
}
