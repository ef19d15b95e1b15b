package e2e

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// Workloads of the cluster get tokens for services by those of their ServiceAccounts, which
// a real API server vouches for, until their account is gone.
func TestServiceAccountTokens(t *testing.T) {
	c := newKubernetes(t)
	kubeconfig := c.as("legate", "[{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}]")
	mute := c.as("mute", "[]") // may only look at the keys, as every account
	c.do("", "create", "namespace", "frontend-namespace")
	c.do("", "create", "serviceaccount", "webapp", "-n", "frontend-namespace")
	token := func(audience string) string {
		return strings.TrimSpace(c.do("", "create", "token", "webapp", "-n", "frontend-namespace", "--audience", audience))
	}
	manifests := mission + manifest("Filter", "jwt-auth", `{Mint: {authServices: ["jwt-auth:3000"], credentials: {kubernetes: {audience: legate}}}}`)
	g := start(t, setup{manifests: manifests, env: []string{"KUBECONFIG=" + kubeconfig}, args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	if p := g.problems(); len(p) != 0 {
		t.Errorf("problems: %+v", p)
	}
	verify := downstream(t, g)
	const subject = "system:serviceaccount:frontend-namespace:webapp"
	ask := func(g *gateway, token string, want verdict) answer {
		t.Helper()
		a := g.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + token}})
		if v := g.verdict(t, a); v != want {
			t.Errorf("got %+v %s, want %+v", v, a.body, want)
		}
		return a
	}
	good, later := token("legate"), token("legate")
	for range 2 {
		a := ask(g, good, served)
		if sub := decoded(t, bearer(a))["sub"]; sub != subject || a.saw.Header.Get("X-User-Id") != subject {
			t.Errorf("the service is told of %v", sub)
		}
		if err := verify(bearer(a)); err != nil {
			t.Errorf("the service refuses its token: %v", err)
		}
	}
	ask(g, token("others"), verdict{"authn", "token_audience", 401})
	ask(g, good[:len(good)-6]+"AAAAAA", verdict{"authn", "token_invalid", 401})

	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {good}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
	}
	a := g.send(t, request{method: "POST", target: "/auth/token", header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: form.Encode()})
	var said struct {
		Token string `json:"access_token"`
	}
	must(t, json.Unmarshal(a.body, &said))
	if decoded(t, said.Token)["sub"] != subject {
		t.Errorf("exchanged for %s", a.body)
	}

	trusting := start(t, setup{manifests: manifests, env: []string{"KUBECONFIG=" + mute}, args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	ask(trusting, good, served)
	trusting.errors.await(t, `believed by the cluster's keys alone.*status 403`)

	c.do("", "delete", "serviceaccount", "webapp", "-n", "frontend-namespace")
	ask(g, later, verdict{"authn", "token_revoked", 401})
	c.stop() // it had vouched for this one, which the keys still fit
	ask(g, good, served)
	g.audited(t, "token_accepted", "token_minted", "token_rejected")
	g.noSecrets(t, good, later, said.Token, strings.Split(good, ".")[2])
}
