package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"legate/istio"
)

// A sidecar does with a token what Istio's does: it verifies it by a copy of the key set,
// then judges its claims by the RequestAuthentication and the AuthorizationPolicy.
type sidecar struct {
	*oidc.IDTokenVerifier
	rules *istio.Policies
}

// sidecarOf is one of a service, at a time.
func sidecarOf(t testing.TB, g *gateway, rules *istio.Policies, audience string, now time.Time) *sidecar {
	t.Helper()
	keys := oidc.NewRemoteKeySet(t.Context(), "http://"+g.admin+"/.well-known/jwks.json")
	return &sidecar{oidc.NewVerifier("ambassador-jwt-issuer", keys, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: []string{"ES256"}, Now: func() time.Time { return now },
	}), rules}
}

// takes returns why the sidecar lets nobody in by token; "" where it lets them in.
func (s *sidecar) takes(t testing.TB, token string) string {
	t.Helper()
	id, err := s.Verify(t.Context(), token)
	if err != nil {
		return err.Error()
	}
	var claims map[string]any
	must(t, id.Claims(&claims))
	for _, v := range s.rules.Judge(claims) {
		if !v.Satisfied {
			return v.Object + ": " + v.Because
		}
	}
	return ""
}

// Who verifies minted tokens behind the gateway takes those that are for them, and no
// others.
func TestDownstream(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	const service = "service-a.service-namespace"
	g := start(t, setup{manifests: mission + mintFilter(i), args: []string{"--resolve", service + "=" + echo(t, "service-a")}})
	a := g.send(t, request{target: "/api/service-a/x", header: []string{"Authorization: Bearer " + i.token(t, map[string]any{"sub": "alice", "permissions": []string{"read"}})}})
	if v := g.verdict(t, a); v != served {
		t.Fatalf("got %v %s", v, a.body)
	}
	token, now := bearer(a), time.Now()
	parts := strings.Split(token, ".")
	altered := func(change func(claims map[string]any)) string {
		claims := decoded(t, token)
		change(claims)
		payload, err := json.Marshal(claims)
		must(t, err)
		return parts[0] + "." + b64(payload) + "." + parts[2]
	}
	rules := func(rule string) *istio.Policies {
		p := istioOf(t, service)
		if rule != "" {
			must(t, p.Read("more.yaml", strings.NewReader("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: more, namespace: api-namespace}\nspec: {rules: ["+rule+"]}\n")))
		}
		return p
	}
	mine := rules("")
	for _, row := range []struct {
		name  string
		by    *sidecar
		token string
		want  string // part of why not
	}{
		{"its own", sidecarOf(t, g, mine, service, now), token, ""},
		{"by a principal", sidecarOf(t, g, rules(`{from: [{source: {requestPrincipals: ["ambassador-jwt-issuer/alice"]}}]}`), service, now), token, ""},
		{"by a permission", sidecarOf(t, g, rules(`{when: [{key: "request.auth.claims[permissions]", values: [read]}]}`), service, now), token, ""},
		{"by an audience", sidecarOf(t, g, rules(`{when: [{key: request.auth.audiences, values: [service-a.service-namespace]}]}`), service, now), token, ""},
		{"a permission that it has not", sidecarOf(t, g, rules(`{when: [{key: "request.auth.claims[permissions]", values: [write]}]}`), service, now), token, "permissions"},
		{"somebody else's", sidecarOf(t, g, rules(`{from: [{source: {requestPrincipals: ["ambassador-jwt-issuer/bob"]}}]}`), service, now), token, "principal"},
		{"for another service", sidecarOf(t, g, mine, "service-b.service-namespace", now), token, "audience"},
		{"after its time", sidecarOf(t, g, mine, service, now.Add(11*time.Minute)), token, "expired"},
		{"before its time", sidecarOf(t, g, mine, service, now.Add(-10*time.Minute)), token, "before the nbf"},
		{"another subject", sidecarOf(t, g, mine, service, now), altered(func(c map[string]any) { c["sub"] = "root" }), "failed to verify"},
		{"a longer life", sidecarOf(t, g, mine, service, now), altered(func(c map[string]any) { c["exp"] = 4102444800 }), "failed to verify"},
		{"another issuer", sidecarOf(t, g, mine, service, now), altered(func(c map[string]any) { c["iss"] = "x" }), "failed to verify"},
		{"a signature that was changed", sidecarOf(t, g, mine, service, now), token[:len(token)-6] + "AAAAAA", "failed to verify"},
		{"no signature", sidecarOf(t, g, mine, service, now), b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", "signature algorithm"},
		{"the client's own", sidecarOf(t, g, mine, service, now), i.token(t, map[string]any{"aud": service}), "failed to verify"},
		{"one of the same name by another key", sidecarOf(t, g, mine, service, now), signedWith(t, i.key, `{"alg":"ES256","kid":"`+kid(t, token)+`"}`, decodedText(t, token)), "failed to verify"},
	} {
		got := row.by.takes(t, row.token)
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

func kid(t testing.TB, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	must(t, err)
	var header struct{ Kid string }
	must(t, json.Unmarshal(text, &header))
	return header.Kid
}

// The public keys are to be had where istiod looks and where clients do, and nothing else of
// them is.
func TestKeySetEndpoint(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{manifests: mission + strings.Replace(mintFilter(i), "ipRanges: client", "algorithm: "+alg, 1) +
				manifest("FilterPolicy", "all", "{rules: [{filters: [{name: nobody}]}]}")})
			for _, row := range []struct {
				method, address string
				want            int
			}{
				{"GET", "http://" + g.admin + "/.well-known/jwks.json", 200},
				{"HEAD", "http://" + g.admin + "/.well-known/jwks.json", 200},
				{"POST", "http://" + g.admin + "/.well-known/jwks.json", 405},
				{"GET", "http://" + g.clear + "/auth/.well-known/jwks.json", 200},
				{"HEAD", "http://" + g.clear + "/auth/.well-known/jwks.json", 200},
				{"POST", "http://" + g.clear + "/auth/.well-known/jwks.json", 405},
			} {
				r, err := http.NewRequestWithContext(t.Context(), row.method, row.address, nil)
				must(t, err)
				resp, err := operators.Do(r)
				must(t, err)
				var set struct{ Keys []map[string]any }
				if row.method == "GET" {
					must(t, json.NewDecoder(resp.Body).Decode(&set))
				}
				resp.Body.Close()
				if resp.StatusCode != row.want {
					t.Errorf("%s %s: %d, want %d", row.method, row.address, resp.StatusCode, row.want)
					continue
				}
				if row.want != 200 {
					continue
				}
				if kind, cache := resp.Header.Get("Content-Type"), resp.Header.Get("Cache-Control"); !strings.HasPrefix(kind, "application/json") && !strings.HasPrefix(kind, "application/jwk-set+json") || cache != "public, max-age=300" {
					t.Errorf("%s %s: %s, %s", row.method, row.address, kind, cache)
				}
				if row.method == "GET" && len(set.Keys) == 0 {
					t.Errorf("%s: there are no keys", row.address)
				}
				members := map[string][]string{"ES256": {"alg", "crv", "kid", "kty", "use", "x", "y"}, "RS256": {"alg", "e", "kid", "kty", "n", "use"}, "EdDSA": {"alg", "crv", "kid", "kty", "use", "x"}}[alg]
				for _, k := range set.Keys {
					var names []string
					for name := range k {
						names = append(names, name)
					}
					if slices.Sort(names); !slices.Equal(names, members) || k["use"] != "sig" || k["alg"] != alg || len(k["kid"].(string)) != 43 {
						t.Errorf("%s: a key says %v", row.address, k)
					}
				}
			}
		})
	}
}
