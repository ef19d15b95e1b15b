package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// revoking is a Secret with the authority's list of revoked certificates.
func (a *ca) revoking(t *testing.T, name string, revoked ...certificate) string {
	t.Helper()
	return opaque(name, "crl.pem", a.list(t, time.Now().Add(time.Hour), revoked...))
}

// list is the authority's list of revoked certificates, as it is until a time.
func (a *ca) list(t testing.TB, until time.Time, revoked ...certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-24 * time.Hour), NextUpdate: until}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(c.serial), RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func opaque(name, key string, value []byte) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ndata: {%s: %s}\n", name, key, base64.StdEncoding.EncodeToString(value))
}

// A Host that asks for certificates takes those of its authority that are not revoked,
// and tells the others why not.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	good, revoked := authority.issue(t, "good.client"), authority.issue(t, "revoked.client")
	stranger := newAuthority().issue(t, "strange.client")
	host := func(name, settings string) string {
		return tlsHost(name, name+".test", "cert-"+name, route, "tls: {"+settings+"}") + authority.issue(t, name+".test").secret("cert-"+name)
	}
	g := start(t, setup{manifests: opaque("ca", "tls.crt", authority.pem()) + authority.revoking(t, "crl", revoked) +
		host("required", "ca_secret: ca, crl_secret: crl, cert_required: true") + host("optional", "ca_secret: ca") +
		mapping("x", "/x/", echo(t, "up"))})
	for _, p := range g.problems() {
		t.Errorf("says %s", p.Text)
	}
	for _, c := range []struct {
		name, host   string
		shows        *certificate
		old, current string // what TLS 1.2 and 1.3 tell; "" for an answer
	}{
		{"none where one is required", "required.test", nil, "handshake failure", "certificate required"},
		{"a good one", "required.test", &good, "", ""},
		{"a revoked one", "required.test", &revoked, "bad certificate", "bad certificate"},
		{"a stranger's", "required.test", &stranger, "unknown certificate authority", "unknown certificate authority"},
		{"none where one is welcome", "optional.test", nil, "", ""},
		{"a good one where it is welcome", "optional.test", &good, "", ""},
		{"a stranger's where one is welcome", "optional.test", &stranger, "unknown certificate authority", "unknown certificate authority"},
	} {
		for version, want := range map[uint16]string{tls.VersionTLS12: c.old, tls.VersionTLS13: c.current} {
			t.Run(c.name+", "+tls.VersionName(version), func(t *testing.T) {
				config := &tls.Config{ServerName: c.host, RootCAs: authority.pool, MinVersion: version, MaxVersion: version}
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if c.shows == nil {
						return &tls.Certificate{}, nil
					}
					return &c.shows.pair, nil
				}
				got := ""
				conn, err := tls.Dial("tcp", g.secure, config)
				if err == nil {
					defer conn.Close()
					var a answer
					if a, err = newClient(conn).exchange(request{host: c.host, target: "/x/"}); err == nil && a.StatusCode != 200 {
						t.Errorf("status %d", a.StatusCode)
					}
				}
				if err != nil {
					got = err.Error()
				}
				if want == "" && err != nil || !strings.Contains(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}
