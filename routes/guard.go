package routes

import (
	"strings"

	"legate/wire"
)

// guards closes every route that an object guards which cannot be enforced. Where
// it is unclear whether the object covers a route, it does.
func (b *builder) guards() {
	covers := b.covers()
	for _, r := range b.table.Routes {
		if r.Kind == Redirect {
			continue
		}
		if r.Mapping.JWT {
			r.ClosedBy = r.By
			continue
		}
		bypass := r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth
		for i := range covers {
			if c := &covers[i]; !(bypass && c.bypassable) && c.covers(r) {
				r.ClosedBy = c.by
				break
			}
		}
	}
}

// A cover is what one rule of a Guard may cover.
type cover struct {
	by         string
	bypassable bool
	host       string // glob in lower case, without port
	path       string // what every covered path begins with
}

func (b *builder) covers() (covers []cover) {
	for i := range b.world.Guards {
		g := &b.world.Guards[i]
		for _, rule := range g.Rules {
			path, _, _ := strings.Cut(rule.Path, "*")
			host := withoutPort(strings.ToLower(rule.Host))
			if host == "" {
				host = "*"
			}
			covers = append(covers, cover{g.Ref().String(), g.Bypassable, host, path})
		}
	}
	return covers
}

func (c *cover) covers(r *Route) bool { return c.coversPath(r) && c.coversHost(r) }

// coversPath reports whether a path could be the route's and begin like the rule's.
func (c *cover) coversPath(r *Route) bool {
	if r.path == pathRegex {
		return true
	}
	n := min(len(c.path), len(r.Mapping.Prefix))
	if r.path == pathExact && n < len(c.path) {
		return false
	}
	if r.CaseSensitive {
		return c.path[:n] == r.Mapping.Prefix[:n]
	}
	return wire.EqualFold(c.path[:n], r.Mapping.Prefix[:n])
}

// coversHost reports whether an authority could be the route's and the rule's.
// Ports do not count.
func (c *cover) coversHost(r *Route) bool {
	switch {
	case c.host == "*", r.host.kind == hostAny, r.host.kind == hostRegex:
		return true
	case r.host.kind == hostExact:
		return overlap(c.host, withoutPort(r.host.text), false)
	default:
		return overlap(c.host, withoutPort(r.host.glob), true)
	}
}

// withoutPort cuts the port, or a star in its place, off a hostname glob.
func withoutPort(glob string) string {
	i := strings.LastIndexByte(glob, ':')
	if i < 0 || strings.Trim(glob[i+1:], "0123456789*") != "" || strings.HasSuffix(glob, "]") {
		return glob
	}
	return glob[:i]
}

// overlap reports whether some text fits both globs, in which every star stands for
// any run of characters. In b stars are stars only if globB.
func overlap(a, b string, globB bool) bool {
	star := func(s string, i int, glob bool) bool { return glob && i < len(s) && s[i] == '*' }
	// next[j] tells whether a from i+1 and b from j on overlap.
	next := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		row := make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case star(a, i, true):
				row[j] = next[j] || j < len(b) && row[j+1]
			case star(b, j, globB):
				row[j] = row[j+1] || i < len(a) && next[j]
			default:
				row[j] = i < len(a) && j < len(b) && a[i] == b[j] && next[j+1]
			}
		}
		next = row
	}
	return next[0]
}
