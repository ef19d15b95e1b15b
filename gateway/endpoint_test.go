package gateway

import (
	"strings"
	"testing"

	"legate/authn"
	"legate/decision"
	"legate/wire"
)

// An echoEndpoint answers with what it was asked.
type echoEndpoint struct{}

func (echoEndpoint) Serve(c *authn.Call) {
	text := string(c.Head.MethodName()) + " " + string(c.Path)
	if c.Body != nil {
		body, whole, err := c.Body.Peek(maxEndpointBody)
		if err != nil || !whole {
			text += " (cut off)"
		}
		text += " " + string(body)
	}
	c.ToClient.AddName([]byte("x-told"), []byte("yes"))
	c.Reply = authn.Reply{
		Reason: decision.OwnEndpoint, By: c.Reply.By, Status: 201, ContentType: []byte("text/echo"),
		Headers: []wire.Add{{Name: []byte("x-echo"), Value: []byte("1")}}, Body: []byte(text),
	}
}

// withEndpoints has the current configuration answer paths of its own.
func (g *gate) withEndpoints(paths ...string) {
	g.t.Helper()
	next := *g.snap.Load()
	next.endpoints = &authn.Endpoints{}
	for _, p := range paths {
		if !next.endpoints.Add(p, echoEndpoint{}, "Filter default/echo") {
			g.t.Fatalf("%s is taken", p)
		}
	}
	g.snap.Store(&next)
}

func TestOwnEndpoints(t *testing.T) {
	own := verdict{"authn", "own_endpoint", 201}
	large := strings.Repeat("x", maxEndpointBody)
	rows := []struct {
		name, manifests, request string
		want                     verdict
		body                     string
	}{
		{"a path of its own", everyone, request("GET", "/auth/token", ""), own, "GET /auth/token"},
		{"the query is no part of it", everyone, request("GET", "/auth/token?a=b", ""), own, "GET /auth/token"},
		{"normalised", everyone, request("GET", "/auth/./x/../token", ""), own, "GET /auth/token"},
		{"whatever Mappings there are", everyone + mapping("all", "/", "127.0.0.1:1"), request("GET", "/auth/token", ""), own, "GET /auth/token"},
		{"below a prefix", everyone, request("GET", "/.ambassador/oauth2/cb", ""), own, "GET /.ambassador/oauth2/cb"},
		{"with its body", everyone, request("POST", "/auth/token", "a=b&c=d"), own, "POST /auth/token a=b&c=d"},
		{"as large a body as may be", everyone, request("POST", "/auth/token", large), own, "POST /auth/token " + large},
		{"a body that is too large", everyone, request("POST", "/auth/token", large+"x"), verdict{"accept", "body_too_large", 413}, "Payload Too Large"},
		{"another path", everyone, request("GET", "/auth/tokens", ""), verdict{"match", "no_route", 404}, ""},
		{"no Host serves the name", strings.Replace(everyone, `"*"`, "other.example.com", 1), request("GET", "/auth/token", ""), verdict{"match", "no_host", 404}, ""},
		{"the Host redirects to https", strings.Replace(everyone, "Route", "Redirect", 1), request("GET", "/auth/token", ""), verdict{"match", "https_redirect", 301}, ""},
		{"the Host rejects what is not secure", strings.Replace(everyone, "Route", "Reject", 1), request("GET", "/auth/token", ""), verdict{"match", "insecure_rejected", 404}, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			g := open(t, r.manifests)
			g.withEndpoints("/auth/token", "/.ambassador/oauth2/*")
			a, rec := g.send(r.request)
			if rec.verdict != r.want || a.body != r.body {
				t.Errorf("got %+v %.80q, want %+v %.80q", rec.verdict, a.body, r.want, r.body)
			}
			if r.want != own {
				return
			}
			if a.Header.Get("Content-Type") != "text/echo" || a.Header.Get("X-Echo") != "1" || a.Header.Get("X-Told") != "yes" || rec.By != "Filter default/echo" {
				t.Errorf("got head %v by %q", a.Header, rec.By)
			}
		})
	}
}

// An endpoint's refusals are no reason to end the connection.
func TestEndpointKeepsConnection(t *testing.T) {
	g := open(t, everyone)
	g.withEndpoints("/auth/token")
	c := g.dial()
	for range 3 {
		c.say(request("POST", "/auth/token", "a=b"))
		if a := c.hear("POST"); a.StatusCode != 201 {
			t.Fatalf("got %d", a.StatusCode)
		}
	}
}

func TestExplainEndpointDoesNothing(t *testing.T) {
	g := open(t, everyone)
	g.withEndpoints("/auth/token")
	e, err := g.Explain(Question{Method: "POST", URL: "http://example.com/auth/token"})
	if err != nil {
		t.Fatal(err)
	}
	if e.Reason != "own_endpoint" || e.Refused || e.By != "Filter default/echo" || e.ToClient != nil && len(e.ToClient.Added) > 1 {
		t.Errorf("got %+v", e)
	}
}
