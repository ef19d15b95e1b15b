package certs

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"legate/config"
)

// vouching is a Workload API that vouches for the trust domain mesh.
type vouching struct{ *x509bundle.Bundle }

func (vouching) GetX509SVID() (*x509svid.SVID, error) { return nil, errors.New("nobody asks") }

func vouches(a *authority) vouching {
	return vouching{x509bundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("mesh"), []*x509.Certificate{a.cert})}
}

// member returns an SVID of id that lasts for a while from when the test runs.
func (a *authority) member(tb testing.TB, id string, lasts time.Duration) tls.Certificate {
	tb.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		tb.Fatal(err)
	}
	key := ecKey(tb)
	template := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(lasts),
		URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestMembersAreLetIn(t *testing.T) {
	a, mesh, stranger := newAuthority(t, "ca"), newAuthority(t, "mesh"), newAuthority(t, "stranger")
	no, ids := false, []string{"spiffe://mesh/ns/shop/*", "spiffe://mesh/ns/stock/sa/stock"}
	var w world
	w.listener(8443)
	w.secret("shop", "mesh", "tls.crt", mesh.pem)
	for name, settings := range map[string]config.TLSSettings{
		"api":      {SPIFFEIDs: ids},
		"optional": {SPIFFEIDs: ids, CertRequired: &no},
		"own":      {SPIFFEIDs: ids, CASecret: "mesh"},
	} {
		w.tlsSecret(t, a, name, name+".example.com")
		w.host(name, name+".example.com", name).TLS = &settings
	}
	b := Build(&w.World, Options{Namespace: "ambassador", Now: now, Workload: vouches(mesh)}, nil)
	expect(t, b, nil)
	s := serve(t, b)
	orders := mesh.member(t, "spiffe://mesh/ns/shop/sa/orders", time.Hour)
	for _, row := range []struct {
		name  string
		shows *tls.Certificate
		want  map[string]string // by host; part of the error, "" for success
	}{
		{"nothing", nil, map[string]string{"api": "certificate required", "optional": "", "own": "certificate required"}},
		{"a member", &orders, map[string]string{"api": "", "optional": "", "own": ""}},
		{"another member", new(mesh.member(t, "spiffe://mesh/ns/stock/sa/stock", time.Hour)), map[string]string{"api": "", "optional": "", "own": ""}},
		{"who is not meant", new(mesh.member(t, "spiffe://mesh/ns/other/sa/orders", time.Hour)), refusing("bad certificate")},
		{"of another trust domain", new(mesh.member(t, "spiffe://other/ns/shop/sa/orders", time.Hour)), refusing("bad certificate")},
		{"expired", new(mesh.member(t, "spiffe://mesh/ns/shop/sa/orders", -time.Hour)),
			map[string]string{"api": "bad certificate", "optional": "bad certificate", "own": "certificate"}},
		{"a stranger's", new(stranger.member(t, "spiffe://mesh/ns/shop/sa/orders", time.Hour)),
			map[string]string{"api": "bad certificate", "optional": "bad certificate", "own": "unknown certificate authority"}},
		{"no SVID", new(mesh.client(t)), refusing("bad certificate")},
	} {
		for host, want := range row.want {
			c := asks(a, host+".example.com")
			if row.shows != nil {
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return row.shows, nil }
			}
			_, err := s.dial(c)
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s at %s: got %v, want %q", row.name, host, err, want)
			}
		}
	}
}

// refusing is the same error at every host.
func refusing(why string) map[string]string {
	return map[string]string{"api": why, "optional": why, "own": why}
}

// A session of somebody who is let in no more is not resumed.
func TestMembersAreLookedAtAgain(t *testing.T) {
	a, mesh, next := newAuthority(t, "ca"), newAuthority(t, "mesh"), newAuthority(t, "next")
	var w world
	w.listener(8443)
	w.tlsSecret(t, a, "shop", "shop.example.com")
	w.host("shop", "shop.example.com", "shop").TLS = &config.TLSSettings{SPIFFEIDs: []string{"spiffe://mesh/*"}}
	known := vouches(mesh)
	s := serve(t, Build(&w.World, Options{Namespace: "ambassador", Now: now, Workload: known}, nil))
	c := asks(a, "shop.example.com")
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	c.Certificates = []tls.Certificate{mesh.member(t, "spiffe://mesh/orders", time.Hour)}
	for i := range 2 {
		if state, err := s.dial(c); err != nil || state.DidResume != (i > 0) {
			t.Fatalf("handshake %d: resumed %v, %v", i, state.DidResume, err)
		}
	}
	known.RemoveX509Authority(mesh.cert)
	known.AddX509Authority(next.cert)
	if state, err := s.dial(c); err == nil {
		t.Errorf("let in, resumed %v", state.DidResume)
	}
}

func TestWhoIsLetInMustBeSaid(t *testing.T) {
	a := newAuthority(t, "ca")
	for _, row := range []struct {
		name     string
		settings config.TLSSettings
		none     bool
		dropped  bool
		problem  string // part of the first
	}{
		{"nobody", config.TLSSettings{SPIFFEIDs: []string{}}, false, true, "lets nobody in"},
		{"no ID", config.TLSSettings{SPIFFEIDs: []string{"orders"}}, false, true, "is no SPIFFE ID"},
		{"one ID among two", config.TLSSettings{SPIFFEIDs: []string{"orders, spiffe://mesh/*"}}, false, false, "it is left out of the list"},
		{"no Workload API", config.TLSSettings{SPIFFEIDs: []string{"spiffe://mesh/*"}}, true, true, "needs a Workload API"},
		{"no CA", config.TLSSettings{SPIFFEIDs: []string{"spiffe://mesh/*"}, CASecret: "gone"}, false, true, "gone"},
	} {
		var w world
		w.listener(8443)
		w.tlsSecret(t, a, "shop", "shop.example.com")
		w.host("shop", "shop.example.com", "shop").TLS = &row.settings
		b := Build(&w.World, Options{Namespace: "ambassador", Now: now, NoWorkload: row.none}, nil)
		if got := slices.Contains(dropped(b), "shop"); got != row.dropped {
			t.Errorf("%s: dropped: %v", row.name, got)
		}
		if len(b.Problems) == 0 || !slices.ContainsFunc(texts(b.Problems), func(text string) bool { return strings.Contains(text, row.problem) }) {
			t.Errorf("%s: says %q, want %q", row.name, texts(b.Problems), row.problem)
		}
	}
}
