package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What a shadow sees of a request, and that the request does not notice it.
func TestShadow(t *testing.T) {
	long := strings.Repeat("b", 300_000)
	for _, row := range []struct {
		name, text, host, path, body string
		fields                       []string
	}{
		{"a GET", request("GET", "/x/a?b=c", "", "X-A: 1"), "example.com-shadow", "/a?b=c", "", nil},
		{"a port", strings.Replace(request("GET", "/x/", ""), "example.com", "example.com:8080", 1), "example.com-shadow:8080", "/", "", nil},
		{"a body", request("POST", "/x/", "body"), "example.com-shadow", "/", "body", nil},
		{"a long one", request("POST", "/x/", long), "example.com-shadow", "/", long, nil},
		{"in chunks", "POST /x/ HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "example.com-shadow", "/", "body", nil},
		{"what the route changes", request("GET", "/x/a", ""), "other-shadow", "/y/a", "", []string{"rewrite: /y/", "host_rewrite: other", "add_request_headers: {x-added: v}"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, seen := seeing(t, plainOK)
			second, copies := seeing(t, "HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nabc")
			g := open(t, everyone+mapping("x", "/x/", up, row.fields...)+mapping("copy", "/x/", second, "shadow: true"))
			a, rec := g.send(row.text)
			if rec.verdict != served || a.body != "ok" || rec.Route != "x.default" {
				t.Errorf("got %v %q by %s", rec.verdict, a.body, rec.Route)
			}
			one, two := <-seen, <-copies
			if two.Host != row.host || two.URL.RequestURI() != row.path || two.body != row.body || two.Method != one.Method || two.ContentLength != int64(len(row.body)) {
				t.Errorf("the shadow saw %s %s%s, %d bytes of %d", two.Method, two.Host, two.URL, len(two.body), two.ContentLength)
			}
			one.Header.Del("Content-Length")
			two.Header.Del("Content-Length")
			if fmt.Sprint(one.Header) != fmt.Sprint(two.Header) {
				t.Errorf("the service saw %v, the shadow %v", one.Header, two.Header)
			}
		})
	}
}

// A shadow that is not there, or never answers, costs nobody anything; one alone serves
// nobody; of two the first counts; some see a share only.
func TestShadowIsNobodysBusiness(t *testing.T) {
	up, seen := seeing(t, plainOK)
	silent := service(t, func(p *peer) { p.wait() })
	for name, shadow := range map[string]string{"gone": "127.0.0.1:1", "silent": silent} {
		g := open(t, everyone+mapping("x", "/x/", up, "timeout_ms: 100")+mapping("copy", "/x/", shadow, "shadow: true"))
		start := time.Now()
		if _, rec := g.get("/x/"); rec.verdict != served {
			t.Errorf("%s: got %v", name, rec.verdict)
		}
		if took := time.Since(start); took > patience/2 {
			t.Errorf("%s: took %v", name, took)
		}
		eventually(t, name+" is counted", func() bool { return g.metrics.Shadowed("copy.default", "failed").Value() == 1 })
		<-seen
	}
	g := open(t, everyone+mapping("copy", "/x/", up, "shadow: true"))
	if _, rec := g.get("/x/"); rec.verdict != (verdict{"match", "no_route", 404}) {
		t.Errorf("alone: got %v", rec.verdict)
	}
	second, copies := seeing(t, plainOK)
	g = open(t, everyone+mapping("a", "/x/", second, "shadow: true", "weight: 0")+mapping("b", "/x/", second, "shadow: true")+mapping("x", "/x/", up))
	for range 20 {
		if _, rec := g.get("/x/"); rec.verdict != served || rec.Route != "x.default" {
			t.Errorf("got %v by %s", rec.verdict, rec.Route)
		}
	}
	if len(copies) != 0 || g.metrics.Shadowed("a.default", "sent").Value() != 0 {
		t.Errorf("%d copies of none", len(copies))
	}
}

// What a request is refused for is not copied, nor is a body that is too long to be kept.
func TestShadowOfWhat(t *testing.T) {
	up, _ := seeing(t, plainOK)
	second, copies := seeing(t, plainOK)
	for name, row := range map[string]struct {
		module  string
		fields  []string
		text    string
		dropped uint64
	}{
		"a denial":    {"server_name: x", []string{"jwt: broken"}, request("GET", "/x/", ""), 0},
		"an upgrade":  {"server_name: x", []string{"allow_upgrade: [websocket]"}, request("GET", "/x/", "", "Connection: upgrade", "Upgrade: websocket"), 0},
		"a long body": {"buffer_limit_bytes: 1000", nil, request("POST", "/x/", strings.Repeat("b", 200_000)), 1},
	} {
		g := open(t, everyone+module(row.module)+mapping("x", "/x/", up, row.fields...)+mapping("copy", "/x/", second, "shadow: true"))
		g.send(row.text)
		if n := g.metrics.Shadowed("copy.default", "dropped").Value(); len(copies) > 0 || n != row.dropped {
			t.Errorf("%s: %d copies, %d dropped", name, len(copies), n)
		}
	}
}

func TestShadowHost(t *testing.T) {
	for host, want := range map[string]string{
		"a.example": "a.example-shadow", "a.example:80": "a.example-shadow:80", "10.0.0.1": "10.0.0.1-shadow",
		"[::1]": "[::1]-shadow", "[::1]:80": "[::1]-shadow:80", "": "-shadow", "80": "80-shadow",
	} {
		if got := shadowHost(host); got != want {
			t.Errorf("%q became %q, want %q", host, got, want)
		}
	}
}
