package authn

import (
	"slices"
	"testing"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// testSet makes what decides in w and lets it begin.
func testSet(t *testing.T, d *Deps, w *config.World) *Set {
	t.Helper()
	s, _ := New(w, nil, d)
	s.Start()
	t.Cleanup(func() { s.Retire(nil) })
	s.Ready(t.Context())
	return s
}

// What clients may not say, because Filters do, whether these can be used or not.
func TestStrip(t *testing.T) {
	i := newIssuer(t, jwks("ec"))
	meta := func(kind, name string) config.Meta {
		return config.Meta{Kind: kind, Name: name, Namespace: "shop"}
	}
	says := func(name string) []config.HeaderTemplate {
		return []config.HeaderTemplate{{Name: name, Value: "{{ .token.Claims.sub }}"}}
	}
	jwt := func(name, header, broken string) config.Filter {
		return config.Filter{Meta: meta("Filter", name), Broken: broken, JWT: &config.JWTFilter{JWKSURI: i.URL, Inject: says(header)}}
	}
	unusable := jwt("unusable", "X-Unusable", "")
	unusable.JWT.Inject = append(unusable.JWT.Inject, config.HeaderTemplate{Name: "X-Other", Value: "{{ .oops"}, config.HeaderTemplate{Name: "Host", Value: "x"})
	mapping := func(name, header string, broken bool) *config.Mapping {
		m := &config.Mapping{Meta: meta("Mapping", name), JWT: &config.TokenRequirement{}, JWTBroken: broken}
		m.JWT.Filter.Inject = says(header)
		return m
	}
	d, _, _ := issuerDeps(t)
	s := testSet(t, d, &config.World{
		Filters: []config.Filter{
			jwt("good", "X-Good", ""), jwt("broken", "X-Broken", "issuer: must be text"), unusable, jwt("unused", "X-Unused", ""),
			jwt("replaces", "Authorization", ""), jwt("cookie", "cookie", ""),
		},
		FilterPolicies: []config.FilterPolicy{policy("p",
			asks("*", "/a", "good"), asks("*", "/b", "broken"), asks("*", "/c", "unusable"), asks("*", "/d", "replaces"), asks("*", "/e", "cookie"),
		)},
		Mappings: []*config.Mapping{mapping("m", "X-Mapping", false), mapping("n", "X-Broken-Mapping", true)},
	})
	c := callOf(
		"x-good", "1", "x-good", "2", "x-broken", "1", "x-unusable", "1", "x-other", "1", "x-unused", "1", "x-mapping", "1", "x-broken-mapping", "1",
		"authorization", "Bearer "+es256(`{"sub":"alice"}`), "cookie", "a=b",
	)
	s.Strip(c.Head, c.Edits)
	var left []string
	c.lines(func(_ wire.Field, name, _ []byte) { left = append(left, string(name)) })
	if want := []string{"x-unused", "authorization", "cookie"}; !slices.Equal(left, want) {
		t.Errorf("left is %q, want %q", left, want)
	}
	c.Path = []byte("/d")
	if s.Filter(c) != Allow {
		t.Fatalf("a Filter does not see the token in whose place it sets something: %+v", c.Reply)
	}
	if got := upstreamField(c, "authorization"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("the service gets %q", got)
	}
}

// A Mint filter that cannot be used still stands in for its AuthService, which is not there
// any more and might let everybody pass for that.
func TestBrokenStandIn(t *testing.T) {
	for _, row := range []struct {
		name   string
		breaks func(o *config.Filter)
	}{
		{"that cannot be read", func(o *config.Filter) { o.Broken = "Mint.lifetime: must be a duration" }},
		{"whose Secret is missing", func(o *config.Filter) {
			o.Mint.Credentials.Passwords = config.SecretName{Name: "users", Namespace: "ambassador"}
		}},
	} {
		o := mintFilter(func(f *config.MintFilter) { f.AuthServices = []string{"jwt-auth:3000"} })
		row.breaks(o)
		d, _, _ := issuerDeps(t)
		d.AuthService = func(*config.AuthService) (wire.Asker, string, []config.Problem) {
			t.Errorf("%s: its AuthService is asked", row.name)
			return nil, "", nil
		}
		s := testSet(t, d, &config.World{Filters: []config.Filter{*o}, AuthServices: []config.AuthService{{
			Meta:         config.Meta{Kind: "AuthService", Name: "auth", Namespace: "ambassador"},
			ExternalAuth: config.ExternalAuth{Service: "jwt-auth:3000", FailureModeAllow: true},
		}}})
		ask := s.AuthService()
		if ask == nil {
			t.Fatalf("%s: nobody is asked", row.name)
		}
		if c := callOf(); ask.Filter(c) != Deny || c.Reply.Reason != decision.FilterInvalid || c.Reply.By != "Filter ambassador/jwt-auth" {
			t.Errorf("%s: got %+v", row.name, c.Reply)
		}
	}
}
