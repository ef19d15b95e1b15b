package routes

import (
	"bytes"
	"slices"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// maxAuthority is the longest authority that can match: a name in DNS and a port.
const maxAuthority = 255

// Match returns the route that serves r, with decision.None or, if the request must
// come securely first, HTTPSRedirect; or nil and why there is none: NoHost, NoRoute
// or InsecureRejected. The Host is nil for NoHost only. Budget: 0 allocs.
func (t *Table) Match(r *Request) (*Route, *Host, decision.Reason) {
	var scratch [maxAuthority]byte
	authority := t.Authority(r)
	if len(authority) > len(scratch) {
		return nil, nil, decision.NoHost
	}
	lower := scratch[:copy(scratch[:], authority)]
	wire.LowerInPlace(lower)
	host := t.host(r, lower)
	if host == nil {
		return nil, nil, decision.NoHost
	}
	s := search{table: t, request: r, host: host, best: noRank}
	if !r.Secure && host.Insecure != config.InsecureRoute {
		reason := s.insecure(lower)
		return s.route, host, reason
	}
	if s.run(lower); s.route == nil {
		return nil, host, decision.NoRoute
	}
	return s.route, host, decision.None
}

// Authority returns the authority that r is matched by, as sent: without its port
// if the Module strips it and it is the Listener's own.
func (t *Table) Authority(r *Request) []byte {
	a := r.Head.Host()
	if t.stripPort {
		if host, port, has := wire.SplitPort(a); has && string(port) == t.listeners[r.Listener].port {
			return host
		}
	}
	return a
}

// scheme returns the scheme that the client used as far as is known: what
// X-Forwarded-Proto says once the edge has set it.
func (t *Table) scheme(r *Request) string {
	if t.trustXFP || t.listeners[r.Listener].l7 {
		if sent := r.Head.Get(wire.FieldXForwardedProto); string(sent) == "https" && r.Head.Count(wire.FieldXForwardedProto) == 1 {
			return "https"
		} else if len(sent) > 0 {
			return "http"
		}
	}
	if r.TLS {
		return "https"
	}
	return "http"
}

// host returns the Host that serves r, nil for none. After a handshake only those
// behind the same certificate can.
func (t *Table) host(r *Request, authority []byte) *Host {
	l := &t.listeners[r.Listener]
	if !r.TLS {
		h, _ := l.clear.find(authority)
		return h
	}
	var scratch [maxAuthority]byte
	if len(r.SNI) > len(scratch) {
		return nil
	}
	sni := scratch[:copy(scratch[:], r.SNI)]
	wire.LowerInPlace(sni)
	c, found := l.chains.find(sni)
	if !found {
		return nil
	}
	return c.find(authority)
}

// A search looks for the best route of one request. The authority is handed down
// beside it: kept within, it would have to live on the heap.
type search struct {
	table   *Table
	request *Request
	host    *Host
	acme    bool   // only routes that answer ACME challenges count
	best    uint64 // rank of the best route so far
	route   *Route // nil as long as there is none
}

// insecure finds the route of an insecure request to a Host that redirects or
// rejects such. A path without a route is not redirected.
func (s *search) insecure(authority []byte) decision.Reason {
	reject := s.host.Insecure == config.InsecureReject
	if s.acme = reject; reject && bytes.HasPrefix(s.request.Head.Path(), []byte(acmePrefix)) {
		if s.run(authority); s.route != nil {
			return decision.None
		}
	}
	s.acme = false
	s.run(authority)
	switch {
	case s.route == nil:
		return decision.NoRoute
	case reject:
		s.route = nil
		return decision.InsecureRejected
	case s.route.acme:
		return decision.None
	}
	return decision.HTTPSRedirect
}

// run searches for the routes of an authority in lower case.
func (s *search) run(authority []byte) {
	for _, i := range s.host.views {
		s.view(s.table.views[i], authority)
	}
}

func (s *search) view(v *view, a []byte) {
	if p, ok := v.exact[string(a)]; ok {
		s.paths(p)
	}
	for i := range v.suffixes {
		if l := &v.suffixes[i]; l.best < s.best && l.n <= len(a) {
			if p, ok := l.m[string(a[len(a)-l.n:])]; ok {
				s.paths(p)
			}
		}
	}
	for i := range v.prefixes {
		if l := &v.prefixes[i]; l.best < s.best && l.n <= len(a) {
			if p, ok := l.m[string(a[:l.n])]; ok {
				s.paths(p)
			}
		}
	}
	s.paths(v.regex)
	s.paths(v.any)
}

func (s *search) paths(p *pathIndex) {
	if p == nil || p.best >= s.best {
		return
	}
	if p.root != 0 {
		s.walk(p, p.root, false)
	}
	if p.fold != 0 {
		s.walk(p, p.fold, true)
	}
}

// walk goes down a tree along the path, then tries what it passed from below:
// longer prefixes mostly come first in the order and then rule out the others.
func (s *search) walk(p *pathIndex, root uint32, fold bool) {
	path := s.request.Head.Path()
	var passed [32]span
	depth := 0
	n := &p.nodes[root]
	for n.best < s.best && begins(path, n.text, fold) {
		path = path[len(n.text):]
		if n.under.n > 0 {
			if depth == len(passed) {
				s.tryAll(p, passed[:])
				depth = 0
			}
			passed[depth] = n.under
			depth++
		}
		if len(path) == 0 {
			s.try(p, n.at)
			break
		}
		c := path[0]
		if fold {
			c = wire.Lower(c)
		}
		i := p.branch(n, c)
		if i < 0 {
			break
		}
		n = &p.nodes[int(n.kids)+i]
	}
	s.tryAll(p, passed[:depth])
}

// begins reports whether path begins with text, which is in lower case if fold.
func begins(path []byte, text string, fold bool) bool {
	if len(path) < len(text) {
		return false
	}
	if fold {
		return wire.EqualFold(path[:len(text)], text)
	}
	return string(path[:len(text)]) == text
}

// tryAll tries the last first.
func (s *search) tryAll(p *pathIndex, spans []span) {
	for _, at := range slices.Backward(spans) {
		s.try(p, at)
	}
}

// try takes the first of a node's routes that matches, if it is better than the
// best so far.
func (s *search) try(p *pathIndex, at span) {
	entries := p.entries[at.off : at.off+at.n]
	for i := range entries {
		e := &entries[i]
		if e.rank >= s.best {
			return
		}
		if e.plain && !s.acme || s.accepts(e.route) {
			s.best, s.route = e.rank, e.route
			return
		}
	}
}

// accepts checks what the trees do not know of a route.
func (s *search) accepts(rt *Route) bool {
	r := s.request
	if r.Roll >= rt.Share || s.acme && !rt.acme || !s.host.takes(rt, s.table) {
		return false
	}
	for i := range rt.conds {
		if !rt.conds[i].holds(s.table, r) {
			return false
		}
	}
	return (rt.host.kind != hostRegex || rt.host.re.Match(s.table.Authority(r))) &&
		(rt.path != pathRegex || rt.pathRE.Match(r.Head.Path()))
}

// takes reports whether rt belongs to h, given that an authority fits both and that
// a view of h holds rt. That settles it for all but a few globs.
func (h *Host) takes(rt *Route, t *Table) bool {
	c := &rt.host
	if !c.named || c.kind == hostRegex || t.implicit {
		return true
	}
	if !c.odd && (h.kind != globExact || c.kind == hostExact || c.kind == hostAny) {
		return true
	}
	return compatible(h.Name, c.glob) || t.loose && h.selector != nil && h.selector.selects(rt.labels, true)
}
