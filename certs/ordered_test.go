package certs

import (
	"maps"
	"strings"
	"testing"
	"time"

	"legate/config"
)

// A Host with an authority serves the certificate that lasts longer, its Secret's or the one
// ordered, and nothing at all as long as there is neither.
func TestOrderedCertificates(t *testing.T) {
	ca := newAuthority(t, "ca")
	secret := func(until time.Time, names ...string) *config.Secret {
		key := ecKey(t)
		return &config.Secret{
			Meta: config.Meta{Kind: "Secret", Name: "cert", Namespace: "default"}, Type: "kubernetes.io/tls",
			Data: map[string][]byte{"tls.crt": ca.issue(t, key, until, names...), "tls.key": pkcs8(t, key)},
		}
	}
	own, longer := secret(now.AddDate(0, 1, 0), "a.example.com"), secret(now.AddDate(0, 3, 0), "a.example.com")
	ordered := secret(now.AddDate(0, 2, 0), "a.example.com", "ordered.example.com")
	others := secret(now.AddDate(0, 3, 0), "b.example.com")
	from := func(authority string, s *config.Secret) *config.Secret {
		marked := *s
		marked.Data = maps.Clone(s.Data)
		config.MarkOrdered(marked.Data, authority)
		return &marked
	}
	broken := &config.Secret{Meta: own.Meta, Data: map[string][]byte{"tls.crt": own.Data["tls.crt"], "tls.key": ordered.Data["tls.key"]}}
	for _, c := range []struct {
		name         string
		own, ordered *config.Secret
		failure      string
		serves       string // a name of the certificate that is shown; "" for none
		problem      string // part of the only one; "" for none
		dropped      bool
	}{
		{"both", own, ordered, "", "ordered.example.com", "", false},
		{"its Secret's lasts longer", longer, ordered, "", "a.example.com", "", false},
		{"its Secret's, ordered from there, lasts longer", from("https://ca.test/dir", longer), ordered, "", "a.example.com", "", false},
		{"its Secret's, ordered elsewhere, lasts longer", from("https://staging.test/dir", longer), ordered, "", "ordered.example.com", "", false},
		{"its Secret's alone, ordered elsewhere", from("https://staging.test/dir", own), nil, "", "a.example.com", "", false},
		{"its Secret alone", own, nil, "", "a.example.com", "", false},
		{"ordered alone", nil, ordered, "", "ordered.example.com", "", false},
		{"a broken Secret and one ordered", broken, ordered, "", "ordered.example.com", "", false},
		{"another Host's in the Secret they share", others, ordered, "", "ordered.example.com", "", false},
		{"neither yet", nil, nil, "", "", "a certificate is being ordered from https://ca.test/dir", true},
		{"neither, as it was refused", nil, nil, "no such name", "", "no certificate could be ordered from https://ca.test/dir: no such name", true},
		{"not renewed", nil, ordered, "too many", "ordered.example.com", "the certificate could not be renewed: too many", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := config.World{
				Hosts: []config.Host{{
					Meta: config.Meta{Kind: "Host", Name: "a", Namespace: "default"}, Hostname: "a.example.com",
					TLSSecret: config.SecretRef{Name: "cert"}, ACME: &config.ACME{Authority: "https://ca.test/dir"},
				}},
				Listeners: []config.Listener{{Port: 8443, Stack: []config.Protocol{config.ProtoTLS, config.ProtoHTTP}, FromAll: true}},
			}
			if c.own != nil {
				w.Secrets = []config.Secret{*c.own}
			}
			b := Build(&w, Options{Now: now, Ordered: func(*config.Host) (*config.Secret, string) { return c.ordered, c.failure }}, nil)
			var names []string
			if shown := b.Table.Config(0, "a.example.com"); shown != nil {
				names = shown.Certificates[0].Leaf.DNSNames
			}
			if got := strings.Join(names, " "); !strings.Contains(got, c.serves) || c.serves == "" && got != "" || c.serves == "a.example.com" && strings.Contains(got, "ordered") {
				t.Errorf("shows a certificate for %q, want %q", got, c.serves)
			}
			var said []string
			for _, p := range b.Problems {
				said = append(said, p.Msg)
			}
			if got := strings.Join(said, "\n"); got != c.problem {
				t.Errorf("says %q, want %q", got, c.problem)
			}
			if got := len(b.Dropped) > 0; got != c.dropped {
				t.Errorf("dropped: %v, want %v", got, c.dropped)
			}
		})
	}
}

// A gateway that does not serve has nothing ordered. That is nothing wrong with the Host.
func TestOrderedCertificatesAreExpectedByCheck(t *testing.T) {
	w := config.World{Hosts: []config.Host{{
		Meta: config.Meta{Kind: "Host", Name: "a", Namespace: "default"}, Hostname: "a.example.com",
		TLSSecret: config.SecretRef{Name: "cert"}, ACME: &config.ACME{Authority: "https://ca.test/dir"},
	}}}
	b := Build(&w, Options{}, nil)
	if len(b.Problems) > 0 || len(b.Dropped) > 0 {
		t.Errorf("problems %v, dropped %v", b.Problems, b.Dropped)
	}
}
