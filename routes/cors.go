package routes

import (
	"slices"
	"strings"

	"legate/config"
)

// A CORS is what a route tells browsers about other origins, ready to be told. A field
// that is nil is not told.
type CORS struct {
	Credentials                       bool
	Methods, Headers, Exposed, MaxAge []byte
	AsksMethod, AsksHeaders           bool // what a preflight asks for is granted, instead of Methods and Headers

	any     bool
	origins []string
}

// Allows reports whether pages of origin may read the route's answers. Origins are
// compared as they are written. Budget: 0 allocs.
func (c *CORS) Allows(origin []byte) bool {
	if c.any {
		return true
	}
	for _, o := range c.origins { //nolint:modernize // because slices.Contains would need the origin as a text, and that allocates
		if o == string(origin) {
			return true
		}
	}
	return false
}

// cors makes a policy ready, nil for none. What cannot be written in a header is named
// and left out.
func (b *builder) cors(owner *config.Meta, field string, c *config.CORS) *CORS {
	if c == nil {
		return nil
	}
	list := func(name string, items []string) []byte {
		value := strings.Join(items, ", ")
		if strings.ContainsFunc(value, notInValue) {
			b.problem(owner.Problem(field+"."+name, "a header value cannot hold a line break or another control character", config.FieldIgnored))
			return nil
		}
		if value == "" {
			return nil
		}
		return []byte(value)
	}
	if len(c.Origins) == 0 {
		b.problem(owner.Problem(field+".origins", "names no origin, so that no page may read anything", config.Notice))
	}
	return &CORS{
		Credentials: c.Credentials,
		Methods:     list("methods", c.Methods),
		Headers:     list("headers", c.Headers),
		Exposed:     list("exposed_headers", c.ExposedHeaders),
		MaxAge:      list("max_age", []string{strings.TrimSpace(c.MaxAge)}),
		AsksMethod:  slices.Equal(c.Methods, []string{"*"}),
		AsksHeaders: slices.Equal(c.Headers, []string{"*"}),
		any:         slices.Contains(c.Origins, "*"),
		origins:     c.Origins,
	}
}

func notInValue(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
