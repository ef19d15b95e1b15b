package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// FilterPolicies and Filters change in every way while requests never stop: nobody passes
// who is not known, nobody is refused who is, and none is lost.
func TestPoliciesUnderLoad(t *testing.T) {
	t.Parallel()
	i, other := startIssuer(t), startIssuer(t)
	up, open := echo(t, "up"), echo(t, "open")
	j := startJudge(t)
	// Every configuration guards /api/ by the issuer's keys, in one way or another, and
	// leaves /open/ to anybody.
	jwt := func(name, more string) string {
		return manifest("Filter", name, fmt.Sprintf(`{JWT: {jwksURI: %q, injectRequestHeaders: [{name: X-User, value: "{{ .token.sub }}"}]%s}}`, i.url+"/keys", more))
	}
	policy := func(name, rules string) string { return manifest("FilterPolicy", name, "{rules: ["+rules+"]}") }
	foreign := manifest("Filter", "foreign", fmt.Sprintf("{JWT: {jwksURI: %q}}", other.url+"/keys"))
	worlds := []string{
		jwt("a", "") + policy("p", "{path: /api/*, filters: [{name: a}]}"),
		jwt("a", `, audience: my-client`) + policy("p", "{path: /open/*, filters: null}, {path: /*, filters: [{name: a}]}"),
		jwt("b", `, requireExpiresAt: true`) + policy("q", "{path: /api/*, precedence: 5, filters: [{name: b}]}") + policy("r", "{path: /open/*}"),
		jwt("a", "") + foreign + policy("p", "{path: /api/*, filters: [{name: foreign, onDeny: continue, onAllow: break}, {name: a}]}"),
		policy("p", fmt.Sprintf(`{path: /api/*, filters: [{name: nowhere, arguments: {jwksURI: %q, audience: my-client}}, {name: a}]}`, i.url+"/keys")) + jwt("a", ""),
		jwt("a", "") + manifest("Filter", "asks", fmt.Sprintf("{External: {auth_service: %q}}", j.addr)) + policy("p", `{path: /api/*, filters: [{name: a}, {name: asks, ifRequestHeader: {name: x-ask}}]}`),
	}
	config := func(n int) string {
		return everyone + mapping("up", "/api/", up, "timeout_ms: 20000", fmt.Sprintf("rewrite: /g%d/", n)) + mapping("open", "/open/", open, "timeout_ms: 20000") + worlds[n%len(worlds)]
	}
	g := start(t, setup{manifests: config(0), args: []string{"--token-failures", "0"}}) // all come from one address
	token := "Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice"})
	forged := "Authorization: Bearer " + newIssuer(t).token(t, map[string]any{"sub": "root", "iss": i.url})
	kinds := []struct {
		request
		want int
		user string
	}{
		{request{target: "/api/x", header: []string{token, "X-User: root"}}, 200, "alice"},
		{request{target: "/api/x", header: []string{"X-User: root"}}, 401, ""},
		{request{target: "/api/x", header: []string{forged}}, 401, ""},
		{request{target: "/open/x"}, 200, ""},
		{request{target: "/api/x", header: []string{"Authorization: Bearer NEW"}}, 200, "alice"},
	}
	var stop atomic.Bool
	var sent [5]atomic.Int64
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			c := g.connect(t)
			for m := n; !stop.Load(); m++ {
				k := kinds[m%len(kinds)]
				if m%len(kinds) == 4 { // a token that nobody has seen
					k.header = []string{"Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice", "jti": fmt.Sprint(n, "-", m)})}
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				a, err := c.exchange(k.request)
				if err != nil || a.StatusCode != k.want || k.user != "" && strings.Join(a.saw.Header.Values("X-User"), "|") != k.user {
					t.Errorf("%s, of kind %d: got %v %s: %v", k.target, m%len(kinds), a.Response, a.body, err)
					return
				}
				sent[m%len(kinds)].Add(1)
			}
		})
	}
	for n := range 60 {
		g.replace(config(n + 1))
	}
	stop.Store(true)
	clients.Wait()
	for k := range sent {
		if sent[k].Load() < 30 {
			t.Errorf("only %d requests of kind %d", sent[k].Load(), k)
		}
	}
	g.noSecrets(t, strings.Split(token, ".")[2], strings.Split(forged, ".")[2])
}
