package gateway

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"legate/decision"
	"legate/wire"
)

// failing is a service that answers as each in turn says, the last again and again. A
// text that is no answer is what happens instead. It tells what it saw.
func failing(t *testing.T, replies ...string) (addr string, seen <-chan saw) {
	t.Helper()
	requests := make(chan saw, 1000)
	var n atomic.Int64
	addr = service(t, func(p *peer) {
		for r, body := p.request(); r != nil; r, body = p.request() {
			requests <- saw{r, body}
			switch reply := replies[min(int(n.Add(1)), len(replies))-1]; reply {
			case "reset":
				p.reset()
				return
			case "silence":
				p.wait()
				return
			default:
				p.say(reply)
			}
		}
	})
	return addr, requests
}

func status(code int) string {
	return fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Length: 4\r\n\r\nsorr", code)
}

// What each retry_on sends again, and what not.
func TestRetryOn(t *testing.T) {
	const on, off = true, false
	for _, row := range []struct {
		happens string
		policy  string
		again   bool
	}{
		{status(500), "5xx", on}, {status(503), "5xx", on}, {status(599), "5xx", on}, {status(404), "5xx", off}, {status(409), "5xx", off},
		{status(500), "gateway-error", off}, {status(502), "gateway-error", on}, {status(504), "gateway-error", on}, {status(505), "gateway-error", off},
		{status(409), "retriable-4xx", on}, {status(404), "retriable-4xx", off}, {status(500), "retriable-4xx", off},
		{status(500), "connect-failure", off}, {status(500), "refused-stream", off}, {status(500), "retriable-status-codes", off},
		{"reset", "5xx", on}, {"reset", "gateway-error", on}, {"reset", "connect-failure", off}, {"reset", "retriable-4xx", off},
		{"nonsense\r\n\r\n", "5xx", on}, {"nonsense\r\n\r\n", "connect-failure", off},
		{"HTTP/1.1 500 No\r\nX-Envoy-Ratelimited: true\r\nContent-Length: 0\r\n\r\n", "5xx", off},
		{"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n", "5xx", on},
		{"HTTP/1.1 503 No\r\n\r\nuntil the end", "5xx", on},
	} {
		up, _ := failing(t, row.happens, plainOK)
		g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: "+row.policy+"}"))
		a, r := g.get("/r/")
		if again := r.Retries == 1 && a.StatusCode == 200; again != row.again || !again && r.Retries != 0 {
			t.Errorf("%.20q with %s: got %d after %d retries, %+v", row.happens, row.policy, a.StatusCode, r.Retries, r.verdict)
		}
	}
}

// A caller inside may name statuses; one from outside may not.
func TestRetryStatusCodes(t *testing.T) {
	for _, row := range []struct {
		header []string
		want   int
	}{
		{[]string{"X-Envoy-Retriable-Status-Codes: 418, 429"}, 200},
		{[]string{"X-Envoy-Retriable-Status-Codes: 418,500"}, 429},
		{[]string{"X-Envoy-Retriable-Status-Codes: 429", "X-Forwarded-For: 203.0.113.9"}, 429},
		{nil, 429},
	} {
		up, _ := failing(t, status(429), plainOK)
		g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: retriable-status-codes}"))
		if a, _ := g.get("/r/", row.header...); a.StatusCode != row.want {
			t.Errorf("%q: got %d, want %d", row.header, a.StatusCode, row.want)
		}
	}
}

// As often as num_retries, and then the last answer is the client's.
func TestRetryTimes(t *testing.T) {
	for _, row := range []struct {
		times   string
		fails   int
		want    int
		retries int
		reason  string
	}{
		{"", 1, 200, 1, ""},
		{"", 2, 503, 1, "retries_exhausted"},
		{"num_retries: 4", 4, 200, 4, ""},
		{"num_retries: 4", 9, 503, 4, "retries_exhausted"},
		{"num_retries: 0", 1, 503, 0, ""},
		{"num_retries: 0, per_try_timeout: 10s", 1, 503, 0, ""},
	} {
		replies := append(strings.Split(strings.Repeat("x", row.fails), ""), plainOK)
		for i := range row.fails {
			replies[i] = status(503)
		}
		up, seen := failing(t, replies...)
		g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, "+row.times+"}"))
		a, r := g.get("/r/")
		if a.StatusCode != row.want || r.Retries != row.retries || (r.verdict != verdict{"proxy", row.reason, row.want}) || len(seen) != row.retries+1 {
			t.Errorf("%q, %d failures: got %+v, %d retries, %d requests", row.times, row.fails, r.verdict, r.Retries, len(seen))
		}
		if row.want == 503 && a.body != "sorr" {
			t.Errorf("got the body %q", a.body)
		}
	}
	up, _ := failing(t, "reset")
	g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, num_retries: 2}"))
	if a, r := g.get("/r/"); (r.verdict != verdict{"proxy", "upstream_reset_before_head", 503}) || r.Retries != 2 || a.body != connectError+"connection termination" {
		t.Errorf("always reset: got %+v after %d retries, %q", r.verdict, r.Retries, a.body)
	}
	g = open(t, everyone+mapping("r", "/r/", refusing(t), "retry_policy: {retry_on: connect-failure, num_retries: 2}"))
	if _, r := g.get("/r/"); (r.verdict != verdict{"proxy", "dial_refused", 503}) || r.Retries != 2 {
		t.Errorf("always refused: got %+v after %d retries", r.verdict, r.Retries)
	}
}

// Every try has another endpoint, so a dead one among three is never seen.
func TestRetryElsewhere(t *testing.T) {
	for _, lb := range []string{"{policy: round_robin}", "{policy: least_request}", "{policy: ring_hash, header: x-user}", "{policy: maglev, source_ip: true}"} {
		up := three(t, plainOK)
		up[1] = refusing(t)
		g := open(t, everyone+cluster(up...)+balanced(lb, "retry_policy: {retry_on: connect-failure}", "circuit_breakers: [{max_retries: 100}]"))
		retries := 0
		for i := range 60 {
			a, r := g.get("/r/", fmt.Sprintf("X-User: u%d", i))
			if a.StatusCode != 200 || r.Endpoint == up[1] {
				t.Fatalf("%s: got %d by %s, %+v", lb, a.StatusCode, r.Endpoint, r.verdict)
			}
			retries += r.Retries
		}
		if retries == 0 && !strings.Contains(lb, "source_ip") {
			t.Errorf("%s: the dead endpoint was never tried", lb)
		}
	}
}

// The Mapping's policy replaces the Module's; the timeout covers all tries.
func TestRetryTimeouts(t *testing.T) {
	slow := service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			time.Sleep(60 * time.Millisecond)
			p.say(status(500))
		}
	})
	g := open(t, everyone+moduleOf("retry_policy: {retry_on: 5xx, num_retries: 40}")+mapping("r", "/r/", slow, "timeout_ms: 300")+
		mapping("own", "/own/", slow, "retry_policy: {retry_on: gateway-error}"))
	begun := time.Now()
	a, r := g.get("/r/")
	if took := time.Since(begun); (r.verdict != verdict{"proxy", "upstream_timeout", 504}) || a.body != "upstream request timeout" || took < 300*time.Millisecond || took > 2*time.Second {
		t.Errorf("got %+v %q after %v", r.verdict, a.body, took)
	}
	if r.Retries == 0 {
		t.Error("nothing was tried again")
	}
	if a, r := g.get("/own/"); a.StatusCode != 500 || r.Retries != 0 {
		t.Errorf("the Mapping's own: got %d after %d retries", a.StatusCode, r.Retries)
	}
}

// A try has a time of its own; the upstream is told it.
func TestPerTryTimeout(t *testing.T) {
	up, seen := failing(t, "silence", plainOK)
	g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, per_try_timeout: 0.1s}"))
	begun := time.Now()
	a, r := g.get("/r/")
	if took := time.Since(begun); a.StatusCode != 200 || r.Retries != 1 || took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("got %d after %d retries and %v", a.StatusCode, r.Retries, took)
	}
	if got := (<-seen).Header.Get("X-Envoy-Expected-Rq-Timeout-Ms"); got != "100" {
		t.Errorf("the upstream was told %q", got)
	}
	for _, policy := range []string{"{retry_on: 5xx, per_try_timeout: 50ms, num_retries: 2}", "{retry_on: retriable-4xx, per_try_timeout: 50ms}"} {
		up, _ = failing(t, "silence")
		g = open(t, everyone+mapping("r", "/r/", up, "retry_policy: "+policy))
		a, r = g.get("/r/")
		if (r.verdict != verdict{"proxy", "upstream_try_timeout", 504}) || a.body != "upstream request timeout" || flagOf(t, r.Reason) != "UT" {
			t.Errorf("%s: got %+v %q", policy, r.verdict, a.body)
		}
	}
}

// That a request may rest for ever takes nothing from what is tried again, or from why a
// connection did not come about.
func TestRetryWithoutIdle(t *testing.T) {
	for _, row := range []struct {
		happens, policy string
		want            verdict
		retries         int
	}{
		{status(503), "{retry_on: 5xx}", served, 1},
		{"reset", "{retry_on: 5xx}", served, 1},
		{"silence", "{retry_on: 5xx, per_try_timeout: 50ms}", served, 1},
		{"silence", "{retry_on: retriable-4xx, per_try_timeout: 50ms}", verdict{"proxy", "upstream_try_timeout", 504}, 0},
	} {
		up, _ := failing(t, row.happens, plainOK)
		g := open(t, everyone+mapping("r", "/r/", up, "idle_timeout_ms: 0", "retry_policy: "+row.policy))
		if _, r := g.get("/r/"); r.verdict != row.want || r.Retries != row.retries {
			t.Errorf("%.12q with %s: got %+v after %d retries", row.happens, row.policy, r.verdict, r.Retries)
		}
	}
	mute := service(t, func(p *peer) { p.wait() })
	g := open(t, everyone+mapping("r", "/r/", "https://"+mute, "idle_timeout_ms: 0", "connect_timeout_ms: 50"))
	if _, r := g.get("/r/"); (r.verdict != verdict{"proxy", "dial_timeout", 503}) {
		t.Errorf("a dial that nobody answers: got %+v", r.verdict)
	}
}

// A body is sent again whole, however long and however far it had come, up to the limit.
func TestRetryBodies(t *testing.T) {
	chunked := func(body string) string {
		return fmt.Sprintf("POST /r/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	for _, row := range []struct {
		name    string
		text    func(body string) string
		size    int
		happens string
		module  string
		again   bool
	}{
		{"short", func(b string) string { return request("POST", "/r/", b) }, 1000, status(503), "", true},
		{"short, reset", func(b string) string { return request("POST", "/r/", b) }, 1000, "reset", "", true},
		{"long", func(b string) string { return request("POST", "/r/", b) }, 500_000, status(503), "", true},
		{"long, reset", func(b string) string { return request("POST", "/r/", b) }, 500_000, "reset", "", true},
		{"chunked", chunked, 500_000, status(503), "", true},
		{"chunked, reset", chunked, 500_000, "reset", "", true},
		{"at the limit", func(b string) string { return request("POST", "/r/", b) }, 1 << 20, status(503), "", true},
		{"over the limit", func(b string) string { return request("POST", "/r/", b) }, 1<<20 + 1, status(503), "", false},
		{"chunked over the limit", chunked, 1<<20 + 1, status(503), "", false},
		{"over a limit of its own", func(b string) string { return request("POST", "/r/", b) }, 200_000, status(503), "buffer_limit_bytes: 100000", false},
		{"short, and over a limit of its own", func(b string) string { return request("POST", "/r/", b) }, 2000, status(503), "buffer_limit_bytes: 1000", false},
		{"short, reset, and over a limit of its own", func(b string) string { return request("POST", "/r/", b) }, 2000, "reset", "buffer_limit_bytes: 1000", false},
		{"short, and at a limit of its own", func(b string) string { return request("POST", "/r/", b) }, 1000, status(503), "buffer_limit_bytes: 1000", true},
		{"chunked, short, and over a limit of its own", chunked, 2000, status(503), "buffer_limit_bytes: 1000", false},
		{"held back before, and over the limit", func(b string) string { return request("POST", "/r/", b) }, 2000, status(503), "buffer: {max_request_bytes: 4000}, buffer_limit_bytes: 1000", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, seen := failing(t, row.happens, plainOK)
			manifests := everyone + mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx}")
			if row.module != "" {
				manifests += moduleOf(row.module)
			}
			g := open(t, manifests)
			body := strings.Repeat("0123456789", row.size/10+1)[:row.size]
			a, r := g.send(row.text(body))
			if again := r.Retries == 1 && a.StatusCode == 200; again != row.again {
				t.Fatalf("got %d after %d retries, %+v", a.StatusCode, r.Retries, r.verdict)
			}
			for range r.Retries + 1 {
				if s := <-seen; s.body != body {
					t.Errorf("the upstream saw %d bytes, want %d", len(s.body), len(body))
				}
			}
		})
	}
}

// A try whose body was kept has as long as any other, counted from its own beginning.
func TestRetryBodyInItsOwnTime(t *testing.T) {
	up := service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			if p.n == 0 {
				p.wait()
				return
			}
			time.Sleep(50 * time.Millisecond)
			p.say(plainOK)
		}
	})
	g := open(t, everyone+mapping("r", "/r/", up, "timeout_ms: 9000", "retry_policy: {retry_on: 5xx, per_try_timeout: 300ms}"))
	a, r := g.send(request("POST", "/r/", strings.Repeat("0123456789", 20_000)))
	if a.StatusCode != 200 || r.Retries != 1 || r.Waited < 50 || r.Waited > 300 {
		t.Errorf("got %d after %d retries, %+v, the answer after %v ms", a.StatusCode, r.Retries, r.verdict, r.Waited)
	}
}

// A try whose body nobody takes ends when its time is over, and one that is answered before
// its body was taken when the answer is whole.
func TestRetryBodyThatNobodyTakes(t *testing.T) {
	for _, row := range []struct {
		second string // what the second endpoint does, having read no body
		fields string
		want   verdict
	}{
		{"", "timeout_ms: 3000", verdict{"proxy", "upstream_timeout", 504}},
		{"", "per_try", verdict{"proxy", "upstream_try_timeout", 504}},
		{status(413), "timeout_ms: 9000", verdict{"proxy", "", 413}},
	} {
		policy := "retry_policy: {retry_on: 5xx}"
		if row.fields == "per_try" {
			row.fields, policy = "timeout_ms: 9000", "retry_policy: {retry_on: 5xx, per_try_timeout: 1s}"
		}
		over := make(chan struct{})
		up := service(t, func(p *peer) {
			if p.n == 0 {
				p.request()
				p.say("HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				return
			}
			p.say(row.second)
			<-over
		})
		g := open(t, everyone+module("buffer_limit_bytes: 20000000")+mapping("r", "/r/", up, row.fields, policy))
		c := g.dial()
		begun := time.Now()
		c.say(request("POST", "/r/", strings.Repeat("0123456789", 1_000_000)))
		a, r := c.hear("POST"), g.next()
		if took := time.Since(begun); r.verdict != row.want || a.StatusCode != row.want.Status || r.Retries != 1 || took > 8*time.Second {
			t.Errorf("%.12q %s: got %d, %+v after %d retries and %v", row.second, row.fields, a.StatusCode, r.verdict, r.Retries, took)
		}
		close(over)
	}
}

// An endpoint that fails in the middle of a body costs nothing but time: what is left
// of it is taken from the client and goes to another.
func TestRetryMidBody(t *testing.T) {
	for _, early := range []string{"", status(503)} {
		var n atomic.Int64
		var failed atomic.Bool
		bodies := make(chan string, 2)
		up := service(t, func(p *peer) {
			if n.Add(1) == 1 {
				b := make([]byte, 1000)
				if _, err := p.br.Read(b); err != nil {
					t.Error(err)
				}
				p.say(early)
				p.reset()
				failed.Store(true)
				return
			}
			if r, body := p.request(); r != nil {
				bodies <- body
				p.say(plainOK)
			}
		})
		g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx}"))
		body := strings.Repeat("0123456789", 60_000)
		c := g.dial()
		text := request("POST", "/r/", body)
		c.say(text[:100_000])
		g.waitFor("the first endpoint has failed", failed.Load)
		c.say(text[100_000:])
		a := c.hear("POST")
		if r := g.next(); a.StatusCode != 200 || r.Retries != 1 {
			t.Fatalf("%q: got %d after %d retries, %+v", early, a.StatusCode, r.Retries, r.verdict)
		}
		if got := <-bodies; got != body {
			t.Errorf("%q: the second endpoint saw %d bytes, want %d", early, len(got), len(body))
		}
	}
}

// Retries are bounded together: what is beyond max_retries gets the answer that is there.
func TestMaxRetries(t *testing.T) {
	up, _ := failing(t, status(503))
	g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, num_retries: 5}", "circuit_breakers: [{max_retries: 0}]", "stats_name: r"))
	if a, r := g.get("/r/"); a.StatusCode != 503 || r.Retries != 0 || r.verdict != (verdict{"proxy", "", 503}) {
		t.Errorf("got %d after %d retries, %+v", a.StatusCode, r.Retries, r.verdict)
	}
	if n := g.upstreamStates()["r"].Overflows["max_retries"]; n != 1 {
		t.Errorf("counted %d overflows, want 1", n)
	}
	g = open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, num_retries: 3}", "circuit_breakers: [{max_retries: 1, max_requests: 1}]"))
	for range 5 { // what a request had of the budget it gives back
		if _, r := g.get("/r/"); r.Retries != 3 {
			t.Errorf("got %d retries, want 3", r.Retries)
		}
	}
}

// An answer for which there is no other try stays whole, also where it came before the
// request was.
func TestMaxRetriesMidBody(t *testing.T) {
	rest := make(chan struct{})
	up := service(t, func(p *peer) {
		if _, err := p.br.ReadByte(); err == nil {
			p.say("HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nhalf")
			<-rest
			p.say("whole")
			p.wait()
		}
	})
	goOn := sync.OnceFunc(func() { close(rest) })
	t.Cleanup(goOn)
	g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx}", "circuit_breakers: [{max_retries: 0}]", "stats_name: r"))
	text := request("POST", "/r/", strings.Repeat("0123456789", 60_000))
	c := g.dial()
	c.say(text[:100_000])
	g.waitFor("there is no other try", func() bool { return g.upstreamStates()["r"].Overflows["max_retries"] == 1 })
	goOn()
	a, r := c.hear("POST"), g.next()
	if a.StatusCode != 503 || a.body != "halfwhole" || a.err != nil || r.verdict != (verdict{"proxy", "", 503}) {
		t.Errorf("got %d %q %v, %+v", a.StatusCode, a.body, a.err, r.verdict)
	}
}

// No answer that has begun is sent again.
func TestNoRetryAfterHead(t *testing.T) {
	up, seen := failing(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", plainOK)
	g := open(t, everyone+mapping("r", "/r/", up, "retry_policy: {retry_on: 5xx, num_retries: 5}", "timeout_ms: 100"))
	a, r := g.get("/r/")
	if a.err == nil || r.Retries != 0 || len(seen) != 1 || r.Reason != "upstream_timeout" {
		t.Errorf("got %v after %d retries, %+v", a.err, r.Retries, r.verdict)
	}
}

func TestPauses(t *testing.T) {
	for tries, longest := range map[int]time.Duration{1: 25 * time.Millisecond, 2: 75 * time.Millisecond, 3: 175 * time.Millisecond, 4: 250 * time.Millisecond, 100: 250 * time.Millisecond} {
		if got := min(firstPause<<min(tries, 8)-firstPause, longestPause); got != longest {
			t.Errorf("before try %d: up to %v, want %v", tries, got, longest)
		}
	}
}

// A gone is a stream whose client has left.
type gone struct{ wire.Stream }

func (gone) Gone() bool { return true }

// Nobody pauses for a client that has left.
func TestNoPauseForWhoHasLeft(t *testing.T) {
	x := &Exchange{gateway: newGate(t).Gateway, stream: gone{}, tries: 9, Route: &Route{Route: noRoute}}
	begun := time.Now()
	for range 100 { // which would take 12 s
		if v := (&proxy{x.Route}).pause(x); v != Stop || x.Decision.Reason() != decision.ClientGone {
			t.Fatalf("got %v, %v", v, x.Decision.Reason())
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("that took %v", took)
	}
}
