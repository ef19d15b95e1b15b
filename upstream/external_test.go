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
