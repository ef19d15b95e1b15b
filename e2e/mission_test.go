package e2e

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"legate/istio"
)

// printed are the manifests of the mission as they were printed, to the letter.
func printed(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "config", "decode", "testdata", "zero-trust.txt"))
	must(t, err)
	manifests, _, found := strings.Cut(string(text), "\n--------------------------------\n")
	if !found {
		t.Fatal("the file of manifests has another form")
	}
	return "---\n" + manifests + "\n"
}

// An authPod is what the mission calls the JWT Auth Service: it looks at what the client
// brings and makes another token of it.
type authPod struct {
	key    *ecdsa.PrivateKey
	audits chan string // what it was asked: method, target, and the headers that it is told of
}

func (p *authPod) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.audits <- fmt.Sprintf("%s %s origin=%s type=%s", r.Method, r.URL.RequestURI(), r.Header.Get("Origin"), r.Header.Get("Content-Type"))
	_, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[len(parts)/2])
	var claims map[string]any
	if !found || err != nil || json.Unmarshal(payload, &claims) != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":"Invalid credentials"}`)
		return
	}
	now := time.Now().Unix()
	minted, err := json.Marshal(map[string]any{"iss": "ambassador-jwt-issuer", "sub": claims["sub"], "permissions": []string{"read", "write"}, "iat": now, "exp": now + 600})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	signed, err := sign(p.key, `{"alg":"ES256","kid":"pod"}`, string(minted))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Authorization", "Bearer "+signed)
}

// A missionWorld is the mission's cluster, as far as the gateway sees it.
type missionWorld struct {
	*gateway
	i   *issuer
	pod *authPod
}

// mission starts a gateway with the mission's manifests as they were printed, and with
// more of them.
func missionWith(t *testing.T, more string) *missionWorld {
	t.Helper()
	w := &missionWorld{i: newIssuer(t), pod: &authPod{key: newIssuer(t).key, audits: make(chan string, 1000)}}
	trusted := filepath.Join(t.TempDir(), "authority.pem")
	must(t, os.WriteFile(trusted, authority.pem(), 0o600))
	w.gateway = start(t, setup{manifests: printed(t) + more, env: []string{"SSL_CERT_FILE=" + trusted}, args: []string{
		"--resolve", "your-jwks-endpoint=" + serveTLS(t, "your-jwks-endpoint", w.i),
		"--resolve", "jwt-auth=" + serve(t, w.pod),
		"--resolve", "service-a.service-namespace=" + echo(t, "service-a"),
	}})
	return w
}

// alice is a token of the mission's identity provider.
func (w *missionWorld) alice(t testing.TB, claims map[string]any) []string {
	t.Helper()
	all := map[string]any{"sub": "alice", "aud": "your-api-audience", "permissions": []string{"read", "write"}}
	maps.Copy(all, claims)
	return []string{"Authorization: Bearer " + w.i.token(t, all), "Origin: https://app.example.com", "X-User-ID: root"}
}

// istioOf are the rules of the mission, and the companion that they need.
func istioOf(t testing.TB, audience string) *istio.Policies {
	t.Helper()
	p := &istio.Policies{}
	must(t, p.Read("printed.yaml", strings.NewReader(printed(t))))
	must(t, p.Read("companion.yaml", strings.NewReader(`
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: minted, namespace: api-namespace}
spec:
  jwtRules:
  - {issuer: ambassador-jwt-issuer, audiences: [`+audience+`], jwksUri: "http://legate.ambassador.svc.cluster.local/.well-known/jwks.json", forwardOriginalToken: true}
`)))
	return p
}

// The manifests of the mission work as they were printed: with the pod that they name, and
// with the gateway in its place, which takes one more manifest.
func TestMissionAsPrinted(t *testing.T) {
	t.Parallel()
	inside := `
---
apiVersion: getambassador.io/v3alpha1
kind: Filter
metadata: {name: jwt-auth, namespace: ambassador}
spec: {Mint: {authServices: ["jwt-auth:3000"]}}
`
	for name, more := range map[string]string{"with the pod": "", "with the gateway in its place": inside} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := missionWith(t, more)
			for _, p := range w.problems() {
				if p.Effect != "notice" && !strings.Contains(p.Text, "is not a kind that a gateway reads") {
					t.Errorf("it says: %s (%s)", p.Text, p.Effect)
				}
			}
			denied := func(reason string) verdict { return verdict{"authn", reason, 401} }
			for _, row := range []struct {
				name   string
				header []string
				want   verdict
			}{
				{"nobody", []string{"Origin: https://app.example.com"}, denied("token_missing")},
				{"a token for others", w.alice(t, map[string]any{"aud": "other"}), denied("token_audience")},
				{"a token that has expired", w.alice(t, map[string]any{"exp": 1}), denied("token_expired")},
				{"a token that does not expire", w.alice(t, map[string]any{"exp": nil}), denied("token_claims")},
				{"a preflight", []string{"Origin: https://app.example.com", "Access-Control-Request-Method: POST"}, verdict{"cors", "preflight", 200}},
			} {
				r := request{target: "/api/service-a/x", header: row.header}
				if row.want.Stage == "cors" {
					r.method = "OPTIONS"
				}
				a := w.send(t, r)
				if v := w.verdict(t, a); v != row.want {
					t.Errorf("%s: got %v, want %v", row.name, v, row.want)
				}
				if a.Header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
					t.Errorf("%s: the page may not read the answer: %v", row.name, a.Header)
				}
			}
			if n := len(w.pod.audits); n > 0 {
				t.Errorf("the pod was asked %d times about who was refused before: %s", n, <-w.pod.audits)
			}
			own := w.alice(t, nil)
			a := w.send(t, request{target: "/api/service-a/orders?x=secret-query", header: append(own, "Content-Type: application/json"), host: "anything.example.org"})
			if v := w.verdict(t, a); v != served {
				t.Fatalf("alice: got %v %s", v, a.body)
			}
			if more == "" {
				if got := <-w.pod.audits; got != "GET /auth/api/service-a/orders?x=secret-query origin=https://app.example.com type=application/json" {
					t.Errorf("the pod was asked %s", got)
				}
			} else if len(w.pod.audits) > 0 {
				t.Errorf("the pod was asked %s", <-w.pod.audits)
			}
			minted := bearer(a)
			claims := decoded(t, minted)
			if claims["iss"] != "ambassador-jwt-issuer" || claims["sub"] != "alice" || "Bearer "+minted == own[0][len("Authorization: "):] {
				t.Errorf("the service's token says %v", claims)
			}
			if id, may := strings.Join(a.saw.Header.Values("X-User-Id"), "|"), a.saw.Header.Get("X-User-Permissions"); id != "alice" || may != "read,write" || a.saw.Target != "/orders?x=secret-query" {
				t.Errorf("the service is told %q and %q about %s", id, may, a.saw.Target)
			}
			for _, v := range istioOf(t, "").Judge(claims) {
				if !v.Satisfied {
					t.Errorf("Istio's %s %s does not take it: %s", v.Object, v.Rule, v.Because)
				}
			}
			w.noSecrets(t, strings.Split(minted, ".")[2], strings.Split(own[0], ".")[2], "secret-query")
		})
	}
}

// Ten requests in a minute by the clock, whoever asks.
func TestMissionsLimit(t *testing.T) {
	t.Parallel()
	w := missionWith(t, "")
	header, minute := w.alice(t, nil), func() int64 { return time.Now().Unix() / 60 }
	var passed int
	begun := minute()
	for range 15 {
		a := w.send(t, request{target: "/api/service-a/x", header: header})
		switch v := w.verdict(t, a); v {
		case served:
			passed++
		case verdict{"limit", "over_limit", 429}:
			if wait := a.Header.Get("Retry-After"); wait == "" || len(a.body) > 0 || a.Header.Get("X-Envoy-Ratelimited") != "true" || a.Header.Get("Content-Type") != "" {
				t.Errorf("refused with %v %q", a.Header, a.body)
			}
		default:
			t.Fatalf("got %v", v)
		}
	}
	if passed != 10 && (minute() == begun || passed < 10) { // a border between two minutes lets more pass
		t.Errorf("%d passed, want 10", passed)
	}
}
