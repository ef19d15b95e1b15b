package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rehearsed is a gateway that was only told what to serve.
func rehearsed(t testing.TB, manifests string) *gate {
	t.Helper()
	g := newGate(t)
	g.Rehearse(read(manifests))
	return g
}

const explained = everyone + `
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: shop}
spec: {hostname: shop.example.com, requestPolicy: {insecure: {action: Redirect}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {name: closed}
spec: {hostname: closed.example.com, requestPolicy: {insecure: {action: Reject}}}
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata: {name: auth}
spec: {auth_service: "auth:3000", proto: grpc}
`

func TestExplain(t *testing.T) {
	open := mapping("open", "/open/", "open:8080", "bypass_auth: true", "rewrite: /v2/", "host_rewrite: inner", "add_request_headers: {x-a: b, authorization: {value: s3cret, append: false}}",
		"remove_request_headers: [x-gone]", "add_response_headers: {x-c: {value: d, append: false}}", "remove_response_headers: [x-debug]")
	g := rehearsed(t, explained+open+mapping("locked", "/locked/", "locked:8080")+
		mapping("away", "/away/", "away.example.com", "host_redirect: true")+
		mapping("new", "/split/", "new:80", "bypass_auth: true", "weight: 10")+mapping("old", "/split/", "old:80", "bypass_auth: true")+
		mapping("cors", "/cors/", "cors:80", "bypass_auth: true", fullCORS))
	ten, nine := 10, 9
	for _, c := range []struct {
		name    string
		q       Question
		outcome string // stage, reason, status, refused, route
	}{
		{"served", Question{URL: "http://a/open/7?x=1"}, "proxy  0 false open.default"},
		{"no method is GET", Question{Method: "get", URL: "http://a/open/"}, "proxy  0 false open.default"},
		{"locked", Question{URL: "http://a/locked/"}, "authn auth_misconfigured 500 true locked.default"},
		{"no route, and nobody who could be asked about that", Question{URL: "http://a/nowhere"}, "authn auth_misconfigured 500 true "},
		{"redirected", Question{URL: "http://a/away/x"}, "proxy redirect 301 false away.default"},
		{"to https", Question{URL: "http://shop.example.com/open/"}, "match https_redirect 301 false open.default"},
		{"by Host", Question{URL: "http://a/open/", Headers: []string{"Host: shop.example.com"}}, "match https_redirect 301 false open.default"},
		{"rejected", Question{URL: "http://closed.example.com/open/"}, "match insecure_rejected 404 true "},
		{"health", Question{URL: "http://a/ambassador/v0/check_alive"}, "match health_check 200 false "},
		{"bad path", Question{URL: "http://a/open/%00"}, "accept bad_path 400 true "},
		{"bad framing", Question{Method: "POST", URL: "http://a/open/", Headers: []string{"Content-Length: 1", "Content-Length: 2"}}, "accept bad_framing 400 true "},
		{"share of the canary", Question{URL: "http://a/split/", Roll: &nine}, "proxy  0 false new.default"},
		{"share of the rest", Question{URL: "http://a/split/", Roll: &ten}, "proxy  0 false old.default"},
		{"preflight", Question{Method: "OPTIONS", URL: "http://a/cors/", Headers: []string{"Origin: https://a.example", "Access-Control-Request-Method: PUT"}}, "cors preflight 200 false cors.default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := g.Explain(c.q)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %s %d %v %s", e.Stage, e.Reason, e.Status, e.Refused, e.Route); got != c.outcome {
				t.Errorf("got %q, want %q: %+v", got, c.outcome, e)
			}
		})
	}
	e, _ := g.Explain(Question{URL: "http://a/open/7?x=1", From: "203.0.113.9", Headers: []string{"X-Gone: 1"}})
	if u := e.Upstream; u == nil || u.Authority != "inner" || u.Path != "/v2/7?x=1" || u.Name != "open_8080" {
		t.Errorf("upstream %+v", u)
	}
	for _, want := range []string{"x-forwarded-for: 203.0.113.9", "x-a: b", "authorization: (not shown)"} {
		if !slices.Contains(e.ToUp.Added, want) {
			t.Errorf("to the upstream %q is not among %q", want, e.ToUp.Added)
		}
	}
	if fmt.Sprint(e.ToUp.Removed, e.ToClient) != "[x-gone] &{[x-debug] [x-c: d]}" {
		t.Errorf("removed %q, answer %+v", e.ToUp.Removed, e.ToClient)
	}
	if got := fmt.Sprint(e.Candidates, e.Others); got != "[{open.default /open/ * 100 }] 5" {
		t.Errorf("candidates %s", got)
	}
	if got := fmt.Sprint(e.Stages); got != "[{accept  continue  []} {match  continue  []} {break threshold continue  [requests in flight: 0 of 1024]} {proxy proxy continue  []}]" {
		t.Errorf("stages %s", got)
	}
}

func TestExplainRefusesNonsense(t *testing.T) {
	if _, err := newGate(t).Explain(Question{URL: "http://a/"}); err == nil {
		t.Error("explained without a configuration")
	}
	g := rehearsed(t, everyone+mapping("m", "/", "m:80"))
	hundred := 100
	for want, q := range map[string]Question{
		"url: must be like":             {URL: "/orders/"},
		"url: must be like https://":    {URL: "ftp://a/"},
		"from: must be an IP address":   {URL: "http://a/", From: "home"},
		"roll: must be from 0 to 99":    {URL: "http://a/", Roll: &hundred},
		"headers: each must be like":    {URL: "http://a/", Headers: []string{"Accept"}},
		"headers: each must":            {URL: "http://a/", Headers: []string{"A: b\r\nHost: c"}},
		"method: must be like GET":      {URL: "http://a/", Method: "GET / HTTP/1.1\r\n"},
		"url: no Listener serves https": {URL: "https://a/"}, // the test's only Listener is cleartext
	} {
		if _, err := g.Explain(q); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", q, err, want)
		}
	}
}

// What explain says is what serving does, for requests of every kind that one Listener
// meets, and asking leaves no trace.
func TestExplainedIsServed(t *testing.T) {
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
	g := open(t, everyone+mapping("r", "/r/", up)+mapping("post", "/r/", up, "method: POST")+mapping("away", "/away/", "b", "host_redirect: true")+
		mapping("jwt", "/jwt/", up, "jwt: broken")+"\n")
	for _, line := range []string{"GET /r/x", "GET /away/x", "GET /jwt/", "GET /nowhere", "HEAD /r/", "GET /r/%00", "GET /ambassador/v0/check_ready"} {
		method, path, _ := strings.Cut(line, " ")
		e, err := g.Explain(Question{Method: method, URL: "http://" + g.addr() + path})
		if err != nil {
			t.Fatal(err)
		}
		c := g.dial()
		if _, err := c.Write([]byte(method + " " + path + " HTTP/1.1\r\nHost: " + g.addr() + "\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		r := g.next()
		if e.Stage != r.Stage || e.Reason != r.Reason || e.Route != strings.TrimPrefix(r.Route, "none") || e.Status != 0 && e.Status != r.Status {
			t.Errorf("%s: explained %s %s %d %s, served %+v", line, e.Stage, e.Reason, e.Status, e.Route, r)
		}
	}
	g.waitFor("no request is in flight", func() bool { return g.metrics.InFlight.Value() == 0 }) // the last record was written before its request ended
	select {
	case r := <-g.records:
		t.Errorf("asking left a record: %+v", r)
	default:
	}
}

func TestExplainHandshake(t *testing.T) {
	w := read(everyone + mapping("m", "/", "m:80"))
	w.Listeners[0].Stack = slices.Insert(w.Listeners[0].Stack, 0, 2)
	g := newGate(t)
	g.Rehearse(w)
	e, err := g.Explain(Question{URL: "https://a.example.com/"})
	if err != nil || !e.Refused || e.Reason != "tls_handshake" || !strings.Contains(e.Stages[0].Notes[0], `"a.example.com"`) {
		t.Errorf("got %+v, %v", e, err)
	}
}

// Asking costs those who serve nothing: a dry exchange is told by one comparison.
func TestDryStreamSendsNothing(t *testing.T) {
	s := &dryStream{}
	if _, err := s.WriteBody(nil); err == nil || s.WriteHead(200, nil, nil, 0) == nil || s.Flush() == nil || s.End(nil) == nil || s.Tunnel(nil, nil, nil) == nil {
		t.Error("a dry stream takes what it cannot send")
	}
}
