package gateway

import (
	"testing"
	"time"
)

// held is a service that keeps every request until it is told to answer.
func held(t *testing.T) (addr string, answer chan struct{}) {
	t.Helper()
	answer = make(chan struct{})
	return service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			if _, ok := <-answer; !ok {
				return
			}
			p.say(plainOK)
		}
	}), answer
}

const overflow = connectError + "overflow"

// waitStates waits until so many connections and requests go on at an upstream.
func (g *gate) waitStates(name string, active int64) {
	g.t.Helper()
	g.waitFor("requests are under way", func() bool {
		return g.upstreamStates()[name].Active == active
	})
}

// Requests beyond max_requests are answered here and at once; others go on.
func TestMaxRequests(t *testing.T) {
	up, answer := held(t)
	g := open(t, everyone+
		mapping("r", "/r/", up, "circuit_breakers: [{max_requests: 2}]", "stats_name: r")+
		mapping("same", "/same/", up, `circuit_breakers: [{max_requests: "2"}]`, "timeout_ms: 9000")+
		mapping("own", "/own/", up, "circuit_breakers: [{max_requests: 2}]", "cluster_tag: own"))
	a, b := g.dial(), g.dial()
	a.say(request("GET", "/r/", ""))
	b.say(request("GET", "/same/", ""))
	g.waitFor("two requests are under way", func() bool { return g.metrics.InFlight.Value() == 2 })
	for _, target := range []string{"/r/", "/same/"} {
		got, r := g.get(target)
		if (r.verdict != verdict{"break", "upstream_overflow", 503}) || got.body != overflow || got.Header.Get("X-Envoy-Overloaded") != "true" {
			t.Errorf("%s: got %+v %q %v", target, r.verdict, got.body, got.Header)
		}
		if flagOf(t, r.Reason) != "UO" {
			t.Errorf("flag %s", flagOf(t, r.Reason))
		}
	}
	c := g.dial()
	c.say(request("GET", "/own/", "")) // a budget of its own
	for range 3 {
		answer <- struct{}{}
	}
	for _, c := range []*client{a, b, c} {
		if got := c.hear("GET"); got.StatusCode != 200 {
			t.Errorf("got %d", got.StatusCode)
		}
		g.next()
	}
	d := g.dial()
	d.say(request("GET", "/r/", ""))
	answer <- struct{}{}
	if got := d.hear("GET"); got.StatusCode != 200 {
		t.Errorf("when there is room again: got %d", got.StatusCode)
	}
	if n := g.upstreamStates()["r"].Overflows["max_requests"]; n != 2 {
		t.Errorf("counted %d overflows, want 2", n)
	}
}

// A reload that does not touch the limits lets nobody in beyond them.
func TestThresholdsSurviveReload(t *testing.T) {
	up, answer := held(t)
	manifests := everyone + mapping("r", "/r/", up, "circuit_breakers: [{max_requests: 1}]")
	g := open(t, manifests)
	c := g.dial()
	c.say(request("GET", "/r/", ""))
	g.waitFor("a request is under way", func() bool { return g.metrics.InFlight.Value() == 1 })
	g.Apply(t.Context(), withListener(g, manifests+mapping("other", "/other/", up)))
	if _, r := g.get("/r/"); r.Reason != "upstream_overflow" {
		t.Errorf("after a reload: got %+v", r)
	}
	answer <- struct{}{}
	c.hear("GET")
	g.next()
	d := g.dial()
	d.say(request("GET", "/r/", ""))
	answer <- struct{}{}
	if got := d.hear("GET"); got.StatusCode != 200 {
		t.Errorf("then: got %d", got.StatusCode)
	}
}

// Requests beyond max_connections wait for one, as many as max_pending_requests, and
// no longer than their own time.
func TestMaxConnections(t *testing.T) {
	up, answer := held(t)
	g := open(t, everyone+mapping("r", "/r/", up, "circuit_breakers: [{max_connections: 1, max_pending_requests: 2}]", "stats_name: r")+
		mapping("short", "/short/", up, "circuit_breakers: [{max_connections: 1, max_pending_requests: 2}]", "stats_name: r", "timeout_ms: 100"))
	first := g.dial()
	first.say(request("GET", "/r/", ""))
	g.waitStates("r", 1)
	second := g.dial()
	second.say(request("GET", "/r/", ""))
	g.waitFor("the second waits", func() bool { return g.upstreamStates()["r"].Overflows["max_connections"] == 1 })
	begun := time.Now()
	a, r := g.get("/short/")
	if took := time.Since(begun); (r.verdict != verdict{"proxy", "upstream_timeout", 504}) || a.body != "upstream request timeout" || took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("a wait longer than timeout_ms: got %+v %q after %v", r.verdict, a.body, took)
	}
	third := g.dial()
	third.say(request("GET", "/r/", ""))
	g.waitFor("the third waits", func() bool { return g.upstreamStates()["r"].Overflows["max_connections"] == 3 })
	a, r = g.get("/r/")
	if (r.verdict != verdict{"proxy", "upstream_overflow", 503}) || a.body != overflow || a.Header.Get("X-Envoy-Overloaded") != "true" {
		t.Errorf("beyond max_pending_requests: got %+v %q", r.verdict, a.body)
	}
	for _, c := range []*client{first, second, third} {
		answer <- struct{}{}
		if got := c.hear("GET"); got.StatusCode != 200 {
			t.Errorf("got %d", got.StatusCode)
		}
		if r := g.next(); r.verdict != served {
			t.Errorf("got %+v", r)
		}
	}
	if n := g.upstreamStates()["r"].Overflows["max_pending_requests"]; n != 1 {
		t.Errorf("counted %d overflows of max_pending_requests, want 1", n)
	}
}

// A client that leaves takes no room among those that wait for a connection.
func TestMaxPendingRequestsOfThoseWhoLeave(t *testing.T) {
	up, answer := held(t)
	g := open(t, everyone+mapping("r", "/r/", up, "circuit_breakers: [{max_connections: 1, max_pending_requests: 1}]", "timeout_ms: 60000", "stats_name: r"))
	first := g.dial()
	first.say(request("GET", "/r/", ""))
	g.waitStates("r", 1)
	for _, leave := range []func(*client){func(c *client) { c.Close() }, (*client).reset} {
		before := g.upstreamStates()["r"].Overflows["max_connections"]
		second := g.dial()
		second.say(request("GET", "/r/", ""))
		g.waitFor("the second waits", func() bool { return g.upstreamStates()["r"].Overflows["max_connections"] > before })
		leave(second)
		if r := g.next(); (r.verdict != verdict{"proxy", "client_gone", 0}) || r.Took > 5000 {
			t.Errorf("got %+v after %v ms", r.verdict, r.Took)
		}
	}
	third := g.dial()
	third.say(request("GET", "/r/", ""))
	for _, c := range []*client{first, third} {
		answer <- struct{}{}
		if got := c.hear("GET"); got.StatusCode != 200 {
			t.Errorf("got %d", got.StatusCode)
		}
	}
}

// Each priority has limits and connections of its own.
func TestPriorities(t *testing.T) {
	up, answer := held(t)
	limits := "circuit_breakers: [{priority: high, max_requests: 1}, {max_requests: 0}]"
	g := open(t, everyone+mapping("low", "/low/", up, limits)+mapping("high", "/high/", up, limits, "priority: high")+
		mapping("plain", "/plain/", up, "circuit_breakers: [{priority: high, max_requests: 0}]"))
	if _, r := g.get("/low/"); r.Reason != "upstream_overflow" {
		t.Errorf("the default's limit: got %+v", r)
	}
	for _, target := range []string{"/high/", "/plain/"} {
		c := g.dial()
		c.say(request("GET", target, ""))
		answer <- struct{}{}
		if a := c.hear("GET"); a.StatusCode != 200 {
			t.Errorf("%s: got %d", target, a.StatusCode)
		}
		g.next()
	}
}

// What makes no sense drops its Mapping, and the Module's limits are for Mappings
// without their own.
func TestCircuitBreakersRefused(t *testing.T) {
	up := three(t, plainOK)[0]
	for _, field := range []string{
		"circuit_breakers: {max_requests: 1}", "circuit_breakers: [{max_requests: many}]", "circuit_breakers: [{priority: low}]",
		"circuit_breakers: [{max_requests: -1}]", "circuit_breakers: 3", "priority: low",
	} {
		g := open(t, everyone+mapping("r", "/r/", up, field))
		if _, r := g.get("/r/"); (r.verdict != verdict{"match", "no_route", 404}) {
			t.Errorf("%s: got %+v", field, r.verdict)
		}
	}
	module := moduleOf("circuit_breakers: [{max_requests: 0}]")
	g := open(t, everyone+module+mapping("r", "/r/", up)+mapping("own", "/own/", up, "circuit_breakers: [{}]"))
	if _, r := g.get("/r/"); r.Reason != "upstream_overflow" {
		t.Errorf("the Module's: got %+v", r)
	}
	if _, r := g.get("/own/"); r.verdict != served {
		t.Errorf("the Mapping's own: got %+v", r)
	}
}

// moduleOf is a Module with those fields.
func moduleOf(fields string) string {
	return "\n---\napiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {name: ambassador}\nspec: {config: {" + fields + "}}\n"
}
