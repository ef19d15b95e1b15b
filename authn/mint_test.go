package authn

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

type nothing struct{}

func (nothing) Add()                             {}
func (nothing) Verified(string, string) Counter  { return nothing{} }
func (nothing) Refreshed(string, string) Counter { return nothing{} }
func (nothing) Minted(string) Counter            { return nothing{} }
func (nothing) Outcome(string) Counter           { return nothing{} }
func (nothing) Status(int) Counter               { return nothing{} }

// An eventLog keeps what is audited.
type eventLog struct{ kinds []string }

func (l *eventLog) audit(e *decision.Event) { l.kinds = append(l.kinds, e.Kind.String()) }

// testDeps are those of a process that dials nobody.
func testDeps(t testing.TB, now *time.Time) *Deps {
	t.Helper()
	return &Deps{
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
		Clock: func() time.Time {
			return *now
		},
		Log: slog.New(slog.DiscardHandler), Metrics: nothing{}, Random: rand.Reader, Cache: NewCache(0), Namespace: "ambassador",
	}
}

// mintFilter is a Mint filter with the defaults, changed.
func mintFilter(change ...func(*config.MintFilter)) *config.Filter {
	f := &config.MintFilter{
		Issuer: "ambassador-jwt-issuer", Lifetime: 10 * time.Minute, Algorithm: "ES256", TokenType: "at+jwt", Rotation: 24 * time.Hour,
		Claims: []config.ClaimSource{
			{Name: "permissions", From: []string{"permissions"}}, {Name: "scope", From: []string{"scope", "scp"}},
			{Name: "groups", From: []string{"groups"}}, {Name: "roles", From: []string{"roles"}},
		},
		AllowedOrigins: config.OriginsClaim{CORS: true}, PathPrefix: "/auth",
	}
	for _, c := range change {
		c(f)
	}
	return &config.Filter{Meta: config.Meta{Kind: "Filter", Name: "jwt-auth", Namespace: "ambassador"}, Mint: f}
}

// minter makes the minter of a filter, with a key that signs.
func minter(t testing.TB, d *Deps, o *config.Filter, secrets ...*config.Secret) *Minter {
	t.Helper()
	parts := newMintParts("Filter ambassador/jwt-auth", d)
	find := func(namespace, name string) *config.Secret {
		for _, s := range secrets {
			if s.Namespace == namespace && s.Name == name {
				return s
			}
		}
		return nil
	}
	m, problems := newMinter(o, parts, find, newKeySets(d, nil), d)
	settings, more := mintSettings(o, find, d.SigningKeys)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := parts.signer.configure(settings); err != nil {
		t.Fatal(err)
	}
	return m
}

var serviceA = &Service{Name: "service-a.service-namespace", Origins: []string{"https://App.example.com:443/", "http://localhost:3000"}}

// call is one request for service A from an address.
func call(now time.Time, id *Identity, fields ...string) *Call {
	head := &wire.Head{}
	head.BuildRequest("GET", "shop.example.com", "/api/service-a/x?secret=1", fields...)
	return &Call{
		Head: head, Edits: &wire.Edits{}, ToClient: &wire.Edits{}, Peer: &wire.Peer{}, Client: netip.MustParseAddr("::ffff:203.0.113.9"),
		Path: head.Path(), RawPath: head.Path(), RequestID: []byte("r1"), Now: now, Service: serviceA, Identity: id,
	}
}

func alice(now time.Time, claims string) *Identity {
	t := &Token{Claims: map[string]any{}}
	if claims != "" {
		if err := json.Unmarshal([]byte(claims), &t.Claims); err != nil {
			panic(err)
		}
	}
	return &Identity{Subject: "alice", Issuer: "https://id.example.com", By: "Filter shop/jwt", Expires: now.Add(time.Hour), Token: t}
}

// bearerOf is the token that c's service gets.
func bearerOf(t testing.TB, c *Call) string {
	t.Helper()
	value, found, several := c.authorization()
	token, ok := strings.CutPrefix(string(value), "Bearer ")
	if !found || several || !ok {
		t.Fatalf("the service gets %q (found %v, several %v)", value, found, several)
	}
	return token
}

// part decodes one part of a token.
func part(t testing.TB, token string, n int) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMintedClaims(t *testing.T) {
	at := float64(noon.Unix())
	base := map[string]any{
		"iss": "ambassador-jwt-issuer", "sub": "alice", "aud": []any{"service-a.service-namespace"},
		"allowed_services": []any{"service-a.service-namespace"}, "allowed_origins": []any{"https://app.example.com", "http://localhost:3000"},
		"exp": at + 600, "iat": at, "nbf": at - 5, "src_iss": "https://id.example.com",
		"act": map[string]any{"sub": "system:serviceaccount:ambassador:gateway"},
	}
	rows := []struct {
		name   string
		change func(*config.MintFilter)
		claims string // of the source
		want   map[string]any
	}{
		{"a source that says nothing more", nil, ``, nil},
		{"claims outside the list are dropped", nil, `{"email": "a@example.com", "name": "Alice"}`, nil},
		{"permissions stay a list", nil, `{"permissions": ["read", "write"]}`, map[string]any{"permissions": []any{"read", "write"}}},
		{"permissions become one", nil, `{"permissions": "read write"}`, map[string]any{"permissions": []any{"read", "write"}}},
		{"scope is one text", nil, `{"scope": "read write"}`, map[string]any{"scope": "read write"}},
		{"scp becomes scope", nil, `{"scp": ["read", "write", "read"]}`, map[string]any{"scope": "read write"}},
		{"a group with a space in its name", nil, `{"groups": "Domain Admins"}`, map[string]any{"groups": []any{"Domain Admins"}}},
		{"numbers and booleans become texts", nil, `{"roles": [1, true, null, 2.5]}`, map[string]any{"roles": []any{"1", "true", "2.5"}}},
		{"the client that the token was issued to", nil, `{"azp": "web"}`, map[string]any{"client_id": "web", "azp": "web"}},
		{"the client as others call it", nil, `{"appid": "web"}`, map[string]any{"client_id": "web"}},
		{"what is known of the login", nil, `{"auth_time": 5, "acr": "2", "amr": ["otp"], "sid": "s", "cnf": {"jkt": "k"}, "may_act": {"sub": "x"}}`,
			map[string]any{"auth_time": 5.0, "acr": "2", "amr": []any{"otp"}, "sid": "s", "cnf": map[string]any{"jkt": "k"}, "may_act": map[string]any{"sub": "x"}}},
		{"who acted before", nil, `{"act": {"sub": "bot"}}`,
			map[string]any{"act": map[string]any{"sub": "system:serviceaccount:ambassador:gateway", "act": map[string]any{"sub": "bot"}}}},
		{"where it came from", nil, `{"jti": "j1"}`, map[string]any{"src_jti": "j1"}},
		{"a source that lapses sooner", nil, `{"exp": "in two minutes"}`, map[string]any{"exp": at + 120}},
		{"nested claims by another name", func(f *config.MintFilter) {
			f.Claims = []config.ClaimSource{{Name: "realm_access", From: []string{"none", "realm_access"}}}
		}, `{"realm_access": {"roles": ["a", 7]}, "permissions": ["read"]}`, map[string]any{"realm_access": map[string]any{"roles": []any{"a", "7"}}}},
		{"a claim whose name JSON escapes", func(f *config.MintFilter) {
			f.Claims = []config.ClaimSource{{Name: `a":"b","sub`, From: []string{"x"}}}
		}, `{"x": "1"}`, map[string]any{`a":"b","sub`: "1"}},
		{"an audience of its own", func(f *config.MintFilter) { f.Audience = []string{"api", "web"} }, ``, map[string]any{"aud": []any{"api", "web"}}},
		{"services of its own", func(f *config.MintFilter) { f.AllowedServices = []string{"a.b", "c.d"} }, ``, map[string]any{"allowed_services": []any{"a.b", "c.d"}}},
		{"origins of its own", func(f *config.MintFilter) {
			f.AllowedOrigins = config.OriginsClaim{List: []string{"https://x.example.com/"}}
		}, ``,
			map[string]any{"allowed_origins": []any{"https://x.example.com"}}},
		{"no origins", func(f *config.MintFilter) { f.AllowedOrigins = config.OriginsClaim{} }, ``, map[string]any{"allowed_origins": nil}},
		{"the client's address", func(f *config.MintFilter) { f.ClientIPRange = true }, ``, map[string]any{"ip_ranges": []any{"203.0.113.9/32"}}},
		{"ranges of its own", func(f *config.MintFilter) { f.IPRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, ``,
			map[string]any{"ip_ranges": []any{"10.0.0.0/8"}}},
		{"another issuer and life", func(f *config.MintFilter) { f.Issuer, f.Lifetime = "https://edge.example.com", 5*time.Minute }, ``,
			map[string]any{"iss": "https://edge.example.com", "exp": at + 300}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			now := noon.Add(300 * time.Millisecond)
			o := mintFilter()
			if r.change != nil {
				r.change(o.Mint)
			}
			m := minter(t, testDeps(t, &now), o)
			id := alice(now, r.claims)
			if strings.Contains(r.claims, "two minutes") {
				id.Expires = now.Add(2 * time.Minute)
			}
			c := call(now, id, "Authorization", "Bearer of-the-client")
			if m.Mint(c) != Allow {
				t.Fatalf("refused: %+v", c.Reply)
			}
			token := bearerOf(t, c)
			got := part(t, token, 1)
			if jti, _ := got["jti"].(string); len(jti) != 22 {
				t.Errorf("jti is %q, want 128 bits", jti)
			}
			delete(got, "jti")
			want := map[string]any{}
			for _, all := range []map[string]any{base, r.want} {
				for name, value := range all {
					if want[name] = value; value == nil {
						delete(want, name)
					}
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			header := part(t, token, 0)
			if want := map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": m.signer.current.Load().signing.id}; !reflect.DeepEqual(header, want) {
				t.Errorf("header is %v, want %v", header, want)
			}
		})
	}
}

func TestMintAnyOriginIsNoOrigin(t *testing.T) {
	now := noon
	m := minter(t, testDeps(t, &now), mintFilter())
	c := call(now, alice(now, ""))
	c.Service = &Service{Name: "a.b", Origins: []string{"*"}}
	m.Mint(c)
	if got, has := part(t, bearerOf(t, c), 1)["allowed_origins"]; has {
		t.Errorf("allowed_origins is %v", got)
	}
}

func TestMintAlgorithms(t *testing.T) {
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			now := noon
			m := minter(t, testDeps(t, &now), mintFilter(func(f *config.MintFilter) { f.Algorithm, f.TokenType = alg, "JWT" }))
			c := call(now, alice(now, ""))
			m.Mint(c)
			token := bearerOf(t, c)
			if header := part(t, token, 0); header["alg"] != alg || header["typ"] != "JWT" {
				t.Errorf("header is %v", header)
			}
			keys, err := parseKeys(m.signer.current.Load().set)
			if err != nil || len(keys) != 1 {
				t.Fatalf("the published key set is no use: %v, %d keys", err, len(keys))
			}
			parsed, err := parseJWS(token)
			if err != nil {
				t.Fatal(err)
			}
			if err := keys[0].verify(alg, parsed.signed, parsed.signature); err != nil || keys[0].id != parsed.kid {
				t.Errorf("the published key does not verify the token: %v", err)
			}
		})
	}
}

// Nobody verified, nothing minted.
func TestMintRefuses(t *testing.T) {
	now := noon
	rows := []struct {
		name   string
		id     *Identity
		change func(*config.MintFilter)
		want   decision.Reason
	}{
		{"nobody", nil, nil, decision.IdentityMissing},
		{"somebody without a name", &Identity{By: "Filter shop/key"}, nil, decision.IdentityMissing},
		{"too many groups", alice(now, `{"groups": ["`+strings.Repeat("x", 4000)+`"]}`), nil, decision.MintFailed},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			m := minter(t, testDeps(t, &now), mintFilter())
			c := call(now, r.id, "Authorization", "Bearer x")
			if m.Mint(c) != Deny || c.Reply.Reason != r.want || c.Reply.Status != r.want.Status() {
				t.Errorf("got %v %d, want %v", c.Reply.Reason, c.Reply.Status, r.want)
			}
			if adds := c.Edits.Adds(); len(adds) > 0 {
				t.Errorf("the service gets %v", adds)
			}
		})
	}
}

func TestMintDryRun(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	var log eventLog
	d.Audit = log.audit
	m := minter(t, d, mintFilter())
	log.kinds = nil
	c := call(now, alice(now, ""))
	c.Dry = true
	if m.Mint(c) != Allow || len(c.Edits.Adds()) > 0 || len(log.kinds) > 0 || c.Identity.minted.list.Load() != nil {
		t.Error("something was done for who only asks")
	}
}

// Tokens are kept by identity, audience, origins and address, and renewed at two thirds of
// their life.
func TestMintedOnce(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	m := minter(t, d, mintFilter(func(f *config.MintFilter) { f.ClientIPRange = true }))
	id := alice(now, "")
	token := func(id *Identity, change ...func(*Call)) string {
		c := call(now, id)
		for _, f := range change {
			f(c)
		}
		if m.Mint(c) != Allow {
			t.Fatalf("refused: %+v", c.Reply)
		}
		return bearerOf(t, c)
	}
	first := token(id)
	same := []struct {
		name string
		got  string
		want bool
	}{
		{"again", token(id), true},
		{"another request to an equal route", token(id, func(c *Call) { c.Service = &Service{Name: serviceA.Name, Origins: serviceA.Origins} }), true},
		{"another identity", token(alice(now, "")), false},
		{"another service", token(id, func(c *Call) { c.Service = &Service{Name: "b.c", Origins: serviceA.Origins} }), false},
		{"other origins", token(id, func(c *Call) { c.Service = &Service{Name: serviceA.Name} }), false},
		{"another address", token(id, func(c *Call) { c.Client = netip.MustParseAddr("203.0.113.10") }), false},
		{"the first one once more", token(id), true},
	}
	for _, r := range same {
		if (r.got == first) != r.want {
			t.Errorf("%s: the same token: %v, want %v", r.name, r.got == first, r.want)
		}
	}
	now = noon.Add(6*time.Minute + 39*time.Second)
	if token(id) != first {
		t.Error("renewed before two thirds of its life")
	}
	now = noon.Add(6*time.Minute + 41*time.Second)
	second := token(id)
	if second == first {
		t.Error("not renewed after two thirds of its life")
	}
	if err := m.revoked.Revoke(t.Context(), part(t, second, 1)["jti"].(string), now.Add(time.Hour), now); err != nil {
		t.Fatal(err)
	}
	if token(id) == second {
		t.Error("a revoked token is handed out")
	}
	third := token(id)
	settings, _ := mintSettings(mintFilter(), nil, nil)
	settings.revoked = []string{m.signer.current.Load().signing.id}
	if err := m.signer.configure(settings); err != nil {
		t.Fatal(err)
	}
	if token(id) == third {
		t.Error("a token of a revoked key is handed out")
	}
}

func TestAllocsMint(t *testing.T) {
	now := noon
	for _, byClient := range []bool{false, true} {
		m := minter(t, testDeps(t, &now), mintFilter(func(f *config.MintFilter) { f.ClientIPRange = byClient }))
		c := call(now, alice(now, `{"jti": "j1"}`), "Authorization", "Bearer x")
		m.Mint(c)
		c.Edits.Reset()
		if n := testing.AllocsPerRun(100, func() {
			m.Filter(c)
			m.Mint(c)
			c.Edits.Reset()
		}); n != 0 {
			t.Errorf("a token that was minted before costs %v allocations", n)
		}
	}
}

func BenchmarkMintCached(b *testing.B) {
	now := noon
	m := minter(b, testDeps(b, &now), mintFilter())
	c := call(now, alice(now, ""))
	m.Mint(c)
	b.ReportAllocs()
	for b.Loop() {
		c.Edits.Reset()
		m.Mint(c)
	}
}

func BenchmarkMintFirst(b *testing.B) {
	now := noon
	m := minter(b, testDeps(b, &now), mintFilter())
	b.ReportAllocs()
	for b.Loop() {
		c := call(now, alice(now, `{"scope": "read write", "groups": ["a", "b"]}`))
		m.Mint(c)
	}
}

// While one renews a token the others go on with the old one.
func TestMintRenewsOnce(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	var made atomic.Int32
	m := minter(t, d, mintFilter())
	m.minted = counterFunc(func() { made.Add(1) })
	id := alice(now, "")
	m.Mint(call(now, id))
	now = noon.Add(7 * time.Minute)
	old := id.minted.find(m.profile(serviceA), netip.Addr{})
	if m.fresh(old, now) {
		t.Fatal("it needs no renewal yet")
	}
	for range 10 { // the renewal is under way
		if !m.fresh(old, now) {
			t.Fatal("somebody else renews it too")
		}
	}
	now = noon.Add(11 * time.Minute)
	if m.fresh(old, now) {
		t.Error("a token that has lapsed is handed out because somebody renews it")
	}
}

type counterFunc func()

func (f counterFunc) Add() { f() }
