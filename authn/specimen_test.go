package authn

import (
	"net/netip"
	"testing"

	"legate/config"
)

func TestServiceName(t *testing.T) {
	rows := []struct{ service, want string }{
		{"service-a.service-namespace:8080", "service-a.service-namespace"},
		{"orders", "orders.shop"},
		{"orders:8080", "orders.shop"},
		{"https://Orders", "orders.shop"},
		{"http://orders.bank:80/x", "orders.bank"},
		{"orders.bank.svc.cluster.local:80", "orders.bank"},
		{"orders.bank.svc", "orders.bank"},
		{"api.example.com", "api.example.com"},
		{"10.1.2.3:80", "10.1.2.3"},
		{"[2001:db8::1]:80", "2001:db8::1"},
		{"localhost:8877", "localhost"},
		{"", ""},
	}
	for _, r := range rows {
		if got := ServiceName(r.service, "shop", "cluster.local"); got != r.want {
			t.Errorf("ServiceName(%q) = %q, want %q", r.service, got, r.want)
		}
	}
}

func TestSpecimen(t *testing.T) {
	o := mintFilter(func(f *config.MintFilter) {
		f.Credentials.Passwords = config.SecretName{Name: "users", Namespace: "ambassador"}
		f.IPRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	s, err := NewSpecimen(o, serviceA, alice(noon, `{"scope": "read"}`), "ambassador", noon)
	if err != nil {
		t.Fatal(err)
	}
	if s.Claims["sub"] != "alice" || s.Claims["scope"] != "read" || s.Claims["iss"] != "ambassador-jwt-issuer" || s.Header["alg"] != "ES256" {
		t.Errorf("got %v %v", s.Header, s.Claims)
	}
	other, err := NewSpecimen(o, serviceA, alice(noon, ""), "ambassador", noon)
	if err != nil {
		t.Fatal(err)
	}
	if s.Header["kid"] == other.Header["kid"] {
		t.Error("two specimens are signed by one key")
	}
}
