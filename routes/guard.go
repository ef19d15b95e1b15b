package routes

import (
	"cmp"
	"slices"
	"strings"

	"legate/config"
	"legate/wire"
)

// closes returns the object that closes r because it guards r and cannot be enforced, ""
// for none. Where it is unclear whether an object covers a route, it does.
func (b *builder) closes(r *Route) string {
	switch {
	case r.Kind == Redirect:
	case r.Mapping.JWTBroken:
		return r.By
	case len(b.covers) > 0:
		return closedBy(b.covers, r)
	}
	return ""
}

// closedBy returns the object that closes r, or "".
func closedBy(covers []cover, r *Route) string {
	bypass := r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth
	opened := map[string]bool{} // kinds of Guard by whose own rules r is open
	p := r.pathSet()
	for i := range covers {
		switch c := &covers[i]; {
		case bypass && c.bypassable, opened[c.kind] && !c.broken:
		case c.exempt:
			opened[c.kind] = c.containsPaths(p) && c.containsHosts(r)
		case c.meetsPaths(p) && c.meetsHosts(r):
			return c.by
		}
	}
	return ""
}

// A pathSet is the paths that a route matches, or a few more: those that begin with
// a text, or only that text.
type pathSet struct {
	start string // in lower case if fold
	exact bool
	fold  bool // regardless of case
}

func (rt *Route) pathSet() pathSet {
	if rt.path == pathRegex {
		return pathSet{start: literalStart(rt)}
	}
	p := pathSet{rt.Mapping.Prefix, rt.path == pathExact, !rt.CaseSensitive}
	if p.fold {
		p.start = lower(p.start)
	}
	return p
}

func lower(s string) string {
	b := []byte(s)
	wire.LowerInPlace(b)
	return string(b)
}

// A cover is what one rule of a Guard matches.
type cover struct {
	by, kind   string // of the Guard
	broken     bool   // see config.Guard
	bypassable bool
	exempt     bool   // what it matches is open
	host       string // glob in lower case, without port
	path       string // glob
	folded     string // path in lower case
}

// newCovers returns what the Guards' rules match, in the order in which they decide.
func newCovers(guards []config.Guard) []cover {
	guards = slices.Clone(guards)
	slices.SortStableFunc(guards, func(x, y config.Guard) int {
		return cmp.Or(cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	type ranked struct {
		cover
		precedence int
	}
	var list []ranked
	for i := range guards {
		for _, rule := range guards[i].Rules {
			if c, ok := newCover(&guards[i], rule); ok {
				list = append(list, ranked{c, rule.Precedence})
			}
		}
	}
	slices.SortStableFunc(list, func(x, y ranked) int { return cmp.Compare(y.precedence, x.precedence) })
	covers := make([]cover, 0, len(list))
	for _, r := range list {
		covers = append(covers, r.cover)
	}
	return covers
}

// newCover returns what a rule matches, or more where its globs have more than
// stars. An exemption must not be more than it says: there is none then.
func newCover(g *config.Guard, rule config.GuardRule) (cover, bool) {
	host, hostSame := onlyStars(strings.ToLower(cmp.Or(rule.Host, "*")))
	path, pathSame := onlyStars(cmp.Or(rule.Path, "*"))
	bare := withoutPort(host)
	return cover{
		by: g.Ref().String(), kind: g.Kind, broken: g.Broken, bypassable: g.Bypassable, exempt: rule.Exempt,
		host: bare, path: path, folded: lower(path),
	}, !rule.Exempt || hostSame && pathSame && bare == host
}

// onlyStars puts a star in place of everything else that is special in a glob, and
// reports whether there was nothing. Where a set ends differs among dialects, so
// its star stands for all that follows.
func onlyStars(glob string) (stars string, same bool) {
	if !strings.ContainsAny(glob, "?[\\") {
		return glob, true
	}
	glob, _, set := strings.Cut(glob, "[")
	if set {
		glob += "*"
	}
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '\\':
			i++
			b.WriteByte('*')
		case '?':
			b.WriteByte('*')
		default:
			b.WriteByte(glob[i])
		}
	}
	return b.String(), false
}

// meetsPaths reports whether some path is both p's and the rule's.
func (c *cover) meetsPaths(p pathSet) bool {
	glob := c.path
	if p.fold {
		glob = c.folded
	}
	start, _, _ := strings.Cut(glob, "*")
	n := min(len(start), len(p.start))
	switch {
	case start[:n] != p.start[:n]: // where most rules and routes part
		return false
	case p.exact:
		return overlap(glob, p.start, false)
	}
	return overlap(glob, p.start+"*", true) // stars in p.start stand for more than themselves, and that does no harm
}

// containsPaths reports whether every path of p's is the rule's.
func (c *cover) containsPaths(p pathSet) bool {
	start, rest, _ := strings.Cut(c.path, "*")
	switch {
	case p.fold && hasLetter(c.path):
		return false
	case p.exact:
		return overlap(c.path, p.start, false)
	}
	return rest == "" && len(start) < len(c.path) && strings.HasPrefix(p.start, start)
}

func hasLetter(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' })
}

// meetsHosts reports whether an authority could be the route's and the rule's.
// Ports do not count.
func (c *cover) meetsHosts(r *Route) bool {
	switch {
	case c.host == "*", r.host.kind == hostAny, r.host.kind == hostRegex:
		return true
	case r.host.kind == hostExact:
		return overlap(c.host, withoutPort(r.host.text), false)
	default:
		return overlap(c.host, withoutPort(r.host.glob), true)
	}
}

// containsHosts reports whether every authority of the route is the rule's.
func (c *cover) containsHosts(r *Route) bool {
	kind, text := splitGlob(c.host)
	switch {
	case c.host == "*":
		return true
	case r.host.odd:
		return false
	case r.host.kind == hostExact:
		return overlap(c.host, withoutPort(r.host.text), false)
	case r.host.kind == hostSuffix:
		return kind == globSuffix && strings.HasSuffix(withoutPort(r.host.text), text)
	case r.host.kind == hostPrefix:
		return kind == globPrefix && strings.HasPrefix(r.host.text, text)
	}
	return false
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
