package authn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

// A fakeCluster is an API server that knows the test keys' tokens.
type fakeCluster struct {
	mu       sync.Mutex
	keys     string // what it publishes; "" forbids it
	review   string // the status of TokenReviews; "" forbids them
	down     bool
	reviews  int
	question string // the last one's

	reviewing func() // is called by every one; nil for nothing
}

func (f *fakeCluster) Ask(_ context.Context, method, path string, body []byte) (int, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.down:
		return 0, nil, errors.New("connection refused")
	case method == "GET" && path == "/openid/v1/jwks" && f.keys != "":
		return 200, []byte(f.keys), nil
	case method == "POST" && path == reviewPath:
		f.reviews++
		f.question = string(body)
		if f.reviewing != nil {
			f.reviewing()
		}
		if f.review != "" {
			return 201, fmt.Appendf(nil, `{"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": %s}`, f.review), nil
		}
	}
	return 403, []byte(`{"kind": "Status", "code": 403}`), nil
}

const webapp = "system:serviceaccount:frontend-namespace:webapp-service-account"

// vouched is what an API server says of webapp's tokens.
const vouched = `{"authenticated": true, "audiences": ["legate"], "user": {"username": "` + webapp + `"}}`

// accountToken is a token as API servers make them, changed.
func accountToken(key string, now time.Time, change map[string]any) string {
	claims := map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local", "sub": webapp, "aud": []string{"legate"}, "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(time.Hour).Unix(), "jti": "k8s-1", "kubernetes.io": map[string]any{"namespace": "frontend-namespace", "pod": map[string]any{"name": "webapp-0"}},
	}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return signedBy("ES256", key, `{"alg":"ES256","kid":"ec"}`, string(text))
}

func TestServiceAccounts(t *testing.T) {
	now := noon
	good := accountToken("ec", now, nil)
	keys := jwks("ec")
	for _, r := range []struct {
		name    string
		token   string
		cluster *fakeCluster
		want    decision.Reason
		reviews int // that the API server was asked for by two requests
	}{
		{"vouched for", good, &fakeCluster{keys: keys, review: vouched}, decision.None, 1},
		{"its pod is gone", good, &fakeCluster{keys: keys, review: `{"authenticated": false, "error": "the pod has been deleted"}`}, decision.TokenRevoked, 2},
		{"the keys are forbidden", good, &fakeCluster{review: vouched}, decision.None, 1},
		{"the keys are forbidden, and it is not known", good, &fakeCluster{review: `{"error": "unknown"}`}, decision.TokenInvalid, 2},
		{"reviews are forbidden", good, &fakeCluster{keys: keys}, decision.None, 1},
		{"all is forbidden", good, &fakeCluster{}, decision.KeySetUnavailable, 2},
		{"the API server is away", good, &fakeCluster{down: true}, decision.KeySetUnavailable, 0},
		{"a review of nothing", good, &fakeCluster{keys: keys, review: `null`}, decision.None, 1},
		{"a review of nothing, and no keys", good, &fakeCluster{review: `null`}, decision.KeySetUnavailable, 2},
		{"the review is about somebody else", good, &fakeCluster{keys: keys, review: strings.Replace(vouched, "webapp", "other", 1)}, decision.TokenInvalid, 2},
		{"the review is about a node", accountToken("ec", now, map[string]any{"sub": accountPrefix}), &fakeCluster{keys: keys, review: strings.Replace(vouched, webapp, "system:node:a", 1)}, decision.TokenInvalid, 2},
		{"the API server does not know audiences", good, &fakeCluster{keys: keys, review: strings.Replace(vouched, `["legate"]`, `["https://kubernetes.default.svc"]`, 1)}, decision.TokenAudience, 2},
		{"it has expired", accountToken("ec", now, map[string]any{"exp": now.Unix()}), &fakeCluster{keys: keys, review: vouched}, decision.TokenExpired, 0},
		{"it never expires", accountToken("ec", now, map[string]any{"exp": nil}), &fakeCluster{keys: keys, review: vouched}, decision.TokenClaims, 0},
		{"it is not valid yet", accountToken("ec", now, map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}), &fakeCluster{keys: keys, review: vouched}, decision.TokenNotYetValid, 0},
		{"it is for the API server", accountToken("ec", now, map[string]any{"aud": []string{"https://kubernetes.default.svc"}}), &fakeCluster{keys: keys, review: vouched}, decision.TokenAudience, 0},
		{"it is for nobody", accountToken("ec", now, map[string]any{"aud": nil}), &fakeCluster{keys: keys, review: vouched}, decision.TokenAudience, 0},
		{"no issuer", accountToken("ec", now, map[string]any{"iss": nil}), &fakeCluster{keys: keys, review: vouched}, decision.TokenIssuer, 0},
		{"signed by somebody else", accountToken("stranger", now, nil), &fakeCluster{keys: keys, review: vouched}, decision.TokenInvalid, 0},
		{"a person, by the cluster's keys", accountToken("ec", now, map[string]any{"sub": "alice"}), &fakeCluster{keys: keys, review: vouched}, decision.TokenIssuer, 0},
		{"an account, by its own account", accountToken("ec", now, map[string]any{"sub": "system:serviceaccountant"}), &fakeCluster{keys: keys, review: vouched}, decision.TokenIssuer, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			d := testDeps(t, &now)
			d.Cluster = r.cluster
			var log eventLog
			d.Audit = log.audit
			m := minter(t, d, mintFilter(func(f *config.MintFilter) { f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"} }))
			log.kinds = nil
			for range 2 {
				c := call(now, nil, "Authorization", "Bearer "+r.token)
				got := decision.None
				if m.Filter(c) == Deny || m.Mint(c) == Deny {
					got = c.Reply.Reason
				}
				if got != r.want {
					t.Fatalf("got %v (%v), want %v", got, c.Reply.Err, r.want)
				}
				if got == decision.None {
					claims := part(t, bearerOf(t, c), 1)
					if claims["sub"] != webapp || claims["src_jti"] != "k8s-1" || claims["src_iss"] != "https://kubernetes.default.svc.cluster.local" || claims["kubernetes.io"] != nil {
						t.Errorf("the service gets %v", claims)
					}
				} else if strings.Contains(string(c.Reply.Body), "refused") && r.cluster.down {
					t.Errorf("the client is told %s", c.Reply.Body)
				}
			}
			if r.cluster.reviews != r.reviews {
				t.Errorf("%d reviews, want %d", r.cluster.reviews, r.reviews)
			}
			if q := `"spec":{"token":"` + r.token + `","audiences":["legate"]}`; r.reviews > 0 && !strings.Contains(r.cluster.question, q) {
				t.Errorf("asked %s", r.cluster.question)
			}
			want := "token_accepted token_minted"
			switch {
			case r.want.Status() >= 500:
				want = "auth_error auth_error"
			case r.want != decision.None:
				want = "token_rejected token_rejected"
			}
			if got := strings.Join(log.kinds, " "); got != want {
				t.Errorf("audited %q, want %q", got, want)
			}
		})
	}
}

// The cluster is asked again after two minutes, or ten seconds where it did not answer,
// and a pod that is gone meanwhile is nobody any more.
func TestServiceAccountsAreAskedAboutAgain(t *testing.T) {
	now := noon
	cluster := &fakeCluster{keys: jwks("ec"), review: vouched}
	d := testDeps(t, &now)
	d.Cluster = cluster
	m := minter(t, d, mintFilter(func(f *config.MintFilter) { f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"} }))
	fetched(t, m.accounts.keys, now)
	token := accountToken("ec", now, nil)
	at := func(after time.Duration, want decision.Reason, reviews int) {
		t.Helper()
		now = noon.Add(after)
		c := call(now, nil, "Authorization", "Bearer "+token)
		m.Filter(c)
		if c.Reply.Reason != want || cluster.reviews != reviews {
			t.Errorf("after %v: %v and %d reviews, want %v and %d", after, c.Reply.Reason, cluster.reviews, want, reviews)
		}
	}
	at(0, decision.None, 1)
	at(reviewedFor-time.Second, decision.None, 1)
	at(reviewedFor, decision.None, 2)
	cluster.review = ""
	at(2*reviewedFor, decision.None, 3)
	at(2*reviewedFor+unreviewedFor-time.Second, decision.None, 3)
	cluster.review = `{"authenticated": false}`
	at(2*reviewedFor+unreviewedFor, decision.TokenRevoked, 4)
}

// fetched has s ask for its keys.
func fetched(t *testing.T, s *keySet, now time.Time) {
	t.Helper()
	if _, _, err := s.find(nil, "", "ES256", now); err != nil {
		t.Fatal(err)
	}
}

// What is remembered of a token is what the keys say that it was verified by, and not those
// that came while it was looked at.
func TestKeysThatChangeMeanwhile(t *testing.T) {
	now := noon
	cluster := &fakeCluster{keys: jwks("ec"), review: vouched}
	d := testDeps(t, &now)
	d.Cluster = cluster
	m := minter(t, d, mintFilter(func(f *config.MintFilter) { f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"} }))
	fetched(t, m.accounts.keys, now)
	cluster.reviewing = func() {
		m.accounts.keys.current.Store(&keys{generation: 1, until: now.Add(time.Hour)})
	}
	for _, want := range []decision.Reason{decision.None, decision.TokenInvalid} {
		c := call(now, nil, "Authorization", "Bearer "+accountToken("ec", now, nil))
		if m.Filter(c); c.Reply.Reason != want {
			t.Errorf("got %v, want %v", c.Reply.Reason, want)
		}
	}
}

// Accounts may exchange their tokens, and nobody else may speak of them: not an issuer that
// is trusted for its own people.
func TestNobodyElseSpeaksOfServiceAccounts(t *testing.T) {
	now := noon
	mischief := newIssuer(t, jwks("stranger"))
	d, _, _ := issuerDeps(t)
	d.Clock, d.Namespace = func() time.Time { return now }, "ambassador"
	d.Cluster = &fakeCluster{keys: jwks("ec"), review: vouched}
	m := minter(t, d, mintFilter(func(f *config.MintFilter) {
		f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"}
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: mischief.URL, JWKSURI: mischief.URL}}
	}))
	for name, r := range map[string]struct {
		change map[string]any
		want   decision.Reason
	}{
		"its own people":    {map[string]any{"iss": mischief.URL, "sub": "alice"}, decision.None},
		"the cluster's":     {map[string]any{"iss": mischief.URL}, decision.TokenInvalid},
		"by another issuer": {map[string]any{"iss": "https://kubernetes.default.svc.cluster.local"}, decision.TokenInvalid},
	} {
		token := strings.Split(accountToken("stranger", now, r.change), ".")[1]
		payload, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		c := call(now, nil, "Authorization", "Bearer "+signedBy("ES256", "stranger", `{"alg":"ES256","kid":"stranger"}`, string(payload)))
		if m.Filter(c); c.Reply.Reason != r.want {
			t.Errorf("%s: %v, want %v", name, c.Reply.Reason, r.want)
		}
	}
}

// Without an API server the author of the filter is told, and the tokens are refused.
func TestServiceAccountsWithoutACluster(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	o := mintFilter(func(f *config.MintFilter) { f.Credentials.Kubernetes = &config.KubernetesTokens{Audience: "legate"} })
	s, problems := newMints(&config.World{Filters: []config.Filter{*o}}, nil, newKeySets(d, nil), d)
	if len(problems) != 1 || problems[0].Field != "Mint.credentials.kubernetes" || problems[0].Effect != config.FieldIgnored {
		t.Errorf("got %v", problems)
	}
	c := call(now, nil, "Authorization", "Bearer "+accountToken("ec", now, nil))
	if s.byName["ambassador/jwt-auth"].Filter(c) != Deny || c.Reply.Reason != decision.TokenIssuer {
		t.Errorf("got %v", c.Reply.Reason)
	}
}

// An answer over HTTP is passed on as it is.
func TestClusterClient(t *testing.T) {
	client := &http.Client{Transport: clusterClient{&fakeCluster{keys: "{}"}}}
	for path, want := range map[string]int{"/openid/v1/jwks": 200, "/other": 403} {
		r := httptest.NewRequest(http.MethodGet, "https://kubernetes.default.svc"+path, http.NoBody)
		r.RequestURI = ""
		a, err := client.Do(r)
		if err != nil || a.StatusCode != want {
			t.Errorf("%s: %v, %v", path, a, err)
			continue
		}
		a.Body.Close()
	}
}
