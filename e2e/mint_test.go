package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// mission are the manifests that the whole thing is about, as they were written: only the
// Mint filter, which takes the place of the pod jwt-auth, is new.
const mission = `
---
apiVersion: getambassador.io/v3alpha1
kind: AuthService
metadata:
  name: jwt-auth-service
spec:
  auth_service: "jwt-auth:3000"
  proto: http
  path_prefix: "/auth"
  allowed_request_headers:
    - "authorization"
    - "origin"
    - "content-type"
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata:
  name: service-a-mapping
spec:
  prefix: /api/service-a/
  service: service-a.service-namespace:8080
  cors:
    origins:
      - "https://app.example.com"
    methods:
      - GET
      - POST
    credentials: true
  jwt:
    requireToken: true
    injectRequestHeaders:
      - name: "X-User-ID"
        value: "{{ .token.sub }}"
      - name: "X-User-Permissions"
        value: "{{ .token.permissions }}"
`

// htpasswd is of alice, with the password "wonderland".
const htpasswd = "alice:$2a$04$GF7K3LOZP5M4IkWMYY5oiuLLdsv3MhR.w6MbNZrexQY0u07U1dmtG"

func mintFilter(i *issuer) string {
	return `
---
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: ambassador}
stringData: {auth: "` + htpasswd + `"}
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: jwt-auth, namespace: ambassador}
spec:
  Mint:
    authServices: ["jwt-auth:3000"]
    ipRanges: client
    credentials:
      issuers: [{issuer: "` + i.url + `", audience: my-client}]
      passwords: {secretName: users}
`
}

// downstream verifies what services get, with a library that is not ours and the keys that
// istiod would fetch.
func downstream(t testing.TB, g *gateway) func(token string) error {
	t.Helper()
	keys := oidc.NewRemoteKeySet(t.Context(), "http://"+g.admin+"/.well-known/jwks.json")
	v := oidc.NewVerifier("ambassador-jwt-issuer", keys, &oidc.Config{ClientID: "service-a.service-namespace", SupportedSigningAlgs: []string{"ES256"}})
	return func(token string) error {
		_, err := v.Verify(t.Context(), token)
		return err
	}
}

// bearer is what the service got.
func bearer(a answer) string {
	return strings.TrimPrefix(a.saw.Header.Get("Authorization"), "Bearer ")
}

// The mission's AuthService and Mapping with the gateway itself in the place of the pod
// that makes tokens.
func TestMission(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	g := start(t, setup{manifests: mission + mintFilter(i), args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	verify := downstream(t, g)
	alice := i.token(t, map[string]any{"sub": "alice", "permissions": []string{"read", "write"}, "jti": "source-1"})
	tampered := alice[:len(alice)-6] + "AAAAAA"
	with := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	denied := func(reason string, status int) verdict { return verdict{"authn", reason, status} }

	first := g.send(t, request{target: "/api/service-a/x?secret=query", header: append(with(alice), "X-User-ID: root", "Origin: https://app.example.com")})
	if v := g.verdict(t, first); v != served {
		t.Fatalf("got %+v %s", v, first.body)
	}
	minted := bearer(first)
	if err := verify(minted); err != nil {
		t.Errorf("the service refuses its token: %v", err)
	}
	if id, permissions := first.saw.Header["X-User-Id"], first.saw.Header.Get("X-User-Permissions"); len(id) != 1 || id[0] != "alice" || permissions == "" {
		t.Errorf("the service is told %q and %q", id, permissions)
	}
	if first.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
		t.Errorf("the page may not read the answer: %v", first.Header)
	}
	claims := decoded(t, minted)
	for name, want := range map[string]any{
		"sub": "alice", "aud": []any{"service-a.service-namespace"}, "permissions": []any{"read", "write"}, "allowed_origins": []any{"https://app.example.com"},
		"ip_ranges": []any{"127.0.0.1/32"}, "src_jti": "source-1", "src_iss": i.url,
	} {
		if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
			t.Errorf("the token's %s is %v, want %v", name, claims[name], want)
		}
	}
	if again := g.send(t, request{target: "/api/service-a/y", header: with(alice)}); bearer(again) != minted {
		t.Error("the second request gets another token")
	}
	rows := []struct {
		name   string
		header []string
		want   verdict
	}{
		{"nobody", nil, denied("identity_missing", 401)},
		{"a token that was tampered with", with(tampered), denied("token_invalid", 401)},
		{"a token that has expired", with(i.token(t, map[string]any{"sub": "a", "exp": time.Now().Add(-time.Minute).Unix()})), denied("token_expired", 401)},
		{"a token for another audience", with(i.token(t, map[string]any{"sub": "a", "aud": "other"})), denied("token_audience", 401)},
		{"a token of another issuer", with(i.token(t, map[string]any{"sub": "a", "iss": "https://evil.example.com"})), denied("token_issuer", 401)},
		{"a token that a service got", with(minted), denied("token_audience", 401)},
		{"no token", with("opaque"), denied("token_malformed", 401)},
		{"a wrong password", []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:x"))}, denied("password_wrong", 401)},
		{"a password", []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:wonderland"))}, served},
	}
	for _, r := range rows {
		a := g.send(t, request{target: "/api/service-a/x", header: r.header})
		if v := g.verdict(t, a); v != r.want {
			t.Errorf("%s: got %+v, want %+v", r.name, v, r.want)
		}
		if r.want.Status == 401 && (a.Header.Get("WWW-Authenticate") == "" || strings.Contains(string(a.body), i.url)) {
			t.Errorf("%s: challenge %q, body %s", r.name, a.Header.Get("WWW-Authenticate"), a.body)
		}
	}
	g.noSecrets(t, alice, minted, tampered, "wonderland", "secret=query", strings.Split(alice, ".")[2], strings.Split(minted, ".")[2])
	g.audited(t, "token_minted", "token_accepted", "token_rejected", "login_success", "login_failure", "key_rotation")
}

func decoded(t testing.TB, token string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	var claims map[string]any
	must(t, json.Unmarshal(text, &claims))
	return claims
}

// noSecrets looks for what no log may say.
func (g *gateway) noSecrets(t testing.TB, secrets ...string) {
	t.Helper()
	for _, line := range append(g.log.text(), g.errors.all()...) {
		for _, s := range secrets {
			if strings.Contains(line, s) {
				t.Errorf("a log says %q: %s", s, line)
			}
		}
	}
}

// audited waits for events in the audit log.
func (g *gateway) audited(t testing.TB, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		eventually(t, 10*time.Second, kind+" is in the audit log", func() bool {
			for _, line := range g.log.text() {
				if strings.Contains(line, `"log":"audit"`) && strings.Contains(line, `"event":"`+kind+`"`) {
					return true
				}
			}
			return false
		})
	}
}

// A token of the token endpoint is a credential until it is revoked.
func TestTokenEndpoints(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	g := start(t, setup{manifests: mission + mintFilter(i), args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	form := func(path string, f url.Values, header ...string) answer {
		return g.send(t, request{method: "POST", target: path, header: append(header, "Content-Type: application/x-www-form-urlencoded"), body: f.Encode()})
	}
	issued := func(f url.Values) string {
		a := form("/auth/token", f)
		var said struct {
			Token string `json:"access_token"`
		}
		must(t, json.Unmarshal(a.body, &said))
		if v := g.verdict(t, a); v != (verdict{"authn", "own_endpoint", 200}) || said.Token == "" || a.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("got %+v %s %v", v, a.body, a.Header)
		}
		return said.Token
	}
	byPassword := issued(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"wonderland"}})
	exchanged := issued(url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {i.token(t, map[string]any{"sub": "bob"})},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	})
	for token, sub := range map[string]string{byPassword: "alice", exchanged: "bob"} {
		a := g.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + token}})
		if v := g.verdict(t, a); v != served || a.saw.Header.Get("X-User-Id") != sub || decoded(t, bearer(a))["sub"] != sub {
			t.Errorf("%s: got %+v", sub, v)
		}
	}
	if a := form("/auth/revoke", url.Values{"token": {byPassword}}); a.StatusCode != 200 {
		t.Errorf("revoking: %d %s", a.StatusCode, a.body)
	}
	a := g.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + byPassword}})
	if v := g.verdict(t, a); v != (verdict{"authn", "token_revoked", 401}) {
		t.Errorf("after it was revoked: %+v", v)
	}
	for target, want := range map[string]verdict{
		"/auth/.well-known/jwks.json":            {"authn", "own_endpoint", 200},
		"/auth/.well-known/openid-configuration": {"authn", "own_endpoint", 200},
		"/auth/token":                            {"authn", "token_request_refused", 405},
	} {
		if v := g.verdict(t, g.send(t, request{target: target})); v != want {
			t.Errorf("%s: got %+v, want %+v", target, v, want)
		}
	}
	large := form("/auth/token", url.Values{"x": {strings.Repeat("x", 70<<10)}})
	if v := g.verdict(t, large); v != (verdict{"accept", "body_too_large", 413}) {
		t.Errorf("a body that is too large: %+v", v)
	}
	g.noSecrets(t, byPassword, exchanged, "wonderland")
	g.audited(t, "token_revoked")
}

// Reloads take away neither keys nor what was revoked, and refuse nobody.
func TestMintingThroughReloads(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	manifests := mission + mintFilter(i)
	g := start(t, setup{manifests: manifests, args: []string{"--resolve", "service-a.service-namespace=" + echo(t, "service-a")}})
	verify := downstream(t, g)
	token := i.token(t, map[string]any{"sub": "alice"})
	_, before := g.operator("/.well-known/jwks.json")
	var stop atomic.Bool
	var sent atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !stop.Load() {
				a, err := g.try(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + token}})
				if err != nil || a.StatusCode != 200 || a.saw == nil {
					t.Errorf("a request failed: %v %v", err, a.Response)
					return
				}
				if err := verify(bearer(a)); err != nil {
					t.Errorf("the service refuses its token: %v", err)
					return
				}
				sent.Add(1)
			}
		})
	}
	for n := range 15 {
		g.replace(manifests + mapping(fmt.Sprintf("other-%d", n), "/other/", "127.0.0.1:1", "bypass_auth: true"))
	}
	stop.Store(true)
	clients.Wait()
	if _, after := g.operator("/.well-known/jwks.json"); after != before {
		t.Errorf("the keys were %s and are %s", before, after)
	}
	if sent.Load() < 50 {
		t.Errorf("only %d requests were sent meanwhile", sent.Load())
	}
}
