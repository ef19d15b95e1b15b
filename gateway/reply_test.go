package gateway

import (
	"strings"
	"testing"
)

// What clients get of answers of our own: Envoy's words for each reason, with their type
// where there are any, and nothing that only an answer of a service has.
func TestLocalAnswers(t *testing.T) {
	silent := service(t, func(p *peer) { p.request(); p.wait() })
	closing := service(t, func(p *peer) { p.request() })
	broken := service(t, func(p *peer) { p.request(); p.say("hello\r\n\r\n") })
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+module("buffer: {max_request_bytes: 10}", "ip_deny: [{remote: 198.51.100.0/24}]", "use_remote_address: false", "reject_requests_with_escaped_slashes: true",
		"headers_with_underscores_action: REJECT_REQUEST")+
		mapping("x", "/x/", up, fullCORS)+
		mapping("refused", "/refused/", refusing(t))+
		mapping("slow", "/slow/", silent, "timeout_ms: 50")+
		mapping("tried", "/tried/", silent, "retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 50ms}")+
		mapping("idle", "/idle/", silent, "timeout_ms: 0", "idle_timeout_ms: 50")+
		mapping("full", "/full/", silent, "circuit_breakers: [{max_requests: 0}]")+
		mapping("closing", "/closing/", closing)+mapping("broken", "/broken/", broken)+
		mapping("moved", "/moved/", "elsewhere.example", "host_redirect: true")+
		mapping("nowhere", "/nowhere/", "nowhere.invalid", "connect_timeout_ms: 50"),
		func(o *Options) { o.Upstream.DNS = refusing(t) })
	overloaded := map[string]string{"X-Envoy-Overloaded": "true"}
	for _, row := range []struct {
		request, stage, reason string
		status                 int
		body                   string
		headers                map[string]string
		closes                 bool
	}{
		{request("GET", "/none/", ""), "match", "no_route", 404, "", nil, false},
		{request("GET", "/x/a%00", ""), "accept", "bad_path", 400, "", nil, true},
		{request("GET", "/x/a%2fb", ""), "accept", "bad_path", 400, "", nil, true},
		{request("GET", "/x/", "", "x_y: 1"), "accept", "header_underscore", 400, "", nil, true},
		{"GET /x/ HTTP/1.1\r\n\r\n", "accept", "bad_host", 400, "", nil, true},
		{"GET /x/ HTTP/1.0\r\nHost: a\r\n\r\n", "accept", "http10_disabled", 426, "", nil, true},
		{request("GET", "/x/", "", "Content-Length: 1", "Transfer-Encoding: chunked"), "accept", "bad_framing", 400, "", nil, true},
		{request("GET", "/x/", "", "X: "+strings.Repeat("x", 61<<10)), "accept", "header_too_large", 431, "", nil, true},
		{request("POST", "/x/", "more than ten bytes"), "accept", "body_too_large", 413, "Payload Too Large", nil, true},
		{request("GET", "/x/", "", "X-Forwarded-For: 198.51.100.7"), "accept", "address_denied", 403, "RBAC: access denied", nil, false},
		{request("GET", "/x/", "", "Connection: upgrade", "Upgrade: websocket"), "proxy", "upgrade_refused", 403, "", nil, false},
		{request("OPTIONS", "/x/", "", "Origin: https://a.example", "Access-Control-Request-Method: GET"), "cors", "preflight", 200, "", map[string]string{"Access-Control-Allow-Origin": "https://a.example"}, false},
		{request("GET", "/refused/", ""), "proxy", "dial_refused", 503, connectError + "connection failure", nil, false},
		{request("GET", "/closing/", ""), "proxy", "upstream_reset_before_head", 503, connectError + "connection termination", nil, false},
		{request("GET", "/broken/", ""), "proxy", "upstream_bad_answer", 502, connectError + "protocol error", nil, false},
		{request("GET", "/nowhere/", ""), "proxy", "no_endpoints", 503, "no healthy upstream", nil, false},
		{request("GET", "/full/", ""), "break", "upstream_overflow", 503, connectError + "overflow", overloaded, false},
		{request("GET", "/slow/", ""), "proxy", "upstream_timeout", 504, "upstream request timeout", nil, false},
		{request("GET", "/tried/", ""), "proxy", "upstream_try_timeout", 504, "upstream request timeout", nil, false},
		{request("GET", "/idle/", ""), "proxy", "upstream_idle", 504, "stream timeout", nil, false},
		{request("GET", "/moved/", ""), "proxy", "redirect", 301, "", map[string]string{"Location": "http://elsewhere.example/moved/"}, false},
		{request("GET", "/ambassador/v0/check_alive", ""), "match", "health_check", 200, "Ambassador is alive and well\n", map[string]string{"Cache-Control": "no-cache, no-store"}, false},
	} {
		t.Run(row.reason, func(t *testing.T) {
			a, rec := g.send(row.request)
			if want := (verdict{row.stage, row.reason, row.status}); rec.verdict != want || a.StatusCode != row.status || a.body != row.body {
				t.Errorf("got %v, %d %q, want %v, %q", rec.verdict, a.StatusCode, a.body, want, row.body)
			}
			kind := ""
			if row.body != "" {
				kind = "text/plain"
			}
			if a.Header.Get("Content-Type") != kind || a.ContentLength != int64(len(row.body)) {
				t.Errorf("type %q and length %d for %q", a.Header.Get("Content-Type"), a.ContentLength, row.body)
			}
			if a.Header.Get("Server") != "envoy" || a.Header.Get("Date") == "" || a.Header.Get("X-Envoy-Upstream-Service-Time") != "" || a.Close != row.closes {
				t.Errorf("closes: %v, %v", a.Close, a.Header)
			}
			for name, value := range row.headers {
				if a.Header.Get(name) != value {
					t.Errorf("%s: %q, want %q", name, a.Header.Get(name), value)
				}
			}
			if a.Header.Get("X-Envoy-Overloaded") != row.headers["X-Envoy-Overloaded"] {
				t.Errorf("%v", a.Header)
			}
		})
	}
}

// A client that is refused in the middle of a long body is told that its connection ends;
// one with a short body keeps it, and so does one whose body is there already.
func TestRefusedInTheMiddle(t *testing.T) {
	g := open(t, everyone+mapping("x", "/x/", "127.0.0.1:1"))
	for _, row := range []struct {
		name   string
		head   string
		begun  string // of the body, sent with the head
		rest   string // sent after the answer
		closes bool
	}{
		{"much is still to come", "Content-Length: 10000000", "", "", true},
		{"a byte more than is waited for", "Content-Length: 262145", "", "", true},
		{"as much as is waited for", "Content-Length: 262144", "", strings.Repeat("x", 262144), false},
		{"little is still to come", "Content-Length: 3", "", "abc", false},
		{"nobody knows how much", "Transfer-Encoding: chunked", "", "", true},
		{"nobody knows how much behind a chunk", "Transfer-Encoding: chunked", "5\r\nshort\r\n", "", true},
		{"chunks of which the last is not there", "Transfer-Encoding: chunked", "5\r\nshort\r\n0\r\n", "", true},
		{"chunks that are all there", "Transfer-Encoding: chunked", "5\r\nshort\r\n0\r\n\r\n", "", false},
		{"chunks that are all there, with a trailer", "Transfer-Encoding: chunked", "5;a=b\r\nshort\r\n0\r\nX: y\r\n\r\n", "", false},
		{"chunks that are broken", "Transfer-Encoding: chunked", "5\r\nshorter\r\n0\r\n\r\n", "", true},
		{"chunks cut too fine", "Transfer-Encoding: chunked", strings.Repeat("1\r\nx\r\n", 64) + "0\r\n\r\n", "", true},
		{"nothing", "Content-Length: 0", "", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := dialAddr(t, g.addr())
			c.say("POST /none/ HTTP/1.1\r\nHost: gate.test\r\n" + row.head + "\r\n\r\n" + row.begun)
			a := c.hear("POST")
			if a.StatusCode != 404 || a.Close != row.closes {
				t.Fatalf("got %d, closes: %v", a.StatusCode, a.Close)
			}
			if row.closes {
				c.ends()
				return
			}
			c.say(row.rest + request("GET", "/none/", ""))
			if a := c.hear("GET"); a.StatusCode != 404 {
				t.Errorf("the next request: got %d", a.StatusCode)
			}
		})
	}
}
