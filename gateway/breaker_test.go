package gateway

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/limiter"
)

// moody is a service that answers as its mood says, and counts what it is asked.
func moody(t *testing.T) (addr string, mood *atomic.Value, asked *atomic.Int64) {
	t.Helper()
	mood, asked = new(atomic.Value), new(atomic.Int64)
	mood.Store(plainOK)
	return service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			asked.Add(1)
			switch m := mood.Load().(string); m { //nolint:forcetypeassert // nothing else is stored
			case "reset":
				p.reset()
				return
			case "silence":
				p.wait()
				return
			default:
				p.say(m)
			}
		}
	}), mood, asked
}

func breakerOf(g *gate, route string) *limiter.Breaker {
	for _, r := range g.snap.Load().routes {
		if strings.HasPrefix(r.name, route) {
			return r.breaker
		}
	}
	return nil
}

// call is the answer to a call of gRPC whose trailer ends it with a code.
func call(code string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\x00\x00\x00\x00\x00\r\n0\r\ngrpc-status: " + code + "\r\n\r\n"
}

// callHead is the answer to one that nothing but a head ends.
func callHead(status, code string) string {
	return "HTTP/1.1 " + status + "\r\nContent-Type: application/grpc\r\nGrpc-Status: " + code + "\r\nContent-Length: 0\r\n\r\n"
}

// What a request says of its upstream.
func TestBreakerOutcomes(t *testing.T) {
	const cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken off"
	for _, row := range []struct {
		happens  string
		fields   []string
		failures uint32
		requests uint32
	}{
		{plainOK, nil, 0, 1},
		{status(404), nil, 0, 1},
		{status(500), nil, 1, 1},
		{status(503), []string{"failure_breaker: {statuses: [502, 504]}"}, 0, 1},
		{status(429), []string{"failure_breaker: {statuses: [429, 5xx]}"}, 1, 1},
		{"reset", nil, 1, 1},
		{"nonsense\r\n\r\n", nil, 1, 1},
		{"silence", []string{"timeout_ms: 50"}, 1, 1},
		{"silence", []string{"timeout_ms: 0", "idle_timeout_ms: 50"}, 1, 1},
		{cut, []string{"timeout_ms: 50"}, 1, 1},
		{status(500), []string{"retry_policy: {retry_on: 5xx, num_retries: 2}"}, 1, 1},
		{plainOK, []string{"circuit_breakers: [{max_requests: 0}]"}, 0, 0},
		{call("0"), nil, 0, 1},
		{call("1"), nil, 0, 1},  // cancelled
		{call("2"), nil, 1, 1},  // unknown
		{call("4"), nil, 1, 1},  // deadline exceeded
		{call("5"), nil, 0, 1},  // not found
		{call("7"), nil, 0, 1},  // permission denied
		{call("8"), nil, 0, 1},  // resource exhausted
		{call("12"), nil, 1, 1}, // unimplemented
		{call("13"), nil, 1, 1}, // internal
		{call("14"), nil, 1, 1}, // unavailable
		{call("15"), nil, 1, 1}, // data loss
		{call("16"), nil, 0, 1}, // unauthenticated
		{call("17"), nil, 1, 1}, // none of gRPC's
		{call("x"), nil, 1, 1},
		{call("8"), []string{"failure_breaker: {statuses: [429]}"}, 1, 1},
		{call("14"), []string{"failure_breaker: {statuses: [429]}"}, 0, 1},
		{callHead("200 OK", "14"), nil, 1, 1},
		{callHead("200 OK", "0"), nil, 0, 1},
		{callHead("503 Service Unavailable", "0"), nil, 1, 1},
		{strings.Replace(call("14"), "grpc", "json", 1), nil, 0, 1},
	} {
		t.Run(fmt.Sprintf("%.12q %v", row.happens, row.fields), func(t *testing.T) {
			up, mood, _ := moody(t)
			mood.Store(row.happens)
			g := open(t, everyone+module("failure_breaker: {}")+mapping("r", "/r/", up, row.fields...))
			c := g.dial()
			c.say(request("GET", "/r/", ""))
			r := g.next()
			v := breakerOf(g, "r").View()
			if v.Requests != row.requests || v.Failures != row.failures {
				t.Errorf("%d of %d failed, want %d of %d; %+v", v.Failures, v.Requests, row.failures, row.requests, r.verdict)
			}
		})
	}
}

// An upstream that fails is left alone, tried again by one request, and served again;
// clients, operators and scrapes are told at every turn.
func TestBreaker(t *testing.T) {
	up, mood, asked := moody(t)
	g := open(t, everyone+mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 3, open_for: 300ms}", "stats_name: orders")+mapping("other", "/other/", up))
	mood.Store(status(500))
	for range 3 {
		if a, r := g.get("/r/"); a.StatusCode != 500 || r.verdict != (verdict{"proxy", "", 500}) {
			t.Fatalf("got %+v", r.verdict)
		}
	}
	before := asked.Load()
	a, r := g.get("/r/")
	if r.verdict != (verdict{"break", "breaker_open", 503}) || a.body != "no healthy upstream" || a.Header.Get("Retry-After") != "1" {
		t.Errorf("got %+v %q Retry-After %q", r.verdict, a.body, a.Header.Get("Retry-After"))
	}
	if asked.Load() != before {
		t.Error("it was asked all the same")
	}
	if a, _ := g.get("/other/"); a.StatusCode != 500 {
		t.Errorf("a route without a breaker: got %d", a.StatusCode)
	}
	if s := g.upstreamStates()["orders"].Breaker; !s.There || s.State != 2 || s.Opened != 1 {
		t.Errorf("metrics: %+v", s)
	}
	for _, u := range g.Upstreams() {
		if want := map[string]string{"orders": "open"}[u.Name]; u.Breaker != want {
			t.Errorf("upstream %s: breaker %q, want %q", u.Name, u.Breaker, want)
		}
	}
	mood.Store(plainOK)
	eventually(t, "the breaker closes", func() bool {
		a, _ := g.get("/r/")
		return a.StatusCode == 200
	})
	for _, line := range []string{
		`level=WARN msg="breaker changed" upstream=orders from=closed to=open cause="3 failures in a row"`,
		`level=INFO msg="breaker changed" upstream=orders from=open to=half-open cause="open for 300ms"`,
		`level=INFO msg="breaker changed" upstream=orders from=half-open to=closed cause="1 of 1 probes succeeded"`,
	} {
		if n := strings.Count(g.log.String(), line); n != 1 {
			t.Errorf("logged %d times: %s", n, line)
		}
	}
}

// While it is half-open as many requests as may be try the upstream, however many come,
// and however long they take.
func TestBreakerProbes(t *testing.T) {
	up, mood, asked := moody(t)
	g := open(t, everyone+mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1, open_for: 1s, half_open_requests: 2}", "timeout_ms: 900"))
	mood.Store(status(500))
	g.get("/r/")
	mood.Store("silence")
	before := asked.Load()
	time.Sleep(1001 * time.Millisecond)
	clients := make([]*client, 20)
	for i := range clients {
		clients[i] = g.dial()
		clients[i].say(request("GET", "/r/", ""))
	}
	for range len(clients) - 2 {
		if r := g.next(); r.verdict != (verdict{"break", "breaker_open", 503}) {
			t.Errorf("got %+v", r.verdict)
		}
	}
	g.waitFor("two requests try it", func() bool { return asked.Load()-before == 2 })
}

// Probes that hang do not add up, however long they may.
func TestBreakerProbesThatHang(t *testing.T) {
	for _, row := range []struct {
		name, text string
		fields     []string
	}{
		{"no body", request("GET", "/r/", ""), nil},
		{"a short body", request("POST", "/r/", "short"), nil},
		{"a long body", request("POST", "/r/", strings.Repeat("long", 50_000)), nil},
		{"one that is held back", request("POST", "/r/", "short"), []string{"buffer: {max_request_bytes: 1000}"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, mood, asked := moody(t)
			manifests := everyone + mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1, open_for: 200ms, half_open_requests: 2}", "timeout_ms: 60000")
			if row.fields != nil {
				manifests += module(row.fields...)
			}
			g := open(t, manifests)
			mood.Store(status(500))
			g.get("/r/")
			mood.Store("silence")
			time.Sleep(201 * time.Millisecond)
			for range 2 {
				g.dial().say(row.text)
			}
			g.waitFor("two requests try it", func() bool { return asked.Load() == 3 })
			for range 20 {
				time.Sleep(15 * time.Millisecond)
				if _, r := g.get("/r/"); r.verdict != (verdict{"break", "breaker_open", 503}) {
					t.Fatalf("got %+v", r.verdict)
				}
			}
		})
	}
}

// Where nothing bounds how long an answer takes, a probe is judged by its head.
func TestBreakerProbeWithoutEnd(t *testing.T) {
	up, mood, _ := moody(t)
	g := open(t, everyone+mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1, open_for: 1ms}", "timeout_ms: 0"))
	mood.Store(status(500))
	g.get("/r/")
	mood.Store("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe rest comes later")
	time.Sleep(2 * time.Millisecond)
	c := g.dial()
	c.say(request("GET", "/r/", ""))
	eventually(t, "the breaker closes", func() bool { return breakerOf(g, "r").Closed() })
}

// Nothing is tried once more at an upstream that is left alone.
func TestBreakerStopsRetries(t *testing.T) {
	up, mood, asked := moody(t)
	g := open(t, everyone+mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1}", "retry_policy: {retry_on: 5xx, num_retries: 5}"))
	b := breakerOf(g, "r")
	mood.Store("silence")
	c := g.dial()
	c.say(request("GET", "/r/", ""))
	g.waitFor("the request is there", func() bool { return asked.Load() == 1 })
	p, _, _ := b.Enter()
	b.Done(p, limiter.Failure)
	if r := g.next(); r.Reason != "upstream_timeout" || r.Retries != 0 || asked.Load() != 1 {
		t.Errorf("got %+v after %d retries", r.verdict, r.Retries)
	}
}

// What a reload does not touch it does not close.
func TestBreakerSurvivesReload(t *testing.T) {
	up, mood, _ := moody(t)
	manifests := everyone + mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1}")
	g := open(t, manifests)
	mood.Store(status(500))
	g.get("/r/")
	for _, more := range []string{
		mapping("other", "/other/", up),                                      // carried over
		module("server_name: x"),                                             // made anew
		module("circuit_breakers: [{max_requests: 7}]", "server_name: edge"), // bounded in another way
	} {
		g.Apply(t.Context(), withListener(g, manifests+more))
		if _, r := g.get("/r/"); r.Reason != "breaker_open" {
			t.Errorf("after a reload with %s: got %+v", more, r)
		}
	}
	g.Apply(t.Context(), withListener(g, strings.Replace(manifests, "consecutive_failures: 1", "consecutive_failures: 2", 1)))
	if a, _ := g.get("/r/"); a.StatusCode != 500 {
		t.Errorf("with settings of its own: got %d", a.StatusCode)
	}
}

// A Mapping can do without the Module's breaker.
func TestBreakerOfModule(t *testing.T) {
	up, _, _ := moody(t)
	g := open(t, everyone+module("failure_breaker: {consecutive_failures: 9}")+mapping("a", "/a/", up)+mapping("b", "/b/", up)+
		mapping("own", "/own/", up, "failure_breaker: {consecutive_failures: 1}")+mapping("none", "/none/", up, "failure_breaker: {consecutive_failures: 0}"))
	if a, b := breakerOf(g, "a"), breakerOf(g, "b"); a == nil || a != b {
		t.Error("Mappings of one service do not share the breaker")
	}
	if own := breakerOf(g, "own"); own == nil || own == breakerOf(g, "a") {
		t.Error("settings of its own count for nothing")
	}
	if breakerOf(g, "none") != nil {
		t.Error("there is one although it was turned off")
	}
}

// explain tells how a breaker stands, and does not take a probe's place.
func TestBreakerExplained(t *testing.T) {
	up, mood, _ := moody(t)
	g := open(t, everyone+mapping("r", "/r/", up, "failure_breaker: {consecutive_failures: 1, open_for: 1h}"))
	ask := func() (*Explanation, string) {
		e, err := g.Explain(Question{Method: "GET", URL: "http://legate/r/"})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range e.Stages {
			if s.Part == "breaker" {
				return e, strings.Join(s.Notes, "; ")
			}
		}
		return e, ""
	}
	g.get("/r/")
	if e, notes := ask(); e.Refused || notes != "breaker closed: 0 of 1 requests failed, 0 in a row" {
		t.Errorf("closed: %q %+v", notes, e)
	}
	mood.Store(status(500))
	g.get("/r/")
	if e, notes := ask(); e.Reason != "breaker_open" || e.Status != 503 || !strings.HasPrefix(notes, "breaker open: tried again in ") {
		t.Errorf("open: %q %+v", notes, e)
	}
}
