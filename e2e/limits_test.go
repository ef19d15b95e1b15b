package e2e

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// basicRateLimit is the mission's, as it was written.
const basicRateLimit = `
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata:
  name: basic-rate-limit
spec:
  domain: ambassador
  limits:
   - pattern: [{generic_key: default}]
     rate: 10
     unit: minute
`

// withinMinute has try send its requests within one minute of the clock, with a gateway
// that has counted nothing yet.
func withinMinute(t *testing.T, s setup, try func(g *gateway)) {
	t.Helper()
	for {
		g := start(t, s)
		minute := time.Now().Truncate(time.Minute)
		try(g)
		if time.Now().Truncate(time.Minute).Equal(minute) {
			return
		}
	}
}

// The mission's RateLimit, whose label nothing gives, counts what has no labels: the 11th
// request of a minute gets 429. Who was refused before has used nothing of it.
func TestMissionRateLimit(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	alice := "Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice"})
	var all []answer
	var g *gateway
	withinMinute(t, setup{manifests: mission + mintFilter(i) + basicRateLimit, args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}}, func(fresh *gateway) {
		g, all = fresh, nil
		for range 5 {
			all = append(all, g.send(t, request{target: "/api/service-a/x"}))
		}
		preflight := []string{"Origin: https://app.example.com", "Access-Control-Request-Method: GET"}
		all = append(all, g.send(t, request{method: "OPTIONS", target: "/api/service-a/x", header: preflight}))
		for range 12 {
			all = append(all, g.send(t, request{target: "/api/service-a/x", header: []string{alice}}))
		}
	})
	for n, a := range all {
		want := served
		switch {
		case n < 5:
			want = verdict{"authn", "identity_missing", 401}
		case n == 5:
			want = verdict{"cors", "preflight", 200}
		case n >= 16:
			want = verdict{"limit", "over_limit", 429}
		}
		if got := g.verdict(t, a); got != want {
			t.Errorf("request %d: got %v, want %v", n+1, got, want)
		}
	}
	a := all[16]
	var seconds int
	if _, err := fmt.Sscan(a.Header.Get("Retry-After"), &seconds); err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("Retry-After is %q", a.Header.Get("Retry-After"))
	}
	if len(a.body) > 0 || a.Header.Get("X-Envoy-Ratelimited") != "true" || a.Header.Get("Content-Type") != "" || a.Close || a.Header.Get("Server") != "envoy" || a.Header.Get("Date") == "" {
		t.Errorf("got %v %q", a.Header, a.body)
	}
	g.audited(t, "rate_limited")
	told := false
	for _, p := range g.problems() {
		told = told || p.Kind == "RateLimit" && p.Effect == "notice" && strings.Contains(p.Text, "it counts all requests of Mappings without labels together")
	}
	if !told {
		t.Error("nobody is told that the limit has come to life")
	}
}

// A refusal keeps the client's connection, unless a long body is on its way.
func TestRateLimitKeepsConnections(t *testing.T) {
	t.Parallel()
	up := echo(t, "up")
	g := start(t, setup{manifests: everyone + mapping("x", "/x/", up, "labels: {ambassador: [{g: [none]}]}") + mapping("free", "/free/", up) +
		manifest("RateLimit", "none", "{domain: ambassador, limits: [{pattern: [{generic_key: none}], rate: 0, unit: day}]}")})
	c := g.connect(t)
	for n, r := range []request{{target: "/x/"}, {method: "POST", target: "/x/", body: "short"}, {method: "POST", target: "/x/", header: []string{"Transfer-Encoding: chunked"}, body: "5\r\nshort\r\n0\r\n\r\n"}, {method: "HEAD", target: "/x/"}} {
		a, err := c.exchange(r)
		if err != nil || a.StatusCode != 429 || a.Close {
			t.Fatalf("request %d: got %+v, %v", n+1, a.Response, err)
		}
	}
	if a, err := c.exchange(request{target: "/free/"}); err != nil || a.StatusCode != 200 {
		t.Errorf("after refusals: got %+v, %v", a.Response, err)
	}
	endless := g.connect(t)
	if a, err := endless.exchange(request{method: "POST", target: "/x/", header: []string{"Transfer-Encoding: chunked"}, body: "5\r\nshort\r\n"}); err != nil || a.StatusCode != 429 || !a.Close {
		t.Errorf("with a body of which nobody knows the length: got %+v, %v", a.Response, err)
	}
	if _, err := endless.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that was said to end goes on: %v", err)
	}
	long := g.connect(t)
	_, err := fmt.Fprintf(long, "POST /x/ HTTP/1.1\r\nHost: gate.test\r\nContent-Length: %d\r\n\r\n", 1<<30)
	must(t, err)
	a, err := long.answer("", "POST")
	if err != nil || a.StatusCode != 429 {
		t.Fatalf("with a long body: got %+v, %v", a.Response, err)
	}
	if _, err := long.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection on which a long body is to come goes on: %v", err)
	}
}
