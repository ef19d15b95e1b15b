package authn

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// What a minted token is worth that comes back to the gateway.
func TestMintedTokenComesBack(t *testing.T) {
	trusting := func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: f.Issuer, JWKSURI: "http://unused.example.com/"}}
		f.ClientIPRange = true
	}
	rows := []struct {
		name   string
		trusts bool
		change func(c *Call, token *string)
		want   decision.Reason
	}{
		{"as a login, where nobody trusts it", false, nil, decision.TokenAudience},
		{"where it is trusted", true, nil, decision.None},
		{"from a page that it is for", true, func(c *Call, _ *string) {
			c.Head.BuildRequest("GET", "h", "/", "Origin", "https://app.example.com")
		}, decision.None},
		{"from a page of another origin", true, func(c *Call, _ *string) { c.Head.BuildRequest("GET", "h", "/", "Origin", "https://evil.example.com") }, decision.TokenOrigin},
		{"from another address", true, func(c *Call, _ *string) { c.Client = netip.MustParseAddr("203.0.113.10") }, decision.TokenAddress},
		{"for another service", true, func(c *Call, _ *string) { c.Service = &Service{Name: "b.c"} }, decision.TokenService},
		{"after its time", true, func(c *Call, _ *string) { c.Now = noon.Add(10 * time.Minute) }, decision.TokenExpired},
		{"just before it lapses", true, func(c *Call, _ *string) { c.Now = noon.Add(10*time.Minute - time.Second) }, decision.None},
		{"at a replica whose clock is behind", true, func(c *Call, _ *string) { c.Now = noon.Add(-clockSkew) }, decision.None},
		{"before its time", true, func(c *Call, _ *string) { c.Now = noon.Add(-clockSkew - time.Second) }, decision.TokenNotYetValid},
		{"with another signature", true, func(_ *Call, token *string) {
			i := strings.LastIndexByte(*token, '.') + 3
			*token = (*token)[:i] + flipped((*token)[i]) + (*token)[i+1:]
		}, decision.TokenInvalid},
		{"with other claims", true, func(_ *Call, token *string) {
			parts := strings.Split(*token, ".")
			*token = parts[0] + "." + base64url([]byte(`{"iss":"ambassador-jwt-issuer","sub":"root","exp":99999999999}`)) + "." + parts[2]
		}, decision.TokenInvalid},
		{"signed by nobody", true, func(_ *Call, token *string) {
			*token = base64url([]byte(`{"alg":"none"}`)) + "." + strings.Split(*token, ".")[1] + "."
		}, decision.TokenInvalid},
		{"with a secret that is the public key", true, func(_ *Call, token *string) {
			*token = base64url([]byte(`{"alg":"HS256","kid":"`+kidOf(*token)+`"}`)) + "." + strings.Split(*token, ".")[1] + ".AAAA"
		}, decision.TokenInvalid},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			now := noon
			d := testDeps(t, &now)
			o := mintFilter()
			if r.trusts {
				trusting(o.Mint)
			}
			m := minter(t, d, o)
			c := call(now, alice(now, ""))
			m.Mint(c)
			token := bearerOf(t, c)
			back := call(now, nil)
			if r.change != nil {
				r.change(back, &token)
			}
			back.Edits.AddName([]byte("authorization"), []byte("Bearer "+token)) // as an earlier filter would
			got := decision.None
			if m.Filter(back) == Deny {
				got = back.Reply.Reason
			}
			if got != r.want {
				t.Errorf("got %q (%v), want %q", got, back.Reply.Err, r.want)
			}
			if r.want == decision.None && (back.Identity.Subject != "alice" || back.Minter != m) {
				t.Errorf("recognised %+v", back.Identity)
			}
		})
	}
}

// A Filter, or a Mapping, that verifies with the gateway's own keys takes its tokens for what
// they are for.
func TestMintedTokenComesBackToOthers(t *testing.T) {
	i := newIssuer(t, "")
	d, _, _ := issuerDeps(t)
	o := mintFilter(func(f *config.MintFilter) { f.ClientIPRange = true })
	mapping := &config.Mapping{Meta: config.Meta{Kind: "Mapping", Name: "m", Namespace: "shop"}, JWT: &config.TokenRequirement{RequireToken: true}}
	mapping.JWT.Filter.JWKSURI = i.URL
	w := &config.World{
		Filters: []config.Filter{*o, {Meta: config.Meta{Kind: "Filter", Name: "own", Namespace: "shop"}, JWT: &config.JWTFilter{JWKSURI: i.URL}}},
		FilterPolicies: []config.FilterPolicy{policy("p", asks("*", "*", "own"), config.FilterRule{Host: "*", Path: "/implied", Precedence: 1, Filters: []config.FilterUse{
			{Name: "implied", Namespace: "shop", Arguments: &config.Arguments{JWKSURI: i.URL}},
		}})},
		Mappings: []*config.Mapping{mapping},
	}
	before := testSet(t, d, &config.World{Filters: w.Filters[:1]}) // which makes the keys
	i.publish(string(before.KeySet()))
	s, problems := New(w, before, d)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s.Start()
	defer s.Retire(before)
	s.Ready(t.Context())
	m := s.mints.get("ambassador", "jwt-auth").Minter
	minted := func() string {
		c := call(midday, alice(midday, ""))
		m.Mint(c)
		return bearerOf(t, c)
	}
	revoked := minted()
	jti, _ := part(t, revoked, 1)["jti"].(string)
	for _, asked := range []struct {
		name   string
		filter func(c *Call) Outcome
	}{
		{"a Filter", s.Filter},
		{"a Filter that a rule implies", func(c *Call) Outcome {
			c.Head.BuildRequest("GET", "implied", "/", "Origin", string(c.Head.Get(wire.FieldOrigin)), "Authorization", string(c.Head.Get(wire.FieldAuthorization)))
			return s.Filter(c)
		}},
		{"a Mapping", s.Requirement(mapping).Filter},
	} {
		for _, r := range []struct {
			name   string
			change func(c *Call)
			want   decision.Reason
		}{
			{"as it is for", func(*Call) {}, decision.None},
			{"from another address", func(c *Call) { c.Client = netip.MustParseAddr("203.0.113.10") }, decision.TokenAddress},
			{"for another service", func(c *Call) { c.Service = &Service{Name: "b.c"} }, decision.TokenService},
			{"from a page of another origin", func(c *Call) {
				c.Head.BuildRequest("GET", "h", "/", "Origin", "https://evil.example.com", "Authorization", string(c.Head.Get(wire.FieldAuthorization)))
			}, decision.TokenOrigin},
			{"once it is revoked", func(c *Call) { m.revoked.Note(jti, midday.Add(time.Hour), midday) }, decision.TokenRevoked},
		} {
			token := minted()
			if r.want == decision.TokenRevoked {
				token = revoked
			}
			c := call(midday, nil, "Authorization", "Bearer "+token)
			if r.change(c); asked.filter(c) == Allow != (r.want == decision.None) || c.Reply.Reason != r.want {
				t.Errorf("%s, %s: got %q, want %q", asked.name, r.name, c.Reply.Reason, r.want)
			}
		}
	}
}

func flipped(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func kidOf(token string) string {
	t, err := parseJWS(token)
	if err != nil {
		panic(err)
	}
	return t.kid
}

// A verdict that is remembered ends with a revocation, and with the key.
func TestRevocationEndsWhatIsRemembered(t *testing.T) {
	now := noon
	d := testDeps(t, &now)
	m := minter(t, d, mintFilter(func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: f.Issuer}}
	}))
	token := func() string {
		c := call(now, alice(now, ""))
		m.Mint(c)
		return bearerOf(t, c)
	}
	shown := func(token string) decision.Reason {
		c := call(now, nil, "Authorization", "Bearer "+token)
		if m.Filter(c) == Allow {
			return decision.None
		}
		return c.Reply.Reason
	}
	first := token()
	for range 2 {
		if got := shown(first); got != decision.None {
			t.Fatalf("refused: %v", got)
		}
	}
	jti, _ := part(t, first, 1)["jti"].(string)
	if err := m.revoked.Revoke(t.Context(), jti, noon.Add(time.Hour), now); err != nil {
		t.Fatal(err)
	}
	if got := shown(first); got != decision.TokenRevoked {
		t.Errorf("after its revocation: %q", got)
	}
	second := token()
	if got := shown(second); got != decision.None {
		t.Fatalf("another token: %v", got)
	}
	settings, _ := mintSettings(mintFilter(), nil, nil)
	settings.revoked = []string{m.signer.current.Load().signing.id}
	if err := m.signer.configure(settings); err != nil {
		t.Fatal(err)
	}
	if got := shown(second); got != decision.TokenInvalid {
		t.Errorf("after its key was removed: %q", got)
	}
}

func TestAllocsOwnTokenComesBack(t *testing.T) {
	now := noon
	m := minter(t, testDeps(t, &now), mintFilter(func(f *config.MintFilter) {
		f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: f.Issuer}}
		f.ClientIPRange = true
	}))
	c := call(now, alice(now, ""))
	m.Mint(c)
	back := call(now, nil, "Authorization", "Bearer "+bearerOf(t, c), "Origin", "https://app.example.com")
	m.Filter(back)
	if n := testing.AllocsPerRun(100, func() {
		back.Identity = nil
		m.Filter(back)
	}); n != 0 {
		t.Errorf("a token that was seen before costs %v allocations", n)
	}
}
