package authn

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A sentBody is a request's body, at hand.
type sentBody string

func (b sentBody) Peek(limit int) ([]byte, bool, error) {
	return []byte(b[:min(len(b), limit)]), len(b) <= limit, nil
}

// mustHash is a hash that costs little.
func mustHash(password string) []byte {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return h
}

var (
	userSecret = &config.Secret{Meta: config.Meta{Name: "users", Namespace: "ambassador"}, Data: map[string][]byte{
		"auth": fmt.Appendf(nil, "# people\n\nalice:%s\nbob:%s\n", mustHash("wonder:land"), argonHash),
	}}
	clientSecret = &config.Secret{Meta: config.Meta{Name: "clients", Namespace: "ambassador"}, Data: map[string][]byte{
		"worker": mustHash("s3cret"), "other": mustHash("t0p"),
	}}
)

// argonHash is of "builder".
var argonHash = argonOf("builder")

// office is a Mint filter that knows users and clients, and one service to ask for.
func office(t testing.TB, d *Deps, change ...func(*config.MintFilter)) *Minter {
	t.Helper()
	change = append([]func(*config.MintFilter){func(f *config.MintFilter) {
		f.Credentials.Passwords = config.SecretName{Name: "users", Namespace: "ambassador"}
		f.Credentials.Clients = config.SecretName{Name: "clients", Namespace: "ambassador"}
		f.Audience = []string{"api.shop"}
	}}, change...)
	m := minter(t, d, mintFilter(change...), userSecret, clientSecret)
	m.prefix, m.origins = "/auth", []string{"https://app.example.com"}
	return m
}

// post sends a form to one of m's endpoints.
func post(m *Minter, now time.Time, path string, f url.Values, fields ...string) *Call {
	head := &wire.Head{}
	head.BuildRequest("POST", "shop.example.com", "/auth"+path, append([]string{"Content-Type", "application/x-www-form-urlencoded"}, fields...)...)
	c := call(now, nil)
	c.Head, c.Path, c.RawPath, c.Service, c.Body = head, head.Path(), head.Path(), nil, sentBody(f.Encode())
	serve(m, path, c)
	return c
}

func serve(m *Minter, path string, c *Call) {
	var e Endpoint = ownEndpoint{m, true, (*Minter).serveToken}
	if path != tokenPath {
		e = m.endpoints()[path]
	}
	e.Serve(c)
}

// pairs is a form of names and values.
func pairs(list ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(list); i += 2 {
		f.Add(list[i], list[i+1])
	}
	return f
}

func basicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// told decodes the JSON of c's answer.
func told(t testing.TB, c *Call) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(c.Reply.Body, &m); err != nil {
		t.Fatalf("%q: %v", c.Reply.Body, err)
	}
	return m
}

func headerOf(c *Call, name string) string {
	for _, lines := range [][]wire.Add{c.Reply.Headers, c.ToClient.Adds()} {
		for _, a := range lines {
			if a.FieldName() == name {
				return string(a.Value)
			}
		}
	}
	return ""
}

func TestTokenEndpoint(t *testing.T) {
	password := func(more ...string) url.Values {
		return pairs(append([]string{"grant_type", "password", "username", "alice", "password", "wonder:land"}, more...)...)
	}
	machine := pairs("grant_type", "client_credentials")
	rows := []struct {
		name   string
		form   url.Values
		fields []string
		status int
		err    string         // of OAuth; "" for a token
		claims map[string]any // some of the token's
	}{
		{"a password", password(), nil, 200, "", map[string]any{"sub": "alice", "aud": []any{"ambassador-jwt-issuer"}}},
		{"a password that argon2id keeps", pairs("grant_type", "password", "username", "bob", "password", "builder"), nil, 200, "", map[string]any{"sub": "bob"}},
		{"for a service", password("audience", "api.shop"), nil, 200, "", map[string]any{"aud": []any{"api.shop"}, "allowed_services": []any{"api.shop"}}},
		{"for a resource, which is the same", password("resource", "api.shop"), nil, 200, "", map[string]any{"aud": []any{"api.shop"}}},
		{"for a service that nobody may ask for", password("audience", "bank.secret"), nil, 400, "invalid_target", nil},
		{"from a page of the route's origins", password(), []string{"Origin", "https://app.example.com"}, 200, "", map[string]any{"allowed_origins": []any{"https://app.example.com"}}},
		{"from another page", password(), []string{"Origin", "https://evil.example.com"}, 400, "invalid_request", nil},
		{"with a scope that nobody has granted", password("scope", "admin"), nil, 200, "", map[string]any{"scope": nil}},
		{"of a public client", password("client_id", "web"), nil, 200, "", map[string]any{"client_id": "web"}},
		{"of a client that proves who it is", password(), []string{"Authorization", basicAuth("worker", "s3cret")}, 200, "", map[string]any{"client_id": "worker"}},
		{"of a client that only says so", password("client_id", "worker"), nil, 401, "invalid_client", nil},
		{"a wrong password", pairs("grant_type", "password", "username", "alice", "password", "x"), nil, 400, "invalid_grant", nil},
		{"somebody unknown", pairs("grant_type", "password", "username", "eve", "password", "wonder:land"), nil, 400, "invalid_grant", nil},
		{"no password", pairs("grant_type", "password", "username", "alice"), nil, 400, "invalid_request", nil},
		{"client credentials in a header", machine, []string{"Authorization", basicAuth("worker", "s3cret")}, 200, "", map[string]any{"sub": "worker", "client_id": "worker"}},
		{"client credentials in the form", pairs("grant_type", "client_credentials", "client_id", "worker", "client_secret", "s3cret"), nil, 200, "", map[string]any{"sub": "worker"}},
		{"client credentials in both", pairs("grant_type", "client_credentials", "client_id", "worker", "client_secret", "s3cret"), []string{"Authorization", basicAuth("worker", "s3cret")}, 400, "invalid_request", nil},
		{"two different clients", pairs("grant_type", "client_credentials", "client_id", "other"), []string{"Authorization", basicAuth("worker", "s3cret")}, 401, "invalid_client", nil},
		{"a client with a wrong secret", machine, []string{"Authorization", basicAuth("worker", "x")}, 401, "invalid_client", nil},
		{"a client that is not known", machine, []string{"Authorization", basicAuth("nobody", "s3cret")}, 401, "invalid_client", nil},
		{"no client", machine, nil, 401, "invalid_client", nil},
		{"no grant type", pairs("username", "alice"), nil, 400, "invalid_request", nil},
		{"another grant type", pairs("grant_type", "authorization_code"), nil, 400, "unsupported_grant_type", nil},
		{"a parameter twice", password("username", "bob"), nil, 400, "invalid_request", nil},
		{"JSON", password(), []string{"Content-Type", "application/json"}, 400, "invalid_request", nil},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			now := noon
			m := office(t, testDeps(t, &now))
			if slices.Contains(r.fields, "application/json") {
				head := &wire.Head{}
				head.BuildRequest("POST", "h", "/auth/token", r.fields...)
				c := call(now, nil)
				c.Head, c.Body = head, sentBody(r.form.Encode())
				serve(m, tokenPath, c)
				if got := told(t, c)["error"]; c.Reply.Status != r.status || got != r.err {
					t.Errorf("got %d %v", c.Reply.Status, got)
				}
				return
			}
			c := post(m, now, "/token", r.form, r.fields...)
			got := told(t, c)
			if c.Reply.Status != r.status || r.err != "" && got["error"] != r.err {
				t.Fatalf("got %d %v, want %d %q", c.Reply.Status, got, r.status, r.err)
			}
			if headerOf(c, "cache-control") != "no-store" || headerOf(c, "pragma") != "no-cache" || string(c.Reply.ContentType) != "application/json" {
				t.Errorf("the answer has headers %v, %s", c.Reply.Headers, c.Reply.ContentType)
			}
			if r.status == 401 && headerOf(c, "www-authenticate") != `Basic realm="jwt-auth.ambassador", charset="UTF-8"` {
				t.Errorf("the challenge is %q", headerOf(c, "www-authenticate"))
			}
			if r.err != "" {
				if got["access_token"] != nil {
					t.Error("a refusal has a token")
				}
				return
			}
			if got["token_type"] != "Bearer" || got["expires_in"] != 600.0 {
				t.Errorf("got %v", got)
			}
			claims := part(t, got["access_token"].(string), 1)
			for name, want := range r.claims {
				if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
		})
	}
}

// exchanged asks for a token in place of another.
func exchanged(m *Minter, now time.Time, token string, more ...string) *Call {
	return post(m, now, "/token", pairs(append([]string{"grant_type", grantExchange, "subject_token", token, "subject_token_type", typeAccess}, more...)...))
}

func TestTokenExchange(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	foreign := minter(t, d, mintFilter(func(f *config.MintFilter) { f.Issuer = "https://id.example.com" }))
	source := func(claims string, lives time.Duration) string {
		id := alice(now, claims)
		id.Expires = now.Add(lives)
		g := &grant{identity: id, profile: foreign.makeProfile("my-client", nil)}
		token, err := foreign.sign(g, now)
		if err != nil {
			t.Fatal(err)
		}
		return string(token.line.Value[len("Bearer "):])
	}
	m := office(t, d, func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: "https://id.example.com", Audiences: []string{"my-client"}, JWKSURI: "http://keys.example.com/"}}
	})
	list, err := parseKeys(foreign.signer.current.Load().set)
	if err != nil {
		t.Fatal(err)
	}
	m.issuers[0].keys.current.Store(&keys{list: list, fresh: now.Add(time.Hour), until: now.Add(2 * time.Hour)})
	good := source(`{"scope": "read write", "groups": ["dev"]}`, 8*time.Minute)
	own := told(t, exchanged(m, now, good))["access_token"].(string)
	rows := []struct {
		name, token string
		more        []string
		status      int
		err         string
		claims      map[string]any
		expires     float64
	}{
		{"a token of an issuer that is trusted", good, nil, 200, "",
			map[string]any{"sub": "alice", "scope": "read write", "groups": []any{"dev"}, "src_iss": "https://id.example.com", "aud": []any{"ambassador-jwt-issuer"}}, 480},
		{"fewer scopes", good, []string{"scope", "read"}, 200, "", map[string]any{"scope": "read"}, 480},
		{"as many scopes as there are", good, []string{"scope", "read admin"}, 200, "", map[string]any{"scope": "read"}, 480},
		{"none of the scopes", good, []string{"scope", "admin"}, 400, "invalid_scope", nil, 0},
		{"for a service", good, []string{"audience", "api.shop"}, 200, "", map[string]any{"aud": []any{"api.shop"}}, 480},
		{"a token of ours", own, nil, 200, "", map[string]any{"sub": "alice", "scope": "read write"}, 480},
		{"an id token", good, []string{"requested_token_type", typeIDToken}, 400, "invalid_request", nil, 0},
		{"no token", "", nil, 400, "invalid_request", nil, 0},
		{"anything", "abc", nil, 400, "invalid_request", nil, 0},
		{"with an actor", good, []string{"actor_token", good, "actor_token_type", typeAccess}, 400, "invalid_request", nil, 0},
		{"a changed token", good[:len(good)-8] + "AAAAAAAA", nil, 400, "invalid_request", nil, 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := exchanged(m, now, r.token, r.more...)
			got := told(t, c)
			if c.Reply.Status != r.status || r.err != "" && got["error"] != r.err {
				t.Fatalf("got %d %v, want %d %q", c.Reply.Status, got, r.status, r.err)
			}
			if r.err != "" {
				return
			}
			if got["issued_token_type"] != typeAccess || got["token_type"] != "Bearer" || got["expires_in"] != r.expires {
				t.Errorf("got %v", got)
			}
			claims := part(t, got["access_token"].(string), 1)
			for name, want := range r.claims {
				if fmt.Sprint(claims[name]) != fmt.Sprint(want) {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
		})
	}
}

// What services get is no credential at the token endpoint.
func TestInternalTokenIsNotExchanged(t *testing.T) {
	now := noon
	m := office(t, testDeps(t, &now))
	c := call(now, alice(now, ""))
	m.Mint(c)
	if c := exchanged(m, now, bearerOf(t, c)); c.Reply.Status != 400 || c.Reply.Reason != decision.TokenAudience {
		t.Errorf("got %d %v", c.Reply.Status, c.Reply.Reason)
	}
}

// What may be asked for is what the filter's claims give, whatever else the token holds.
func TestExchangedScopesAreTheFilters(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	scope := func(from ...string) config.ClaimSource { return config.ClaimSource{Name: "scope", From: from} }
	for _, r := range []struct {
		name   string
		claims []config.ClaimSource
		asked  string
		want   string // of the token, or else an error
	}{
		{"of another claim", []config.ClaimSource{scope("roles")}, "read", "read"},
		{"of the claim that does not count", []config.ClaimSource{scope("roles")}, "admin", "invalid_scope"},
		{"where tokens have none", []config.ClaimSource{{Name: "roles", From: []string{"roles"}}}, "admin", "invalid_scope"},
	} {
		m := office(t, d, func(f *config.MintFilter) {
			f.Claims = r.claims
			f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: f.Issuer}}
		})
		id := alice(now, `{"scope": "admin", "roles": ["read"]}`)
		g := &grant{identity: id, profile: &profile{claims: []byte(`,"aud":["ambassador-jwt-issuer"],"roles":["read"],"scope":"admin"`)}}
		source, err := (&Minter{f: mintFilter(func(f *config.MintFilter) { f.Claims = nil }).Mint, refusals: m.refusals, signer: m.signer}).sign(g, now)
		if err != nil {
			t.Fatal(err)
		}
		c := exchanged(m, now, string(source.line.Value[len("Bearer "):]), "scope", r.asked)
		got := fmt.Sprint(told(t, c)["error"])
		if c.Reply.Status == 200 {
			got = fmt.Sprint(part(t, told(t, c)["access_token"].(string), 1)["scope"])
		}
		if got != r.want {
			t.Errorf("%s: got %s, want %s", r.name, got, r.want)
		}
	}
}

// Whoever fails chooses the name, and must not choose how much memory that takes.
func TestLockoutKeepsNoNames(t *testing.T) {
	l := newLockout()
	name := strings.Repeat("a", 64<<10)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range 1000 {
		l.failed(fmt.Sprint(n, name), netip.Addr{}, noon)
	}
	runtime.GC()
	runtime.ReadMemStats(&now)
	if took := int64(now.HeapAlloc) - int64(before.HeapAlloc); took > 8<<20 {
		t.Errorf("1000 names take %d bytes", took)
	}
	if l.locked(fmt.Sprint(7, name), netip.Addr{}, noon) == 0 {
		t.Error("who failed so often from one address is not locked out")
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	m := office(t, d)
	worker := []string{"Authorization", basicAuth("worker", "s3cret")}
	other := []string{"Authorization", basicAuth("other", "t0p")}
	token := func(f url.Values, fields ...string) string {
		c := post(m, now, "/token", f, fields...)
		text, _ := told(t, c)["access_token"].(string)
		if text == "" {
			t.Fatalf("no token: %s", c.Reply.Body)
		}
		return text
	}
	users := token(pairs("grant_type", "password", "username", "alice", "password", "wonder:land"))
	workers := token(pairs("grant_type", "client_credentials"), worker...)
	active := func(token string) any {
		return told(t, post(m, now, "/introspect", pairs("token", token), worker...))["active"]
	}

	if got := told(t, post(m, now, "/introspect", pairs("token", users), worker...)); got["active"] != true || got["sub"] != "alice" ||
		got["iss"] != "ambassador-jwt-issuer" || got["token_type"] != "Bearer" || got["exp"] != float64(noon.Unix()+600) {
		t.Errorf("introspection says %v", got)
	}
	for name, c := range map[string]*Call{
		"who does not say who it is": post(m, now, "/introspect", pairs("token", users)),
		"who is nobody":              post(m, now, "/introspect", pairs("token", users), "Authorization", basicAuth("x", "y")),
	} {
		if c.Reply.Status != 401 || told(t, c)["error"] != "invalid_client" {
			t.Errorf("%s gets %d %s", name, c.Reply.Status, c.Reply.Body)
		}
	}
	for _, bad := range []string{"abc", users + "x"} {
		if got := string(post(m, now, "/introspect", pairs("token", bad), worker...).Reply.Body); got != `{"active":false}` {
			t.Errorf("of %q introspection says %s", bad, got)
		}
	}
	rows := []struct {
		name, token string
		fields      []string
		status      int
		err         string
		active      any
	}{
		{"another client's token", workers, other, 400, "unauthorized_client", true},
		{"a client's token by nobody", workers, nil, 401, "invalid_client", true},
		{"no token of ours", "abc", nil, 200, "", nil},
		{"one's own", workers, worker, 200, "", false},
		{"a user's, by who has it", users, nil, 200, "", false},
		{"once more", users, nil, 200, "", false},
	}
	for _, r := range rows {
		c := post(m, now, "/revoke", pairs("token", r.token, "token_type_hint", "access_token"), r.fields...)
		if c.Reply.Status != r.status || r.err != "" && told(t, c)["error"] != r.err || r.err == "" && len(c.Reply.Body) > 0 {
			t.Errorf("%s: got %d %s", r.name, c.Reply.Status, c.Reply.Body)
		}
		if r.active != nil && active(r.token) != r.active {
			t.Errorf("%s: active is %v afterwards", r.name, active(r.token))
		}
	}
	back := call(now, nil, "Authorization", "Bearer "+users)
	if m.Filter(back) != Deny || back.Reply.Reason != decision.TokenRevoked {
		t.Errorf("a revoked token is %v", back.Reply.Reason)
	}
}

// What a token endpoint gives is a credential at the gateway, as is a name with a password.
func TestCredentials(t *testing.T) {
	now := noon
	m := office(t, testDeps(t, &now))
	token := told(t, post(m, now, "/token", pairs("grant_type", "password", "username", "alice", "password", "wonder:land")))["access_token"].(string)
	rows := []struct {
		name, value string
		want        decision.Reason
		subject     string
	}{
		{"a token", "Bearer " + token, decision.None, "alice"},
		{"a name and a password", basicAuth("alice", "wonder:land"), decision.None, "alice"},
		{"and once more", basicAuth("alice", "wonder:land"), decision.None, "alice"},
		{"a wrong password", basicAuth("alice", "x"), decision.PasswordWrong, ""},
		{"no name", basicAuth("", "x"), decision.AuthorizationMalformed, ""},
		{"no base64", "Basic %%%", decision.AuthorizationMalformed, ""},
		{"nothing", "", decision.IdentityMissing, ""},
		{"another scheme", "Digest x", decision.IdentityMissing, ""},
		{"an opaque token", "Bearer abc", decision.TokenMalformed, ""},
		{"a token of somebody else", "Bearer " + base64url([]byte(`{"alg":"ES256"}`)) + "." + base64url([]byte(`{"iss":"x"}`)) + ".AAAA", decision.TokenIssuer, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c := call(now, nil)
			if r.value != "" {
				c = call(now, nil, "Authorization", r.value)
			}
			got := decision.None
			if m.Filter(c) == Deny {
				got = c.Reply.Reason
			}
			if got != r.want {
				t.Fatalf("got %v, want %v", got, r.want)
			}
			if r.want == decision.None {
				if c.Identity.Subject != r.subject || m.Mint(c) != Allow {
					t.Errorf("recognised %q, and %+v", c.Identity.Subject, c.Reply)
				}
				return
			}
			if c.Reply.Status != r.want.Status() || headerOf(c, "www-authenticate") == "" {
				t.Errorf("got %d with challenge %q", c.Reply.Status, headerOf(c, "www-authenticate"))
			}
		})
	}
}

func TestLockout(t *testing.T) {
	now := noon
	m := office(t, testDeps(t, &now))
	try := func(user, password string) *Call {
		return post(m, now, "/token", pairs("grant_type", "password", "username", user, "password", password))
	}
	for n := range freeForUser {
		if c := try("alice", "x"); c.Reply.Status != 400 {
			t.Fatalf("failure %d gets %d", n, c.Reply.Status)
		}
	}
	if c := try("alice", "wonder:land"); c.Reply.Status != 429 || headerOf(c, "retry-after") != "1" || told(t, c)["error"] != "invalid_grant" {
		t.Errorf("after %d failures the right password gets %d, Retry-After %q", freeForUser, c.Reply.Status, headerOf(c, "retry-after"))
	}
	if c := try("bob", "builder"); c.Reply.Status != 200 {
		t.Errorf("somebody else gets %d", c.Reply.Status)
	}
	now = now.Add(time.Second)
	try("alice", "x")
	now = now.Add(time.Second)
	if c := try("alice", "wonder:land"); c.Reply.Status != 429 {
		t.Errorf("the second pause is no longer than the first: %d", c.Reply.Status)
	}
	now = now.Add(time.Second)
	if c := try("alice", "wonder:land"); c.Reply.Status != 200 {
		t.Errorf("after the pause: %d", c.Reply.Status)
	}
	if c := try("alice", "x"); c.Reply.Status != 400 {
		t.Errorf("a success does not forgive: %d", c.Reply.Status)
	}
	for n := range freeForAddress {
		try(fmt.Sprintf("user-%d", n), "x")
	}
	if c := try("bob", "builder"); c.Reply.Status != 429 {
		t.Errorf("an address that tries many users gets %d", c.Reply.Status)
	}
}

func TestEndpointMethodsAndOrigins(t *testing.T) {
	rows := []struct {
		name, method, path string
		fields             []string
		status             int
		headers            map[string]string
	}{
		{"GET of the token endpoint", "GET", "/token", nil, 405, map[string]string{"allow": "POST, OPTIONS"}},
		{"POST of the key set", "POST", "/.well-known/jwks.json", nil, 405, map[string]string{"allow": "GET, HEAD, OPTIONS"}},
		{"the key set", "GET", "/.well-known/jwks.json", nil, 200, map[string]string{"cache-control": "public, max-age=300", "access-control-allow-origin": "*"}},
		{"its head", "HEAD", "/.well-known/jwks.json", nil, 200, map[string]string{"cache-control": "public, max-age=300"}},
		{"preflight of a page that may", "OPTIONS", "/token", []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "POST"}, 204,
			map[string]string{"access-control-allow-origin": "https://app.example.com", "access-control-allow-methods": "POST", "vary": "origin"}},
		{"preflight of another page", "OPTIONS", "/token", []string{"Origin", "https://evil.example.com", "Access-Control-Request-Method", "POST"}, 405,
			map[string]string{"access-control-allow-origin": "", "vary": "origin"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			now := noon
			m := office(t, testDeps(t, &now))
			c := call(now, nil)
			c.Head.BuildRequest(r.method, "shop.example.com", "/auth"+r.path, r.fields...)
			serve(m, r.path, c)
			if c.Reply.Status != r.status {
				t.Errorf("status %d, want %d", c.Reply.Status, r.status)
			}
			for name, want := range r.headers {
				if got := headerOf(c, name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestPublishedDocuments(t *testing.T) {
	now := noon
	m := office(t, testDeps(t, &now))
	get := func(path string) map[string]any {
		c := call(now, nil)
		c.Head.BuildRequest("GET", "Shop.Example.com", "/auth"+path)
		c.Secure = true
		serve(m, path, c)
		return told(t, c)
	}
	keys, _ := get("/.well-known/jwks.json")["keys"].([]any)
	if len(keys) != 1 {
		t.Fatalf("%d keys are published", len(keys))
	}
	k, _ := keys[0].(map[string]any)
	var members []string
	for name := range k {
		members = append(members, name)
	}
	slices.Sort(members)
	if want := []string{"alg", "crv", "kid", "kty", "use", "x", "y"}; !slices.Equal(members, want) || k["use"] != "sig" || k["alg"] != "ES256" {
		t.Errorf("the key has members %q", members)
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		doc := get(path)
		for name, want := range map[string]any{
			"issuer": "ambassador-jwt-issuer", "token_endpoint": "https://shop.example.com/auth/token", "jwks_uri": "https://shop.example.com/auth/.well-known/jwks.json",
			"introspection_endpoint": "https://shop.example.com/auth/introspect", "revocation_endpoint": "https://shop.example.com/auth/revoke",
			"response_types_supported": []any{}, "grant_types_supported": []any{grantExchange, "password", "client_credentials"},
		} {
			if fmt.Sprint(doc[name]) != fmt.Sprint(want) {
				t.Errorf("%s: %s is %v, want %v", path, name, doc[name], want)
			}
		}
	}
}

func TestPasswordHashes(t *testing.T) {
	heavy := strings.Replace(string(mustHash("x")), "$04$", "$16$", 1)
	rows := []struct{ name, hash, err string }{
		{"bcrypt", string(mustHash("x")), ""},
		{"argon2id", argonHash, ""},
		{"bcrypt that costs too much", heavy, "more memory or time"},
		{"argon2id that costs too much", strings.Replace(argonHash, "m=64", "m=9999999", 1), "more memory or time"},
		{"argon2id of no rounds", strings.Replace(argonHash, "t=1", "t=0", 1), "neither"},
		{"another argon2", strings.Replace(argonHash, "argon2id", "argon2i", 1), "neither"},
		{"another version", strings.Replace(argonHash, "v=19", "v=16", 1), "neither"},
		{"SHA-1 of htpasswd", "{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "neither"},
		{"MD5 of htpasswd", "$apr1$x$y", "neither"},
		{"the password itself", "wonderland", "neither"},
	}
	for _, r := range rows {
		_, err := parseHash(r.hash)
		if r.err == "" && err != nil || r.err != "" && (err == nil || !strings.Contains(err.Error(), r.err)) {
			t.Errorf("%s: %v, want %q", r.name, err, r.err)
		}
		if err != nil && strings.Contains(err.Error(), "wonderland") {
			t.Errorf("%s: the error shows it", r.name)
		}
	}
}

// Users behind what cannot be read are not left out in silence.
func TestPasswordsAreReadToTheEnd(t *testing.T) {
	file := fmt.Appendf(nil, "alice:%s\n# %s\nbob:%s\n", mustHash("x"), strings.Repeat("x", 1<<16), mustHash("x"))
	if p, err := readPasswords(&config.Secret{Data: map[string][]byte{"auth": file}}, newLockout()); err == nil {
		t.Errorf("%d users, and no error", len(p.hashes))
	}
}

// argonOf is a hash that costs little.
func argonOf(password string) string {
	salt := []byte("0123456789abcdef")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=1$%s$%s", base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}
