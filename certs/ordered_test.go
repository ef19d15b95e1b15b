package certs

import (
	"strings"
	"testing"
	"time"

	"legate/config"
)

// A Host with an authority serves the certificate that lasts longer, its Secret's or the one
// ordered, and nothing at all as long as there is neither.
func TestOrderedCertificates(t *testing.T) {
	ca, err := LocalCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secret := func(name string, names ...string) *config.Secret {
		s, err := ca.Secret("default", name, names...)
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	own := secret("cert", "a.example.com")
	ordered := secret("cert", "a.example.com", "ordered.example.com")
	ordered.Data = lastingLonger(t, ordered)
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
		{"its Secret alone", own, nil, "", "a.example.com", "", false},
		{"ordered alone", nil, ordered, "", "ordered.example.com", "", false},
		{"a broken Secret and one ordered", broken, ordered, "", "ordered.example.com", "", false},
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
			b := Build(&w, Options{Ordered: func(*config.Host) (*config.Secret, string) { return c.ordered, c.failure }}, nil)
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
			if got := b.Drops(&w.Hosts[0]); got != c.dropped {
				t.Errorf("dropped: %v, want %v", got, c.dropped)
			}
		})
	}
}

// lastingLonger has the certificate of s made a little later.
func lastingLonger(t *testing.T, s *config.Secret) map[string][]byte {
	t.Helper()
	for {
		ca, err := LocalCA(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := ca.Issue("a.example.com", "ordered.example.com")
		if err != nil {
			t.Fatal(err)
		}
		if !lastsLonger(pair{cert: s.Data["tls.crt"], key: s.Data["tls.key"]}, pair{cert: cert, key: key}) &&
			lastsLonger(pair{cert: cert, key: key}, pair{cert: s.Data["tls.crt"], key: s.Data["tls.key"]}) {
			return map[string][]byte{"tls.crt": cert, "tls.key": key}
		}
		time.Sleep(100 * time.Millisecond) // certificates count whole seconds
	}
}

// A gateway that does not serve has nothing ordered. That is nothing wrong with the Host.
func TestOrderedCertificatesAreExpectedByCheck(t *testing.T) {
	w := config.World{Hosts: []config.Host{{
		Meta: config.Meta{Kind: "Host", Name: "a", Namespace: "default"}, Hostname: "a.example.com",
		TLSSecret: config.SecretRef{Name: "cert"}, ACME: &config.ACME{Authority: "https://ca.test/dir"},
	}}}
	b := Build(&w, Options{}, nil)
	if len(b.Problems) > 0 || b.Drops(&w.Hosts[0]) {
		t.Errorf("problems %v, dropped %v", b.Problems, b.Dropped)
	}
}
