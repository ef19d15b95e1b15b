package routes

import (
	"bytes"
	"fmt"
	"slices"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A Judgement is what became of one route in the search for a request's.
type Judgement struct {
	Route *Route
	Lost  string // why it does not serve the request; "" for the one that does
	Fits  bool   // its path is the request's
}

// Judge tells what Match made of every route for r, in match order: nothing where no
// Host serves r. Which route serves is Match's own answer; the others are judged one by
// one by the conditions that Match holds them to.
func (t *Table) Judge(r *Request) []Judgement {
	chosen, host, reason := t.Match(r)
	if host == nil {
		return nil
	}
	authority := t.Authority(r)
	lower := slices.Clone(authority)
	wire.LowerInPlace(lower)
	list := make([]Judgement, len(t.Routes))
	for i, rt := range t.Routes {
		j := &list[i]
		j.Route, j.Fits = rt, rt.fits(r.Head.Path())
		switch why := t.misfit(rt, host, lower, r); {
		case rt == chosen:
		case why != "":
			j.Lost = why
		case chosen != nil && rt.rank > chosen.rank:
			j.Lost = "comes after " + chosen.Name
		case reason == decision.InsecureRejected, chosen != nil && host.Insecure == config.InsecureReject:
			j.Lost = host.By + " rejects insecure requests"
		default:
			j.Lost = "was not found" // the trees and the conditions disagree: tests hold that this is never said
		}
	}
	return list
}

// misfit says which of rt's conditions r does not fulfil, "" if it fulfils all.
func (t *Table) misfit(rt *Route, h *Host, authority []byte, r *Request) string {
	switch {
	case !h.sees(rt, t) || rt.fitsHost(authority, t.Authority(r)) && !h.takes(rt, t):
		return "is not attached to " + h.By
	case !rt.fitsHost(authority, t.Authority(r)):
		return "hostname: is for " + rt.hostText()
	case !rt.fits(r.Head.Path()):
		return "path: " + rt.pathText()
	}
	for i := range rt.conds {
		if c := &rt.conds[i]; !c.holds(t, r) {
			return c.text()
		}
	}
	if r.Roll >= rt.Share {
		if rt.Share == 0 {
			return "weight: it gets no traffic"
		}
		return fmt.Sprintf("weight: takes rolls below %d, this one is %d", rt.Share, r.Roll)
	}
	return ""
}

// sees reports whether one of h's views holds rt; see builder.joins.
func (h *Host) sees(rt *Route, t *Table) bool {
	switch {
	case t.implicit, rt.host.named && (h.selector == nil || t.loose):
		return true
	case h.selector == nil, t.loose && rt.host.named:
		return false
	}
	return h.selector.selects(rt.labels, t.loose)
}

// fitsHost reports whether rt's own condition on the authority is fulfilled, which is
// given in lower case and as sent.
func (rt *Route) fitsHost(lower, sent []byte) bool {
	switch c := &rt.host; c.kind {
	case hostExact:
		return string(lower) == c.text
	case hostSuffix:
		return bytes.HasSuffix(lower, []byte(c.text))
	case hostPrefix:
		return bytes.HasPrefix(lower, []byte(c.text))
	case hostRegex:
		return c.re.Match(sent)
	default:
		return true
	}
}

// fits reports whether a path is rt's.
func (rt *Route) fits(path []byte) bool {
	fold := !rt.CaseSensitive
	switch prefix := rt.Mapping.Prefix; rt.path {
	case pathRegex:
		return rt.pathRE.Match(path)
	case pathExact:
		return len(path) == len(prefix) && begins(path, prefix, fold)
	default:
		return begins(path, prefix, fold)
	}
}

func (rt *Route) hostText() string {
	if rt.host.kind == hostRegex {
		return "those that match " + rt.Mapping.Host
	}
	return rt.host.glob
}

func (rt *Route) pathText() string {
	switch rt.path {
	case pathRegex:
		return "does not match " + rt.Mapping.Prefix
	case pathExact:
		return "is not " + rt.Mapping.Prefix
	default:
		return "does not begin with " + rt.Mapping.Prefix
	}
}

// text says what c asks for. What was sent is not repeated: it may be a secret.
func (c *cond) text() string {
	subject := map[subject]string{
		onHeader: "header " + c.name, onQuery: "query parameter " + c.name, onMethod: "method",
		onAuthority: "authority", onPath: "path and query", onScheme: "scheme",
	}[c.on]
	if c.re != nil {
		return fmt.Sprintf("%s: must match %s", subject, c.re)
	}
	if c.value == "" && c.on == onQuery {
		return subject + ": must be there"
	}
	return fmt.Sprintf("%s: must be %q", subject, c.value)
}

// HostsOf returns the Hosts that rt is attached to.
func (t *Table) HostsOf(rt *Route) []*Host {
	var hosts []*Host
	for _, h := range t.Hosts {
		if h.sees(rt, t) && (t.implicit || h.shares(rt, t)) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// shares reports whether some name is both h's and rt's, by Ambassador's rules.
func (h *Host) shares(rt *Route, t *Table) bool {
	c := &rt.host
	return !c.named || c.kind == hostRegex || compatible(h.Name, c.glob) || t.loose && h.selector != nil && h.selector.selects(rt.labels, true)
}

// An Order is what a route's place follows from: the larger comes first, from the first
// element to the last.
type Order struct {
	Precedence int      `json:"precedence"`
	Prefix     int      `json:"prefix_length"`
	Headers    int      `json:"headers"` // letters of all conditions on headers, host and method among them
	Query      int      `json:"query"`
	Text       string   `json:"prefix"`
	Method     string   `json:"method"`
	Conditions []string `json:"conditions,omitempty"`
}

// Order returns what rt's place follows from.
func (rt *Route) Order() Order {
	k := rt.key
	return Order{k.precedence, k.prefixLen, k.headers, k.query, k.prefix, k.method, k.conds}
}

// After says why rt comes after before, which stands somewhere above it.
func (rt *Route) After(before *Route) string {
	a, b := before.key, rt.key
	switch {
	case a.precedence != b.precedence:
		return fmt.Sprintf("precedence %d < %d", b.precedence, a.precedence)
	case a.prefixLen != b.prefixLen:
		return fmt.Sprintf("prefix length %d < %d", b.prefixLen, a.prefixLen)
	case a.headers != b.headers:
		return fmt.Sprintf("headers %d < %d", b.headers, a.headers)
	case a.query != b.query:
		return fmt.Sprintf("query %d < %d", b.query, a.query)
	case a.prefix != b.prefix:
		return fmt.Sprintf("prefix %q < %q", b.prefix, a.prefix)
	case a.method != b.method:
		return fmt.Sprintf("method %s < %s", b.method, a.method)
	case !slices.Equal(a.conds, b.conds):
		return "conditions, as text"
	case rt.Share < 100 || before.Share < 100 || rt.Mapping.Weight != nil:
		return "same match: weights decide"
	}
	return "same match: the order of names"
}

// InsecureText says what h does with insecure requests, as its author writes it.
func (h *Host) InsecureText() string {
	switch h.Insecure {
	case config.InsecureReject:
		return "Reject"
	case config.InsecureRoute:
		return "Route"
	default:
		return "Redirect"
	}
}
