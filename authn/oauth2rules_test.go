package authn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// instead has requests for a path of the provider answered by h, until the test ends; nil
// ends that.
func (w *loginWorld) instead(path string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.other = nil
	if h != nil {
		w.other = func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				w.provider.ServeHTTP(rw, r)
				return
			}
			h(rw, r)
		}
	}
}

// changing is the provider's token endpoint with something done to its answers.
func (w *loginWorld) changing(change func(answer map[string]any)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		w.provider.ServeHTTP(rec, r)
		answer := map[string]any{}
		if json.Unmarshal(rec.Body.Bytes(), &answer) != nil || rec.Code != 200 {
			rw.WriteHeader(500)
			return
		}
		change(answer)
		_ = json.NewEncoder(rw).Encode(answer)
	}
}

// setCookies returns the lines that c's client is told to keep, by name.
func setCookies(c *Call) map[string]string {
	all := map[string]string{}
	for _, list := range [][]wire.Add{c.Reply.Headers, c.ToClient.Adds()} {
		for _, a := range list {
			if a.ID == wire.FieldSetCookie {
				name, rest, _ := strings.Cut(string(a.Value), "=")
				_, attributes, _ := strings.Cut(rest, "; ")
				all[name] = attributes
			}
		}
	}
	return all
}

func privatePEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// How the gateway says who it is to the token endpoint (RFC 6749 §2.3, RFC 7523 §3).
func TestClientAuthentication(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw := strings.Repeat("s", 40)
	asserts := func(method string, change func(a *config.JWTAssertion)) config.ClientAuthentication {
		a := config.ClientAuthentication{Method: "JWTAssertion", Assertion: config.JWTAssertion{SigningMethod: method, Lifetime: time.Minute}}
		if change != nil {
			change(&a.Assertion)
		}
		return a
	}
	for _, r := range []struct {
		name   string
		auth   config.ClientAuthentication
		secret string
		key    any               // verifies the assertion
		form   map[string]string // what the form says of the client
		basic  bool
		claims map[string]any // of the assertion, where they are not what they always are
		header map[string]any
	}{
		{name: "HeaderPassword", auth: config.ClientAuthentication{Method: "HeaderPassword"}, secret: "a:b c%&", basic: true},
		{name: "BodyPassword", auth: config.ClientAuthentication{Method: "BodyPassword"}, secret: "a:b c%&", form: map[string]string{"client_id": "web", "client_secret": "a:b c%&"}},
		{name: "no secret", auth: config.ClientAuthentication{Method: "HeaderPassword"}, form: map[string]string{"client_id": "web"}},
		{name: "RS256", auth: asserts("RS256", nil), secret: privatePEM(t, rsaKey), key: &rsaKey.PublicKey},
		{name: "PS384", auth: asserts("PS384", nil), secret: privatePEM(t, rsaKey), key: &rsaKey.PublicKey},
		{name: "ES256", auth: asserts("ES256", nil), secret: privatePEM(t, ecKey), key: &ecKey.PublicKey},
		{name: "HS256", auth: asserts("HS256", nil), secret: raw, key: []byte(raw)},
		{name: "setClientID", auth: asserts("HS256", func(a *config.JWTAssertion) { a.SetClientID = true }), secret: raw, key: []byte(raw), form: map[string]string{"client_id": "web"}},
		{name: "audience", auth: asserts("HS256", func(a *config.JWTAssertion) { a.Audience = "https://id" }), secret: raw, key: []byte(raw), claims: map[string]any{"aud": "https://id"}},
		{name: "lifetime", auth: asserts("HS256", func(a *config.JWTAssertion) { a.Lifetime = time.Hour }), secret: raw, key: []byte(raw), claims: map[string]any{"exp": midday.Add(time.Hour).Unix()}},
		{name: "setIAT", auth: asserts("HS256", func(a *config.JWTAssertion) { a.SetIAT = true }), secret: raw, key: []byte(raw), claims: map[string]any{"iat": midday.Unix()}},
		{name: "setNBF", auth: asserts("HS256", func(a *config.JWTAssertion) { a.SetNBF, a.NBFSafetyMargin = true, 10*time.Second }), secret: raw, key: []byte(raw), claims: map[string]any{"nbf": midday.Add(-10 * time.Second).Unix()}},
		{name: "other claims, and none in the place of its own", auth: asserts("HS256", func(a *config.JWTAssertion) {
			a.OtherClaims = map[string]any{"tenant": "t1", "sub": "root", "exp": 1.0}
		}), secret: raw, key: []byte(raw), claims: map[string]any{"tenant": "t1"}},
		{name: "other header parameters, but no alg", auth: asserts("HS256", func(a *config.JWTAssertion) {
			a.OtherHeaderParameters = map[string]any{"kid": "k1", "alg": "none"}
		}), secret: raw, key: []byte(raw), header: map[string]any{"kid": "k1"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) {
				f.Secret, f.ClientAuth = r.secret, r.auth
				if r.secret == "" || len(r.secret) < minSecret {
					f.SecretRef, f.Secret = config.SecretName{Name: "web", Namespace: "shop"}, ""
				}
			}, withSecret("web", map[string]string{"oauth2-client-secret": r.secret, "session-keys": strings.Repeat("k", 32)}))
			var asked atomic.Int64
			w.instead("/token", func(rw http.ResponseWriter, q *http.Request) {
				asked.Add(1)
				if err := q.ParseForm(); err != nil {
					t.Error(err)
				}
				id, secret, basic := q.BasicAuth()
				if basic != r.basic || basic && (id != "web" || secret != url.QueryEscape(r.secret)) {
					t.Errorf("Basic %v of %q, %q", basic, id, secret)
				}
				for _, name := range []string{"client_id", "client_secret"} {
					if got := q.PostForm.Get(name); got != r.form[name] {
						t.Errorf("%s is %q, want %q", name, got, r.form[name])
					}
				}
				if has := q.PostForm.Has("client_assertion"); has != (r.key != nil) {
					t.Errorf("there is an assertion: %v", has)
				} else if has {
					judgeAssertion(t, w, q.PostForm, r.auth.Assertion.SigningMethod, r.key, r.claims, r.header)
				}
				q.PostForm.Set("client_id", "web") // the provider here believes everybody
				w.provider.ServeHTTP(rw, q)
			})
			wantReply(t, w.browser().login(page, "alice"), decision.None, 0)
			if asked.Load() != 1 {
				t.Errorf("asked %d times", asked.Load())
			}
		})
	}
}

// withSecret adds a Secret.
func withSecret(name string, entries map[string]string) func(w *config.World) {
	return func(w *config.World) {
		s := config.Secret{Meta: config.Meta{Kind: "Secret", Name: name, Namespace: "shop"}, Data: map[string][]byte{}}
		for k, v := range entries {
			s.Data[k] = []byte(v)
		}
		w.Secrets = append(w.Secrets, s)
	}
}

// judgeAssertion verifies an assertion with a library that is not ours.
func judgeAssertion(t *testing.T, w *loginWorld, form url.Values, method string, key any, claims, header map[string]any) {
	t.Helper()
	if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Errorf("client_assertion_type is %q", got)
	}
	got := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(form.Get("client_assertion"), got, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{method}), jwt.WithTimeFunc(w.now), jwt.WithExpirationRequired())
	if err != nil {
		t.Errorf("the assertion does not hold: %v", err)
		return
	}
	want := map[string]any{"iss": "web", "sub": "web", "aud": w.idp.URL + "/token", "exp": midday.Add(time.Minute).Unix(), "iat": nil, "nbf": nil, "tenant": nil}
	maps.Copy(want, claims)
	for name, v := range want {
		if n, ok := v.(int64); ok {
			v = float64(n)
		}
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if id, _ := got["jti"].(string); len(id) < 20 {
		t.Errorf("jti is %q", id)
	}
	for name, v := range header {
		if token.Header[name] != v {
			t.Errorf("the header's %s is %v, want %v", name, token.Header[name], v)
		}
	}
}

// A key that does not fit breaks the Filter, and says so without showing it.
func TestAssertionKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := privatePEM(t, key)
	for _, r := range []struct{ method, secret, want string }{
		{"RS256", strings.Repeat("s", 40), "is no PEM"},
		{"RS256", weak, "is no private key that fits RS256"},
		{"ES384", weak, "is no private key that fits ES384"},
		{"ES256", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key that fits ES256"},
	} {
		_, err := assertionKey(r.method, r.secret)
		if err == nil || !strings.Contains(err.Error(), r.want) || strings.Contains(err.Error(), r.secret[:20]) && r.secret[0] == 's' {
			t.Errorf("%s: %v, want %q", r.method, err, r.want)
		}
	}
}

// Programs with an assertion of their own: it goes to the provider, and no further.
func TestClientsOwnAssertion(t *testing.T) {
	w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, args *config.Arguments) {
		f.Grant, f.Origins, args.Scope, f.ClientID = config.ClientCredentials, nil, nil, ""
		f.ClientAuth = config.ClientAuthentication{Method: "JWTAssertion"}
	})
	var sent string
	w.instead("/token", func(rw http.ResponseWriter, q *http.Request) {
		if err := q.ParseForm(); err != nil {
			t.Error(err)
		}
		sent = q.PostForm.Get("client_assertion")
		q.PostForm.Set("client_id", "batch")
		w.provider.ServeHTTP(rw, q)
	})
	wantReply(t, w.browser().ask("GET", page), decision.CredentialsMissing, 401)
	wantReply(t, w.browser().ask("GET", page, "X-Ambassador-Client-ID", "batch", "X-Ambassador-Client-Secret", "s"), decision.CredentialsMissing, 401)
	c := w.browser().ask("GET", page, "X-Ambassador-Client-Assertion", "e30.e30.AA")
	wantReply(t, c, decision.None, 0)
	if sent != "e30.e30.AA" || received(c, "x-ambassador-client-assertion") != "" || received(c, "x-sub") != "batch" {
		t.Errorf("the provider got %q, the service %q of %q", sent, received(c, "x-ambassador-client-assertion"), received(c, "x-sub"))
	}
}

// accessTokenJWTFilter: a JWT Filter judges the access token, and answers in its own way.
func TestAccessTokenJWTFilter(t *testing.T) {
	for _, r := range []struct {
		name   string
		change func(f *config.OAuth2Filter, j *config.JWTFilter, args *config.Arguments)
		reason decision.Reason
		status int
		body   string
	}{
		{"holds", nil, decision.None, 0, ""},
		{"another audience", func(_ *config.OAuth2Filter, j *config.JWTFilter, _ *config.Arguments) {
			j.Audiences, j.RequireAudience = []string{"api"}, true
		}, decision.TokenAudience, 401, ""},
		{"its own words", func(_ *config.OAuth2Filter, j *config.JWTFilter, _ *config.Arguments) {
			j.Audiences, j.RequireAudience = []string{"api"}, true
			j.Error = config.ErrorResponse{Body: "no: {{ .httpStatus }}"}
		}, decision.TokenAudience, 401, "no: 401"},
		{"arguments of its own", func(f *config.OAuth2Filter, _ *config.JWTFilter, _ *config.Arguments) {
			f.TokenFilter.Arguments = &config.Arguments{Scope: []string{"write"}}
		}, decision.TokenScope, 403, ""},
		{"an inherited scope that it has", func(f *config.OAuth2Filter, _ *config.JWTFilter, args *config.Arguments) {
			f.TokenFilter.InheritScope = true
			args.Scope = []string{"offline_access", "read"}
		}, decision.None, 0, ""},
		{"an inherited scope with a prefix that tokens have not", func(f *config.OAuth2Filter, _ *config.JWTFilter, args *config.Arguments) {
			f.TokenFilter.InheritScope, f.TokenFilter.StripInheritedScope = true, true
			args.Scope = []string{"https://api/read"}
		}, decision.TokenScope, 403, ""},
		{"its header and the Filter's of the same name", func(_ *config.OAuth2Filter, j *config.JWTFilter, _ *config.Arguments) {
			j.Inject = []config.HeaderTemplate{{Name: "X-Sub", Value: "theirs"}, {Name: "X-JTI", Value: "{{ .token.Claims.jti }}"}}
		}, decision.None, 0, ""},
		{"its headers that look at the request, and the Filter's of the same name", func(_ *config.OAuth2Filter, j *config.JWTFilter, _ *config.Arguments) {
			j.Inject = []config.HeaderTemplate{{Name: "X-Sub", Value: `{{ .httpRequestHeader.Get "Host" }}`}, {Name: "X-JTI", Value: `{{ .token.Claims.jti }}{{ .httpRequestHeader.Get "X-No" }}`}}
		}, decision.None, 0, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			var jwtFilter *config.JWTFilter
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, args *config.Arguments) {
				f.TokenFilter = &config.AccessTokenFilter{Filter: config.SecretName{Name: "api", Namespace: "shop"}}
				jwtFilter = &config.JWTFilter{JWKSURI: strings.TrimSuffix(f.AuthorizationURL, "/") + "/keys"}
				if r.change != nil {
					r.change(f, jwtFilter, args)
				}
			}, func(w *config.World) {
				w.Filters = append(w.Filters, config.Filter{Meta: config.Meta{Kind: "Filter", Name: "api", Namespace: "shop"}, JWT: jwtFilter})
			})
			b := w.browser()
			c := b.login(page, "alice")
			wantReply(t, c, r.reason, r.status)
			if r.body != "" && string(c.Reply.Body) != r.body {
				t.Errorf("the body is %s", c.Reply.Body)
			}
			for range 2 { // the second time it is remembered
				if r.reason == decision.None && (received(c, "x-sub") != "alice" || jwtFilter.Inject != nil && received(c, "x-jti") == "") {
					t.Errorf("the service gets %q and %q", received(c, "x-sub"), received(c, "x-jti"))
				}
				c = b.ask("GET", page)
			}
		})
	}
}

// Whether the access token still holds is asked of the provider, or found in it.
func TestAccessTokenValidation(t *testing.T) {
	opaque := func(answer map[string]any) { // no hash of it is in an id_token
		answer["access_token"] = "opaque"
		delete(answer, "id_token")
	}
	for _, r := range []struct {
		name, mode string
		change     func(answer map[string]any)
		userinfo   http.HandlerFunc // nil for the provider's own
		reason     decision.Reason
		status     int
		asked      int64 // by two requests
	}{
		{name: "jwt", mode: "jwt"},
		{name: "jwt, opaque", mode: "jwt", change: opaque, reason: decision.TokenMalformed, status: decision.TokenMalformed.Status()},
		{name: "auto", mode: "auto"},
		{name: "auto, opaque", mode: "auto", change: opaque, userinfo: says(200, `{"sub":"alice"}`), asked: 2},
		{name: "userinfo", mode: "userinfo", asked: 2},
		{name: "userinfo of somebody else", mode: "userinfo", userinfo: says(200, `{"sub":"bob"}`), reason: decision.LoginRedirect, status: 302, asked: 2},
		{name: "userinfo, signed", mode: "userinfo", userinfo: says(200, `eyJhbGciOiJFUzI1NiJ9.e30.AA`), asked: 2},
		{name: "userinfo, revoked", mode: "userinfo", userinfo: says(401, ""), reason: decision.LoginRedirect, status: 302, asked: 2},
		{name: "userinfo, broken", mode: "userinfo", userinfo: says(500, ""), reason: decision.ProviderUnavailable, status: 502, asked: 2},
		{name: "auto, opaque and nobody who knows", mode: "auto", change: opaque, userinfo: says(404, ""), reason: decision.ProviderUnavailable, status: 502, asked: 2},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.Validation = r.mode })
			b := w.browser()
			b.login(page, "alice")
			w.forward(6 * time.Minute) // the first of them refreshes the session
			var asked atomic.Int64
			w.mu.Lock()
			w.other = func(rw http.ResponseWriter, q *http.Request) {
				switch {
				case q.URL.Path == "/userinfo":
					asked.Add(1)
					if q.Header.Get("Authorization") == "" {
						t.Error("nobody says who asks")
					}
					if r.userinfo != nil {
						r.userinfo(rw, q)
						return
					}
				case q.URL.Path == "/token" && r.change != nil:
					w.changing(r.change)(rw, q)
					return
				}
				w.provider.ServeHTTP(rw, q)
			}
			w.mu.Unlock()
			for range 2 {
				wantReply(t, b.ask("GET", page), r.reason, r.status)
			}
			if asked.Load() != r.asked {
				t.Errorf("userinfo was asked %d times, want %d", asked.Load(), r.asked)
			}
		})
	}
}

// Who has logged in gets on, whatever tokens others send from the same address: an access
// token is the provider's, also one that only the provider knows or that does not hold.
func TestAccessTokensAreNoOffence(t *testing.T) {
	for _, r := range []struct {
		name   string
		access string // "" for the provider's own
		judge  bool   // there is an accessTokenJWTFilter
		reason decision.Reason
		status int
	}{
		{"a token of JSON", "", false, decision.None, 0},
		{"one that is judged", "", true, decision.None, 0},
		{"one that only the provider knows", "opaque", false, decision.None, 0},
		{"one that does not hold", "opaque", true, decision.TokenMalformed, 401},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) {
				if r.judge {
					f.TokenFilter = &config.AccessTokenFilter{Filter: config.SecretName{Name: "api", Namespace: "shop"}}
				}
			}, func(w *config.World) {
				uri := strings.TrimSuffix(w.Filters[0].OAuth2.AuthorizationURL, "/") + "/keys"
				w.Filters = append(w.Filters, config.Filter{Meta: config.Meta{Kind: "Filter", Name: "api", Namespace: "shop"}, JWT: &config.JWTFilter{JWKSURI: uri}})
			})
			w.deps.Offenders = NewOffenders(1, w.now())
			w.set.Retire(nil)
			w.set = nil
			w.build()
			b := w.browser()
			b.login(page, "alice")
			w.mu.Lock()
			w.other = func(rw http.ResponseWriter, q *http.Request) {
				switch {
				case q.URL.Path == "/token" && r.access != "":
					w.changing(func(a map[string]any) { a["access_token"] = r.access; delete(a, "id_token") })(rw, q)
				case q.URL.Path == "/userinfo" && r.access != "":
					says(200, `{"sub":"alice"}`)(rw, q)
				default:
					w.provider.ServeHTTP(rw, q)
				}
			}
			w.mu.Unlock()
			w.forward(6 * time.Minute) // another access token
			for range 30 {             // and not because of its own requests, either
				wantReply(t, b.ask("GET", page), r.reason, r.status)
			}
			for range 30 {
				w.deps.Offenders.failed(netip.Addr{}, w.now())
			}
			w.deps.Cache = NewCache(0) // nobody remembers what was seen before
			w.build()
			wantReply(t, b.ask("GET", page), r.reason, r.status)
		})
	}
}

func says(status int, text string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(status)
		fmt.Fprint(rw, text)
	}
}

// A program whose token does not hold any more is refused, as there is nobody who could log
// in, and gets another one by its next request.
func TestOtherGrantsWhoseTokensAreOver(t *testing.T) {
	client := []string{"X-Ambassador-Client-ID", "batch", "X-Ambassador-Client-Secret", "s"}
	person := []string{"X-Ambassador-Username", "bob", "X-Ambassador-Password", "bob"}
	for _, r := range []struct {
		name, mode string
		grant      config.GrantType
		fields     []string
	}{
		{"a client's, which has expired", "jwt", config.ClientCredentials, client},
		{"a person's, which has expired", "jwt", config.PasswordGrant, person},
		{"a person's, of which the provider says so", "userinfo", config.PasswordGrant, person},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, args *config.Arguments) {
				f.Grant, f.Origins, args.Scope, f.Validation = r.grant, nil, nil, r.mode
			})
			over := says(401, "")
			if r.mode == "jwt" { // the provider's clock goes wrong by more than the tokens live
				w.instead("/token", func(rw http.ResponseWriter, q *http.Request) {
					w.ahead.Add(int64(-time.Hour))
					defer w.ahead.Add(int64(time.Hour))
					w.provider.ServeHTTP(rw, q)
				})
			} else {
				w.instead("/userinfo", over)
			}
			c := w.browser().ask("GET", page, r.fields...)
			wantReply(t, c, decision.CredentialsRefused, 401)
			w.instead("", nil)
			wantReply(t, w.browser().ask("GET", page, r.fields...), decision.None, 0)
		})
	}
}

// Which requests are of which origin, and how browsers have it.
func TestOrigins(t *testing.T) {
	const none = ""
	for _, r := range []struct {
		internal   []string
		subdomains bool
		address    string
		want       string
	}{
		{nil, false, "https://shop.example.com/", "https://shop.example.com"},
		{nil, false, "https://SHOP.example.com/", "https://shop.example.com"},
		{nil, false, "https://shop.example.com:443/", "https://shop.example.com"},
		{nil, false, "https://shop.example.com:8443/", none},
		{nil, false, "http://shop.example.com/", none},
		{nil, false, "https://www.shop.example.com/", none},
		{nil, false, "https://xshop.example.com/", none},
		{[]string{"*://*"}, false, "http://10.0.0.1:8080/", "https://shop.example.com"},
		{[]string{"*://*"}, false, "https://evil.example.net/", "https://shop.example.com"},
		{[]string{"http://*"}, false, "http://anything/", "https://shop.example.com"},
		{[]string{"http://*"}, false, "https://anything/", none},
		{[]string{"*://shop.internal"}, false, "http://shop.internal/", "https://shop.example.com"},
		{[]string{"*://shop.internal"}, false, "https://shop.internal:443/", "https://shop.example.com"},
		{[]string{"*://shop.internal"}, false, "https://other.internal/", none},
		{[]string{"http://shop.internal:8080"}, false, "http://shop.internal:8080/", "https://shop.example.com"},
		{[]string{"http://shop.internal:8080"}, false, "http://shop.internal/", none},
		{[]string{"http://a", "http://b"}, false, "http://b/", "https://shop.example.com"},
		{[]string{"http://a", "http://b"}, false, "http://c/", none},
		{nil, true, "https://shop.example.com/", "https://shop.example.com"},
		{nil, true, "https://EU.shop.example.com/", "https://eu.shop.example.com"},
		{nil, true, "https://a.b.shop.example.com/", "https://a.b.shop.example.com"},
		{nil, true, "https://xshop.example.com/", none},
		{nil, true, "https://.shop.example.com/", none},
		{nil, true, "https://shop.example.com.evil.net/", none},
		{[]string{"http://shop.internal"}, true, "http://shop.internal/", "https://shop.example.com"},
		{[]string{"http://shop.internal"}, true, "http://eu.shop.internal/", "https://eu.shop.example.com"},
	} {
		l := &login{origins: newOrigins([]config.ProtectedOrigin{{Origin: "https://shop.example.com", InternalOrigins: r.internal, IncludeSubdomains: r.subdomains}})}
		u := must(url.Parse(r.address))
		if _, got := l.origin(visit(midday, "GET", u)); got != r.want {
			t.Errorf("%v of %v, subdomains %v: %q, want %q", u, r.internal, r.subdomains, got, r.want)
		}
	}
}

// Behind a proxy that takes TLS off and changes Host, people still go to and fro between
// the addresses that their browsers have.
func TestInternalOrigin(t *testing.T) {
	w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) {
		f.Origins = []config.ProtectedOrigin{{Origin: "https://shop.example.com", InternalOrigins: []string{"*://*"}}}
	})
	b := w.browser()
	b.cookies["gw.internal"] = map[string]string{}
	inside := func(address string) *Call {
		return b.ask("GET", strings.Replace(address, "https://shop.example.com", "http://gw.internal", 1))
	}
	c := inside(page)
	wantReply(t, c, decision.LoginRedirect, 302)
	if got := must(url.Parse(location(c))).Query().Get("redirect_uri"); got != "https://shop.example.com/.ambassador/oauth2/redirection-endpoint" {
		t.Errorf("redirect_uri is %q", got)
	}
	c = inside(w.atProvider(location(c), "alice"))
	wantReply(t, c, decision.OwnEndpoint, 302)
	if location(c) != page {
		t.Errorf("sent to %q", location(c))
	}
	for name, attributes := range setCookies(c) {
		if !strings.Contains(attributes, "Secure") {
			t.Errorf("%s: %s", name, attributes)
		}
	}
	wantReply(t, inside(page), decision.None, 0)
}

// One login is good for all subdomains, whichever it began at.
func TestSubdomains(t *testing.T) {
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), func(f *config.OAuth2Filter, _ *config.Arguments) {
				f.Origins = []config.ProtectedOrigin{{Origin: "https://shop.example.com", IncludeSubdomains: true}}
			})
			b := w.browser()
			c := b.login("https://eu.shop.example.com/cart", "alice")
			wantReply(t, c, decision.None, 0)
			if got := string(c.Head.Host()); got != "eu.shop.example.com" {
				t.Errorf("ended at %s", got)
			}
			if len(b.cookies["shop.example.com"])+len(b.cookies["eu.shop.example.com"]) != 0 || len(b.cookies[".shop.example.com"]) != 3 {
				t.Errorf("the browser keeps %v", b.cookies)
			}
			asked := w.asked.Load()
			for _, address := range []string{page, "https://us.shop.example.com/", "https://a.b.shop.example.com/"} {
				wantReply(t, b.ask("GET", address), decision.None, 0)
			}
			if w.asked.Load() != asked {
				t.Error("somebody logged in again")
			}
			wantReply(t, b.ask("GET", "https://xshop.example.com/"), decision.OriginUnprotected, 400)
		})
	}
}

// How long browsers keep cookies, and on whose pages they send them.
func TestCookieAttributes(t *testing.T) {
	kiosk := "kiosk"
	for _, r := range []struct {
		name     string
		cookies  *config.SessionCookies
		idle     time.Duration
		scope    []string
		sameSite string
		agent    string
		age      string // Max-Age; "" for none
		session  string // SameSite of the session, and of the browser's own secret
		browser  string
	}{
		{name: "with a refresh token", scope: []string{"offline_access"}, age: "1209600"},
		{name: "without one", age: "300"},
		{name: "clientSessionMaxIdle", idle: time.Hour, age: "3600"},
		{name: "useSessionCookies", cookies: &config.SessionCookies{Value: true}},
		{name: "useSessionCookies: false", cookies: &config.SessionCookies{}, age: "300"},
		{name: "useSessionCookies for those who match, who does", cookies: &config.SessionCookies{Value: true, If: &config.HeaderCondition{Name: "user-agent", Value: &kiosk}}, agent: kiosk},
		{name: "useSessionCookies for those who match, who does not", cookies: &config.SessionCookies{Value: true, If: &config.HeaderCondition{Name: "user-agent", Value: &kiosk}}, agent: "x", age: "300"},
		{name: "useSessionCookies: false for those who match, who does", cookies: &config.SessionCookies{If: &config.HeaderCondition{Name: "user-agent", Value: &kiosk}}, agent: kiosk, age: "300"},
		{name: "useSessionCookies: false for those who match, who does not", cookies: &config.SessionCookies{If: &config.HeaderCondition{Name: "user-agent", Value: &kiosk}}, agent: "x"},
		{name: "lax", sameSite: "lax", age: "300", session: "Lax", browser: "Lax"},
		{name: "none", sameSite: "none", age: "300", session: "None", browser: "None"},
		{name: "strict", sameSite: "strict", age: "300", session: "Strict", browser: "Lax"},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, args *config.Arguments) {
				f.SessionCookies, f.MaxIdle, args.Scope, args.SameSite = r.cookies, r.idle, r.scope, r.sameSite
			})
			b := w.browser()
			c := b.ask("GET", w.atProvider(location(b.ask("GET", page)), "alice"), "User-Agent", r.agent)
			got := setCookies(c)
			for _, name := range []string{shopSession, "ambassador_xsrf.web.shop", "__Host-legate_browser.web.shop"} {
				want := "Path=/"
				if r.age != "" {
					want += "; Max-Age=" + r.age
				}
				if name != "ambassador_xsrf.web.shop" {
					want += "; HttpOnly"
				}
				want += "; Secure"
				same := r.session
				if strings.HasPrefix(name, "__Host-") {
					if same = r.browser; same == "" {
						same = "Lax"
					}
				}
				if same != "" {
					want += "; SameSite=" + same
				}
				if got[name] != want {
					t.Errorf("%s: %s, want %s", name, got[name], want)
				}
			}
			if r.sameSite == "strict" { // a redirect that began elsewhere would not bring them back
				wantReply(t, c, decision.OwnEndpoint, 200)
				if !bytes.Contains(c.Reply.Body, []byte(`http-equiv="refresh" content="0;url=`+strings.ReplaceAll(page, "&", "&amp;")+`"`)) {
					t.Errorf("the page is %s", c.Reply.Body)
				}
			} else {
				wantReply(t, c, decision.OwnEndpoint, 302)
			}
			wantReply(t, b.ask("GET", page), decision.None, 0)
		})
	}
}

// The service gets all cookies but the gateway's own, as filters before have left them.
func TestCookiesOfTheService(t *testing.T) {
	const own, rest = shopSession + "=x; ambassador_session.web.shop.1=y; __Host-legate_browser.web.shop=z", "a=1; bare; b=2=3; ambassador_session.other.shop=o"
	for _, r := range []struct {
		name string
		edit func(e *wire.Edits)
		want string
	}{
		{"of the browser", func(*wire.Edits) {}, "first=0; " + rest},
		{"set by a filter", func(e *wire.Edits) { e.Set(wire.FieldCookie, []byte("c=4; "+own)) }, "c=4"},
		{"added by a filter", func(e *wire.Edits) { e.Add(wire.FieldCookie, []byte("c=4")) }, "first=0; " + rest + "; c=4"},
		{"removed by a filter", func(e *wire.Edits) { e.Remove(wire.FieldCookie, nil) }, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			l := &login{realm: "web.shop", sessionName: shopSession}
			c := visit(midday, "GET", must(url.Parse(page)), "Cookie", "first=0; "+own, "Cookie", rest)
			r.edit(c.Edits)
			l.withoutOwn(c)
			if got := received(c, "cookie"); got != r.want {
				t.Errorf("the service gets %q, want %q", got, r.want)
			}
			if n := len(c.Edits.Adds()); n > 1 || !c.Edits.Drops(wire.FieldCookie, nil) {
				t.Errorf("the service gets %d lines beside the browser's", n)
			}
		})
	}
}

// Cookies for all sites must be Secure, or browsers drop them without a word.
func TestSameSiteNoneNeedsTLS(t *testing.T) {
	for _, r := range []struct {
		sameSite string
		origins  []string
		want     string // part of the Problem; "" for none
	}{
		{"none", []string{"https://shop.example.com"}, ""},
		{"lax", []string{"http://shop.example.com"}, ""},
		{"", []string{"http://shop.example.com"}, ""},
		{"none", []string{"https://shop.example.com", "http://old.example.com"}, "of http://old.example.com"},
	} {
		w := newLoginWorld(t, nil, nil)
		w.world.Filters[0].OAuth2.Origins = nil
		for _, o := range r.origins {
			w.world.Filters[0].OAuth2.Origins = append(w.world.Filters[0].OAuth2.Origins, config.ProtectedOrigin{Origin: o})
		}
		w.world.FilterPolicies[0].Rules[0].Filters[0].Arguments.SameSite = r.sameSite
		_, problems := New(w.world, w.set, w.deps)
		if len(problems) == 0 && r.want == "" {
			continue
		}
		if len(problems) != 1 || r.want == "" || !strings.Contains(problems[0].String(), r.want) || problems[0].Field != "rules[0].filters[0].arguments.sameSite" {
			t.Errorf("%s at %v: %v, want %q", r.sameSite, r.origins, problems, r.want)
		}
	}
}

// What happens instead of a redirect.
func TestInsteadOfRedirectRules(t *testing.T) {
	xhr := "XMLHttpRequest"
	only := &config.HeaderCondition{Name: "x-requested-with", Value: &xhr}
	deny := []config.FilterUse{{Name: "keys", Namespace: "shop"}}
	for _, r := range []struct {
		name    string
		instead config.InsteadOfRedirect
		fields  []string
		reason  decision.Reason
		status  int
	}{
		{"for all, by default", config.InsteadOfRedirect{}, nil, decision.LoginRequired, 403},
		{"for all, with a status", config.InsteadOfRedirect{Status: 401}, nil, decision.LoginRequired, 401},
		{"for who matches", config.InsteadOfRedirect{If: only, Status: 401}, []string{"X-Requested-With", xhr}, decision.LoginRequired, 401},
		{"for who does not", config.InsteadOfRedirect{If: only, Status: 401}, nil, decision.LoginRedirect, 302},
		{"filters that refuse", config.InsteadOfRedirect{Filters: deny}, nil, decision.APIKeyMissing, 403},
		{"filters that let pass", config.InsteadOfRedirect{Filters: deny}, []string{"X-API-Key", "right"}, decision.None, 0},
		{"filters for who matches, who does not", config.InsteadOfRedirect{If: only, Filters: deny}, []string{"X-API-Key", "right"}, decision.LoginRedirect, 302},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(_ *config.OAuth2Filter, args *config.Arguments) { args.Instead = &r.instead },
				withSecret("k", map[string]string{"a": "right"}), func(w *config.World) {
					w.Filters = append(w.Filters, config.Filter{
						Meta:   config.Meta{Kind: "Filter", Name: "keys", Namespace: "shop"},
						APIKey: &config.APIKeyFilter{Header: "x-api-key", Secrets: []config.SecretName{{Name: "k", Namespace: "shop"}}},
					})
				})
			b := w.browser()
			c := b.ask("GET", page, r.fields...)
			wantReply(t, c, r.reason, r.status)
			if n := len(setCookies(c)); (n > 0) != (r.reason == decision.LoginRedirect) {
				t.Errorf("%d cookies", n)
			}
			if r.reason == decision.None && (received(c, "authorization") != "" || c.Identity != nil) {
				t.Errorf("passes as %+v", c.Identity)
			}
		})
	}
}

// The scopes that a rule asks for, and what of them was granted.
func TestScopeRules(t *testing.T) {
	for _, r := range []struct {
		name   string
		asked  []string
		change func(answer map[string]any)
		reason decision.Reason
		status int
		form   string // scope of the request
	}{
		{"all", []string{"email"}, nil, decision.None, 0, "openid email"},
		{"none is asked for", nil, nil, decision.None, 0, "openid"},
		{"openid is not asked for twice", []string{"email", "openid"}, nil, decision.None, 0, "email openid"},
		{"the answer does not say", []string{"email"}, func(a map[string]any) { delete(a, "scope") }, decision.None, 0, "openid email"},
		{"one is missing", []string{"email", "admin"}, func(a map[string]any) { a["scope"] = "openid email" }, decision.TokenScope, 403, "openid email admin"},
		{"openid is missing, and there is an id_token", []string{"api://shop/read"}, func(a map[string]any) { a["scope"] = "api://shop/read" }, decision.None, 0, "openid api://shop/read"},
		{"offline_access is missing, which is no denial", []string{"offline_access"}, func(a map[string]any) { a["scope"] = "openid"; delete(a, "refresh_token") }, decision.None, 0, "openid offline_access"},
	} {
		t.Run(r.name, func(t *testing.T) {
			w := newLoginWorld(t, nil, func(_ *config.OAuth2Filter, args *config.Arguments) { args.Scope = r.asked })
			if r.change != nil {
				w.instead("/token", w.changing(r.change))
			}
			b := w.browser()
			if got := must(url.Parse(location(b.ask("GET", page)))).Query().Get("scope"); got != r.form {
				t.Errorf("asks for %q, want %q", got, r.form)
			}
			wantReply(t, b.login(page, "alice"), r.reason, r.status)
			if r.reason == decision.TokenScope { // and not again and again
				wantReply(t, b.ask("GET", page), r.reason, r.status)
			}
		})
	}
}

// A session goes on whose provider lists the scopes of access tokens alone, also when it
// refreshes them.
func TestScopesOfARefreshedSession(t *testing.T) {
	w := newLoginWorld(t, nil, func(_ *config.OAuth2Filter, args *config.Arguments) {
		args.Scope = []string{"offline_access", "api://shop/read"}
	})
	w.instead("/token", w.changing(func(a map[string]any) { a["scope"] = "api://shop/read" }))
	b := w.browser()
	wantReply(t, b.login(page, "alice"), decision.None, 0)
	before := w.asked.Load()
	w.forward(6 * time.Minute)
	wantReply(t, b.ask("GET", page), decision.None, 0)
	if w.asked.Load() != before+1 {
		t.Error("the session was not refreshed")
	}
}

// A provider that says nothing costs nobody more than their patience, and what it says in
// the end is not lost.
func TestProviderStalls(t *testing.T) {
	const patience = 50 * time.Millisecond
	for name, open := range keepers {
		t.Run(name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), nil)
			w.deps.Patience = patience
			w.build()
			b := w.browser()
			b.login(page, "alice")
			w.forward(6 * time.Minute)
			goOn := make(chan struct{})
			var asked atomic.Int64
			w.instead("/token", func(rw http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				<-goOn
				w.provider.ServeHTTP(rw, r)
			})
			var all sync.WaitGroup
			for range 4 {
				one := &browser{w, map[string]map[string]string{shopHost: maps.Clone(b.cookies[shopHost])}}
				all.Go(func() {
					began := time.Now()
					if c := one.ask("GET", page); c.Reply.Reason != decision.ProviderUnavailable || c.Reply.Status != 502 {
						t.Errorf("answered %s %d", c.Reply.Reason, c.Reply.Status)
					}
					if took := time.Since(began); took > 100*patience {
						t.Errorf("waited %v", took)
					}
				})
			}
			all.Wait()
			close(goOn)
			for c := b.ask("GET", page); c.Reply.Reason != decision.None; c = b.ask("GET", page) {
				if c.Reply.Reason != decision.ProviderUnavailable {
					t.Fatalf("answered %s %d (%v)", c.Reply.Reason, c.Reply.Status, c.Reply.Err)
				}
			}
			if asked.Load() != 1 {
				t.Errorf("the provider was asked %d times", asked.Load())
			}
		})
	}
}

// Patience is for who waits for others: what a request took to come whole is no part of it.
func TestProviderAskedAfterASlowBody(t *testing.T) {
	w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.Validation = "userinfo" })
	w.deps.Patience = 4 * time.Second
	w.build()
	b := w.browser()
	b.login(page, "alice")
	w.instead("/userinfo", func(rw http.ResponseWriter, r *http.Request) {
		select { // which is no time for a provider
		case <-r.Context().Done():
		case <-time.After(50 * time.Millisecond):
			w.provider.ServeHTTP(rw, r)
		}
	})
	w.forward(6 * time.Minute) // the session has to be refreshed
	var cookies []string
	for name, value := range b.cookies[shopHost] {
		cookies = append(cookies, name+"="+value)
	}
	c := visit(w.now(), "POST", must(url.Parse(page)), "Cookie", strings.Join(cookies, "; "))
	w.forward(10 * time.Second) // that the body took
	w.serve(c)
	wantReply(t, c, decision.None, 0)
}

// A provider that cannot be discovered, and from one moment to the next can.
func TestProviderUndiscovered(t *testing.T) {
	w := newLoginWorld(t, nil, nil)
	w.deps.Patience = 50 * time.Millisecond
	w.set.Retire(nil)
	w.set = nil
	stalled := make(chan struct{})
	w.instead("/.well-known/openid-configuration", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stalled:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	})
	w.build()
	wantReply(t, w.browser().ask("GET", page), decision.ProviderUnavailable, 502)
	close(stalled)
	w.instead("", nil)
	for range 1000 {
		w.forward(failedPause)
		if c := w.browser().ask("GET", page); c.Reply.Reason == decision.LoginRedirect {
			return
		}
	}
	t.Error("the provider is never asked again")
}

// A provider that says no more of itself goes on by what it said, and costs the patience of
// one person at a time, who finds out.
func TestProviderStale(t *testing.T) {
	const patience = 500 * time.Millisecond
	w := newLoginWorld(t, nil, nil)
	w.deps.Patience = patience
	w.build()
	wantReply(t, w.browser().ask("GET", page), decision.LoginRedirect, 302)
	goOn := make(chan struct{})
	var asked atomic.Int64
	w.instead("/.well-known/openid-configuration", func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-goOn
		panic(http.ErrAbortHandler)
	})
	w.forward(minFresh)
	began := time.Now()
	for range 20 {
		wantReply(t, w.browser().ask("GET", page), decision.LoginRedirect, 302)
	}
	if took := time.Since(began); took > 10*patience || asked.Load() > 1 {
		t.Errorf("20 people waited %v together, and the provider was asked %d times", took, asked.Load())
	}
	close(goOn)
	w.instead("", nil)
	w.forward(staleFor)
	wantReply(t, w.browser().login(page, "alice"), decision.None, 0)
}

// Settings of the Filter that are seen from outside.
func TestOAuth2Settings(t *testing.T) {
	t.Run("extraAuthorizationParameters", func(t *testing.T) {
		w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) {
			f.ExtraAuthorizationParameters = []config.NameValue{{Name: "audience", Value: "https://api?a=b&c"}, {Name: "prompt", Value: "login"}}
		})
		q := must(url.Parse(location(w.browser().ask("GET", page)))).Query()
		if q.Get("audience") != "https://api?a=b&c" || q.Get("prompt") != "login" {
			t.Errorf("the query is %v", q)
		}
	})
	t.Run("maxStale", func(t *testing.T) {
		said := map[string]string{}
		w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.Fetch.MaxStale = time.Hour })
		w.mu.Lock()
		w.other = func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			said[r.URL.Path] += r.Header.Get("Cache-Control")
			w.mu.Unlock()
			w.provider.ServeHTTP(rw, r)
		}
		w.mu.Unlock()
		w.browser().login(page, "alice")
		w.mu.Lock()
		defer w.mu.Unlock()
		if said["/.well-known/openid-configuration"] != "max-stale=3600" || said["/token"] != "" {
			t.Errorf("the provider was told %v", said)
		}
	})
	t.Run("expirationSafetyMargin", func(t *testing.T) {
		w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.SafetyMargin = time.Minute })
		b := w.browser()
		b.login(page, "alice")
		w.forward(239 * time.Second)
		wantReply(t, b.ask("GET", page), decision.None, 0)
		before := w.asked.Load()
		w.forward(2 * time.Second)
		wantReply(t, b.ask("GET", page), decision.None, 0)
		if w.asked.Load() != before+1 {
			t.Error("the access token was not refreshed a minute before it lapses")
		}
	})
	for name, open := range keepers {
		t.Run("clientSessionMaxIdle in "+name, func(t *testing.T) {
			w := newLoginWorld(t, open(t), func(f *config.OAuth2Filter, _ *config.Arguments) { f.MaxIdle = time.Hour })
			b := w.browser()
			b.login(page, "alice")
			for range 4 { // used every so often it lives on
				w.forward(40 * time.Minute)
				wantReply(t, b.ask("GET", page), decision.None, 0)
			}
			w.forward(61 * time.Minute)
			wantReply(t, b.ask("GET", page), decision.LoginRedirect, 302)
		})
	}
	t.Run("allowMalformedAccessToken", func(t *testing.T) {
		for _, r := range []struct {
			allow  bool
			access string
			want   decision.Reason
		}{
			{true, "a|b", decision.OwnEndpoint}, {false, "a|b", decision.ProviderUnavailable},
			{true, "a\x01b", decision.ProviderUnavailable}, {true, "a\r\nb", decision.ProviderUnavailable}, // what no header may hold
		} {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.AllowMalformedAccessToken = r.allow })
			w.instead("/token", w.changing(func(a map[string]any) { a["access_token"] = r.access }))
			b := w.browser()
			c := b.ask("GET", w.atProvider(location(b.ask("GET", page)), "alice"))
			if c.Reply.Reason != r.want && (!r.allow || r.want != decision.OwnEndpoint || c.Reply.Reason != decision.LoginInvalid) {
				t.Errorf("%q, allowed %v: %s (%v)", r.access, r.allow, c.Reply.Reason, c.Reply.Err)
			}
		}
	})
	t.Run("postLogoutRedirectURI without an end_session_endpoint", func(t *testing.T) {
		for _, to := range []string{"", "https://shop.example.com/bye"} {
			w := newLoginWorld(t, nil, func(f *config.OAuth2Filter, _ *config.Arguments) { f.PostLogoutRedirectURI = to })
			w.instead("/.well-known/openid-configuration", w.changing(func(a map[string]any) { delete(a, "end_session_endpoint") }))
			w.build()
			b := w.browser()
			b.login(page, "alice")
			c := b.logOut()
			if to == "" {
				wantReply(t, c, decision.OwnEndpoint, 200)
			} else {
				wantReply(t, c, decision.OwnEndpoint, 302)
			}
			if location(c) != to {
				t.Errorf("sent to %q, want %q", location(c), to)
			}
		}
	})
}

// Pages of protected origins may ask whether they may log out; others are told nothing.
func TestLogoutPreflight(t *testing.T) {
	w := newLoginWorld(t, nil, nil)
	for origin, want := range map[string]string{"https://admin.example.org": "https://admin.example.org", "https://evil.example.net": "", "null": ""} {
		c := w.browser().ask("OPTIONS", "https://shop.example.com/.ambassador/oauth2/logout", "Origin", origin, "Access-Control-Request-Method", "POST")
		wantReply(t, c, decision.Preflight, 204)
		i := slices.IndexFunc(c.ToClient.Adds(), func(a wire.Add) bool { return string(a.Name) == "access-control-allow-origin" })
		got := ""
		if i >= 0 {
			got = string(c.ToClient.Adds()[i].Value)
		}
		if got != want {
			t.Errorf("%s: allowed %q, want %q", origin, got, want)
		}
	}
}
