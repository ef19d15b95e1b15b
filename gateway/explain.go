package gateway

import (
	"bytes"
	"fmt"
	"strings"

	"legate/decision"
	"legate/routes"
	"legate/wire"
	"legate/wire/h1"
)

// An Explanation is what would become of a request, and why.
type Explanation struct {
	Generation uint64 `json:"generation"`
	Request    string `json:"request"` // method, authority, path
	Listener   string `json:"listener"`
	Client     string `json:"client"`
	External   bool   `json:"external"` // from outside: what it says of itself is not believed
	Secure     bool   `json:"secure"`
	Roll       uint8  `json:"roll"`
	Host       string `json:"host,omitempty"`
	Route      string `json:"route,omitempty"`

	Candidates []Candidate `json:"candidates"` // in match order: those whose path fits
	Others     int         `json:"others"`     // further routes: their path does not fit
	Stages     []StageView `json:"stages"`

	Refused bool   `json:"refused"` // the client would get an error of ours
	Status  int    `json:"status"`  // of our own answer; 0 where the upstream answers
	Stage   string `json:"stage"`
	Reason  string `json:"reason,omitempty"`
	By      string `json:"by,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Advice  string `json:"advice,omitempty"`

	Upstream *AskedUpstream `json:"upstream,omitempty"` // where the request would go
	ToUp     *EditsView     `json:"request_headers,omitempty"`
	ToClient *EditsView     `json:"response_headers,omitempty"`
}

// A Candidate is a route whose path is the request's.
type Candidate struct {
	Route    string `json:"route"`
	Prefix   string `json:"prefix"`
	Hostname string `json:"hostname,omitempty"`
	Share    uint8  `json:"share"`
	Lost     string `json:"lost,omitempty"` // why another one serves; empty for the one that does
}

// A StageView is what one stage said.
type StageView struct {
	Stage   string   `json:"stage"`
	Part    string   `json:"part,omitempty"` // where a stage has several
	Verdict string   `json:"verdict"`        // "continue", "stop"
	Reason  string   `json:"reason,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// An AskedUpstream is where a request would be sent, and as what.
type AskedUpstream struct {
	Name      string   `json:"name"`
	Service   string   `json:"service"`
	Endpoints []string `json:"endpoints"` // one of them is chosen
	Lookup    string   `json:"lookup,omitempty"`
	Authority string   `json:"authority"`
	Path      string   `json:"path"`
	TimeoutMS int64    `json:"timeout_ms"`
}

// An EditsView is what changes about the headers of a message.
type EditsView struct {
	Removed []string `json:"removed,omitempty"`
	Added   []string `json:"added,omitempty"` // "name: value"
}

// An explainer is a stage that has more to say of what it decided than its verdict.
type explainer interface {
	// explain is called after Enter, with x as Enter left it.
	explain(x *Exchange) []string
}

// Explain walks a request through the current configuration by the stages that serve,
// and does nothing: nothing is sent, counted, recorded or spent. An error says what of
// the question makes no sense.
func (g *Gateway) Explain(q Question) (*Explanation, error) {
	view := *g.snap.Load()
	if view.table == nil {
		return nil, fmt.Errorf("no configuration serves yet")
	}
	view.accessLog = nil
	view.slots = make([]int, len(view.world.Listeners)) // every Listener has its own, bound or not
	for i := range view.slots {
		view.slots[i] = i
	}
	a, err := q.understand(&view)
	if err != nil {
		return nil, err
	}
	var head wire.Head
	broken := h1.ReadRequest(&head, a.head, &g.limits)
	x := begin(g, a.stream(g), &head)
	defer x.free()
	x.Dry, x.Snap, x.Route = true, &view, &view.none
	e := &Explanation{Generation: view.Gen, Candidates: []Candidate{}, Stages: []StageView{}, Listener: view.listenerText(a.listener)}
	x.walk(e, q.Roll, broken)
	e.conclude(x)
	return e, nil
}

func (s *Snapshot) listenerText(i int) string {
	l := &s.world.Listeners[i]
	return fmt.Sprintf("%s, port %d", l.Ref(), l.Port)
}

// walk is Serve without a client and an upstream.
func (x *Exchange) walk(e *Explanation, roll *int, broken *wire.ProtocolError) {
	i := x.peer.Listener
	switch {
	case x.peer.TLS != nil && x.Snap.TLS.Config(i, x.peer.TLS.ServerName) == nil:
		x.Client = x.peer.Remote.Addr()
		e.Stages = append(e.Stages, StageView{Stage: "accept", Part: "tls", Verdict: "stop", Notes: []string{"the handshake fails: no Host with a certificate serves the name " + fmt.Sprintf("%q", x.peer.TLS.ServerName)}})
		e.Refused = true
		return
	case broken != nil:
		x.Client = x.peer.Remote.Addr()
		x.stop(decision.Accept, refusals[broken.Kind], "", broken)
	case x.accept() == Continue:
		x.entering(e, roll)
	}
	if len(e.Stages) == 0 {
		e.Stages = append(e.Stages, x.said(decision.Accept, true))
	}
	if x.Decision.Reason() != decision.None { // an answer of ours: what stages have to say to it
		x.prepare()
		x.respond()
		if x.entered == 0 {
			x.scriptAnswer()
		}
	}
	x.finish()
}

// entering is what follows once a request was accepted.
func (x *Exchange) entering(e *Explanation, roll *int) {
	e.Stages = append(e.Stages, x.said(decision.Accept, false))
	x.roll = roll
	v := x.choose()
	e.judge(x)
	e.Stages = append(e.Stages, x.said(decision.Match, v == Stop))
	if v == Stop {
		return
	}
	v = x.enter()
	for i := range x.entered {
		st := x.step(i)
		s := x.said(st.name, v == Stop && i == x.entered-1)
		s.Part = partName(st.stage)
		if ex, ok := st.stage.(explainer); ok {
			s.Notes = append(s.Notes, ex.explain(x)...)
		}
		e.Stages = append(e.Stages, s)
	}
}

// partName is a stage's type without its package.
func partName(s Stage) string {
	name := fmt.Sprintf("%T", s)
	return name[strings.LastIndexByte(name, '.')+1:]
}

func (x *Exchange) said(s decision.Stage, stopped bool) StageView {
	v := StageView{Stage: s.String(), Verdict: "continue"}
	if stopped {
		v.Verdict = "stop"
	}
	if r := x.Decision.Steps[s]; r != decision.None {
		v.Reason = r.String()
	}
	return v
}

// judge tells which routes were candidates.
func (e *Explanation) judge(x *Exchange) {
	e.Roll = x.match.Roll
	e.Secure = x.match.Secure
	if x.match.Head == nil {
		return
	}
	if _, host, _ := x.Snap.table.Match(&x.match); host != nil {
		e.Host = host.By + ", hostname " + host.Name + ", insecure requests: " + host.InsecureText()
	}
	for _, j := range x.Snap.table.Judge(&x.match) {
		if !j.Fits {
			e.Others++
			continue
		}
		m := j.Route.Mapping
		e.Candidates = append(e.Candidates, Candidate{Route: j.Route.Name, Prefix: m.Prefix, Hostname: hostnameOf(j.Route), Share: j.Route.Share, Lost: j.Lost})
	}
}

// hostnameOf is the authority that a route's Mapping asks for, as its author wrote it.
func hostnameOf(r *routes.Route) string {
	if r.Mapping.Hostname != "" {
		return r.Mapping.Hostname
	}
	return r.Mapping.Host
}

// conclude says how the request ends.
func (e *Explanation) conclude(x *Exchange) {
	d := &x.Decision
	e.Request = string(x.Req.MethodName()) + " " + string(x.Req.Host()) + string(x.Req.Path())
	e.Client, e.External = x.Client.String(), x.External
	e.Route = x.Route.name
	if e.Refused { // no request came about
		e.Stage, e.Reason = "accept", "tls_handshake"
		return
	}
	e.Stage = d.Ended.String()
	if r := d.Reason(); r != decision.None {
		e.Reason, e.By, e.Advice = r.String(), d.By, r.Advice()
		e.Status = x.reply.status
		e.Refused = e.Status == 0 || e.Status >= 400 || r.Status() >= 400
		e.ToClient = editsView(nil, &x.ToClient)
		if d.Err != nil {
			e.Cause = d.Err.Error()
		}
		return
	}
	e.Stage = decision.Proxy.String()
	e.ToUp = editsView(x.Req, &x.ToUp)
	var answer wire.Edits
	x.Route.Response.Apply(&answer)
	for i := range x.Route.Response.Formats { // there is no answer to speak of
		f := &x.Route.Response.Formats[i]
		f.Put(&answer, []byte(f.Text))
	}
	e.ToClient = editsView(nil, &answer)
	e.ToClient.Removed = x.Route.Response.Removes()
	e.Upstream = x.askedUpstream()
}

func (x *Exchange) askedUpstream() *AskedUpstream {
	r := x.Route
	u := &AskedUpstream{
		Name: r.upstreamName, Service: r.Mapping.Service, Endpoints: []string{}, TimeoutMS: r.timeout.Milliseconds(),
		Authority: string(x.Req.Host()), Path: string(x.Req.Path()),
	}
	if x.ToUp.Host != nil {
		u.Authority = string(x.ToUp.Host)
	}
	if x.ToUp.Path != nil {
		u.Path = string(x.ToUp.Path)
	}
	if q, has := x.Req.Query(); has {
		u.Path += "?" + string(q)
	}
	ends, err := r.upstream.Endpoints()
	for _, end := range ends {
		u.Endpoints = append(u.Endpoints, end.Address)
	}
	if err != nil {
		u.Lookup = err.Error()
	}
	return u
}

// secrets are the headers whose values are nobody's to see.
var secrets = [][]byte{[]byte("authorization"), []byte("proxy-authorization"), []byte("cookie"), []byte("set-cookie")}

// editsView shows e; what it removes only as far as it is in h.
func editsView(h *wire.Head, e *wire.Edits) *EditsView {
	v := &EditsView{}
	if h != nil {
		for i := range h.Len() {
			if id, name, _ := h.Line(i); e.Drops(id, name) {
				v.Removed = append(v.Removed, string(name))
			}
		}
	}
	for _, a := range e.Adds() {
		name, value := a.FieldName(), string(a.Value)
		if a.ID == wire.FieldDate { // says nothing of the request
			continue
		}
		for _, s := range secrets {
			if bytes.Equal([]byte(name), s) {
				value = "(not shown)"
			}
		}
		v.Added = append(v.Added, name+": "+value)
	}
	return v
}
