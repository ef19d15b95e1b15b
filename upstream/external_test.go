package upstream

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/wire"
)

// The services of External filters are verified: by what the filter names or the system
// trusts, and by their names.
func TestExternalIsVerified(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	server := startPlainServer(t, &tls.Config{Certificates: []tls.Certificate{ours.pair(t, "who.shop", time.Now().Add(time.Hour))}})
	cert, key := ours.issue(t, "gate", time.Now().Add(time.Hour))
	w := &config.World{Secrets: []config.Secret{
		{Meta: config.Meta{Name: "ours", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": ours.pem}},
		{Meta: config.Meta{Name: "theirs", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": theirs.pem}},
		{Meta: config.Meta{Name: "client", Namespace: "shop"}, Data: map[string][]byte{"tls.crt": cert, "tls.key": key}},
		{Meta: config.Meta{Name: "empty", Namespace: "shop"}},
	}}
	named := func(name string) config.SecretName { return config.SecretName{Name: name, Namespace: "shop"} }
	for _, row := range []struct {
		name string
		auth config.ExternalAuth
		want string // part of what goes wrong; "" for nothing
	}{
		{"by its authority and name", config.ExternalAuth{Service: "https://who.shop", CACertificate: named("ours"), Certificate: named("client")}, ""},
		{"tls: true says the same", config.ExternalAuth{Service: "who.shop:443", OriginateTLS: true, CACertificate: named("ours")}, ""},
		{"another name", config.ExternalAuth{Service: "https://other.shop", CACertificate: named("ours")}, "other.shop"},
		{"another authority", config.ExternalAuth{Service: "https://who.shop", CACertificate: named("theirs")}, "unknown authority"},
		{"nobody whom the system trusts", config.ExternalAuth{Service: "https://who.shop"}, "unknown authority"},
		{"a Secret that is missing", config.ExternalAuth{Service: "https://who.shop", CACertificate: named("missing")}, "Secret shop/missing does not exist"},
		{"a Secret without a certificate", config.ExternalAuth{Service: "https://who.shop", CACertificate: named("empty")}, "holds no certificate"},
		{"a client certificate that is none", config.ExternalAuth{Service: "https://who.shop", Certificate: named("empty")}, "tls"},
	} {
		t.Run(row.name, func(t *testing.T) {
			override, err := ParseOverride("*=" + server.addr)
			if err != nil {
				t.Fatal(err)
			}
			opts := Options{Resolve: []Override{override}}
			spec, problems := NewSpecs(nil, w, opts).OfExternal(&config.Meta{Kind: "Filter", Name: "f", Namespace: "shop"}, &row.auth)
			var got string
			for _, p := range problems {
				got += p.Msg
			}
			if got == "" {
				u := New(spec, newTestResolver(t, opts))
				u.Start()
				t.Cleanup(u.Retire)
				var q wire.Question
				if err := question(u, &q, "GET", "/", ""); err != nil {
					got = err.Error()
				}
				q.Release()
			}
			if row.want == "" && got != "" || !strings.Contains(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// Where an AuthService is, by what its auth_service says.
func TestAuthServiceAddress(t *testing.T) {
	for _, row := range []struct {
		name, service string
		tls           bool
		want, problem string
	}{
		{"name and port", "jwt-auth:3000", false, "jwt-auth.ambassador:3000", ""},
		{"the port of cleartext", "jwt-auth", false, "jwt-auth.ambassador:80", ""},
		{"the port of TLS, by a scheme", "https://jwt-auth", false, "jwt-auth.ambassador:443", ""},
		{"the port of TLS, by tls", "jwt-auth", true, "jwt-auth.ambassador:443", ""},
		{"another namespace", "jwt-auth.shop:3000", false, "jwt-auth.shop:3000", ""},
		{"an address", "127.0.0.1:3000", false, "127.0.0.1:3000", ""},
		{"a path", "jwt-auth:3000/auth", false, "jwt-auth.ambassador:3000", `"/auth" after host and port`},
		{"cleartext and tls", "http://jwt-auth", true, "jwt-auth.ambassador:443", ""},
	} {
		a := &config.AuthService{Meta: config.Meta{Kind: "AuthService", Name: "a", Namespace: "ambassador"}, ExternalAuth: config.ExternalAuth{Service: row.service, OriginateTLS: row.tls}}
		spec, problems := NewSpecs(nil, &config.World{}, Options{}).OfAuthService(a)
		var said string
		for _, p := range problems {
			said += p.Msg + " "
		}
		if got := spec.Address(); got != row.want || (row.problem == "") != (said == "") || !strings.Contains(said, row.problem) {
			t.Errorf("%s: got %s and %q, want %s", row.name, got, said, row.want)
		}
	}
}
