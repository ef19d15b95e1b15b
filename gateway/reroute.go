package gateway

import (
	"fmt"

	"legate/authn"
	"legate/decision"
	"legate/routes"
	"legate/wire"
)

// A reroute is the stage that finds the route anew where who decided about the request
// has changed what routes look at: headers, or the query. What comes after it is the new
// route's.
type reroute struct{}

// reroutes returns nil for a route about whose requests nobody decides.
func (c *compiler) reroutes(r *Route) Stage {
	a := c.next.authn
	bypassed := r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth
	if r.Kind != routes.Forward || a.Requirement(r.Mapping) == nil && (bypassed || !a.Decides() && a.AuthService() == nil) {
		return nil
	}
	return reroute{}
}

// Enter looks whether another route is meant now. Budget: 0 allocs where nothing that
// routes look at was changed.
func (reroute) Enter(x *Exchange) Verdict {
	if x.strays() {
		return x.routeAnew()
	}
	return Continue
}

// strays reports whether something that routes look at was changed. Budget: 0 allocs.
func (x *Exchange) strays() bool {
	if x.ToUp.HasQuery {
		return true
	}
	for _, name := range x.Snap.table.Looks() {
		if x.changes(&name) {
			return true
		}
	}
	return false
}

// explain tells which route was meant at first.
func (reroute) explain(x *Exchange) []string {
	if x.front == nil {
		return nil
	}
	return []string{fmt.Sprintf("the request has changed: %s serves, and not %s", x.Route.name, x.front.name)}
}

// changes reports whether the upstream receives other lines of a header than the client
// sent.
func (x *Exchange) changes(h *routes.HeaderName) bool {
	for i := range x.ToUp.Adds() {
		if a := &x.ToUp.Adds()[i]; a.ID == h.ID && (h.ID != wire.FieldOther || string(a.Name) == h.Name) {
			return true
		}
	}
	if h.ID != wire.FieldOther {
		return x.Req.Has(h.ID) && x.ToUp.Drops(h.ID, nil)
	}
	for i := range x.Req.Len() {
		if id, name, _ := x.Req.Line(i); id == wire.FieldOther && string(name) == h.Name {
			return x.ToUp.Drops(id, name)
		}
	}
	return false
}

// routeAnew finds the route of the request as the upstream would receive it. Whoever
// protects that route has a say before anything else of it is entered.
func (x *Exchange) routeAnew() Verdict {
	m := x.match
	m.Head = x.editedHead()
	rt, _, reason := x.Snap.table.Match(&m)
	if reason != decision.None {
		x.front, x.Route = x.Route, &x.Snap.none // the answer is no Mapping's
		return x.stop(decision.Match, reason, "", nil)
	}
	next := readyRoute(rt)
	if next == x.Route {
		return Continue
	}
	x.front, x.Route = x.Route, next
	if next.ClosedBy != "" {
		return x.stop(decision.Authn, decision.PolicyInvalid, next.ClosedBy, nil)
	}
	if f := x.Snap.authn.Requirement(next.Mapping); f != nil && f.Filter(x.seen()) == authn.Deny {
		return x.take(decision.Authn)
	}
	return Continue
}

// editedHead returns the request with the headers and the query that the upstream would
// receive.
func (x *Exchange) editedHead() *wire.Head {
	var fields []string
	for i := range x.Req.Len() {
		if id, name, value := x.Req.Line(i); !x.ToUp.Drops(id, name) {
			fields = append(fields, string(name), string(value))
		}
	}
	for i := range x.ToUp.Adds() {
		a := &x.ToUp.Adds()[i]
		fields = append(fields, a.FieldName(), string(a.Value))
	}
	target := string(x.pathAndQuery())
	if x.ToUp.HasQuery {
		if target = string(x.Req.Path()); x.ToUp.Query != nil {
			target += "?" + string(x.ToUp.Query)
		}
	}
	h := &wire.Head{}
	h.BuildRequest(string(x.Req.MethodName()), string(x.Req.Host()), target, fields...)
	return h
}
