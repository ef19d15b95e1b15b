package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/format"
	"legate/wire"
)

// certified is a certificate as a client shows it.
func certified(t testing.TB, name pkix.Name, dns []string, uris ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0xabc123), Subject: name, DNSNames: dns,
		NotBefore: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), NotAfter: time.Date(2036, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// mutual is the peer of a connection on which both sides have shown a certificate.
func mutual(t testing.TB) (*wire.Peer, *Snapshot) {
	t.Helper()
	client := certified(t, pkix.Name{CommonName: `a"b`, Organization: []string{"Shop, Inc."}}, []string{"a.test", "b.test"}, "spiffe://mesh/ns/a", "spiffe://mesh/ns/b")
	issuer := certified(t, pkix.Name{CommonName: "issuer"}, nil)
	server := certified(t, pkix.Name{CommonName: "edge"}, []string{"edge.test"}, "spiffe://mesh/edge")
	s := &Snapshot{slots: []int{0}, TLS: &wire.TLSTable{Listeners: make([]wire.TLSNames, 1)}}
	s.TLS.Listeners[0].Add("*", &tls.Config{Certificates: []tls.Certificate{{Leaf: server}}})
	return &wire.Peer{
		Remote: netip.MustParseAddrPort("198.51.100.7:5000"),
		TLS: &wire.TLSInfo{
			Version: tls.VersionTLS12, Cipher: tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ServerName: "edge.test",
			Chain: []*x509.Certificate{client, issuer},
		},
	}, s
}

// urlPEM is a certificate in PEM, as a query would hold it.
func urlPEM(certs ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return strings.ReplaceAll(url.QueryEscape(b.String()), "+", "%20")
}

// Every mode with and without a client's certificate, with and without a claim.
func TestForwardedClientCert(t *testing.T) {
	peer, snap := mutual(t)
	clear := &wire.Peer{Remote: peer.Remote}
	facts := peer.TLS.Client()
	own := "By=spiffe://mesh/edge;Hash=" + string(facts.SHA256)
	for _, row := range []struct {
		name    string
		mode    config.ClientCerts
		details config.CertDetails
		peer    *wire.Peer
		sent    []string
		want    string
	}{
		{"sanitize", config.SanitizeCerts, config.CertDetails{}, peer, []string{"By=me"}, ""},
		{"sanitize in the clear", config.SanitizeCerts, config.CertDetails{}, clear, []string{"By=me"}, ""},
		{"forward", config.ForwardCerts, config.CertDetails{}, peer, []string{"By=me"}, "By=me"},
		{"forward nothing", config.ForwardCerts, config.CertDetails{}, peer, nil, ""},
		{"forward in the clear", config.ForwardCerts, config.CertDetails{}, clear, []string{"By=me"}, ""},
		{"append", config.AppendCerts, config.CertDetails{}, peer, []string{"By=me"}, "By=me," + own},
		{"append to two lines", config.AppendCerts, config.CertDetails{}, peer, []string{"By=me", "By=you"}, "By=me,By=you," + own},
		{"append to nothing", config.AppendCerts, config.CertDetails{}, peer, nil, own},
		{"append in the clear", config.AppendCerts, config.CertDetails{}, clear, []string{"By=me"}, ""},
		{"set", config.SetCerts, config.CertDetails{}, peer, []string{"By=me"}, own},
		{"set in the clear", config.SetCerts, config.CertDetails{}, clear, []string{"By=me"}, ""},
		{"always", config.AlwaysForwardCerts, config.CertDetails{}, peer, []string{"By=me"}, "By=me"},
		{"always in the clear", config.AlwaysForwardCerts, config.CertDetails{}, clear, []string{"By=me"}, "By=me"},
		{"set all", config.SetCerts, config.CertDetails{Subject: true, Cert: true, Chain: true, DNS: true, URI: true}, peer, nil,
			own + `;Cert="` + urlPEM(peer.TLS.Chain[0]) + `";Chain="` + urlPEM(peer.TLS.Chain...) + `";Subject="CN=a\"b,O=Shop\, Inc.";URI=spiffe://mesh/ns/a;DNS=a.test;DNS=b.test`},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := &Exchange{Req: new(wire.Head), peer: row.peer, Snap: snap}
			var fields []string
			for _, s := range row.sent {
				fields = append(fields, "x-forwarded-client-cert", s)
			}
			x.Req.BuildRequest("GET", "a.test", "/", fields...)
			x.forwardClientCert(&edge{clientCerts: row.mode, certDetails: row.details})
			got, _ := field(x.Req, &x.ToUp, &format.Field{ID: wire.FieldXForwardedClientCert})
			if string(got) != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

// A certificate that names what would end an element cannot.
func TestCertificatesCannotForgeElements(t *testing.T) {
	peer, snap := mutual(t)
	peer.TLS = &wire.TLSInfo{Chain: []*x509.Certificate{certified(t, pkix.Name{}, []string{`a.test,By=evil`})}}
	snap.TLS = nil
	got := string(appendClientCert(nil, peer.TLS, snap.serverFacts(peer), config.CertDetails{DNS: true, URI: true, Subject: true}))
	if want := "Hash=" + string(peer.TLS.Client().SHA256) + `;Subject="";URI=;DNS="a.test,By=evil"`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every command that speaks of TLS.
func TestCommandsOfCertificates(t *testing.T) {
	peer, snap := mutual(t)
	facts := peer.TLS.Client()
	x := &Exchange{Req: new(wire.Head), peer: peer, Snap: snap, Route: &Route{Route: noRoute}}
	for command, want := range map[string]string{
		"REQUESTED_SERVER_NAME":               "edge.test",
		"DOWNSTREAM_TLS_VERSION":              "TLSv1.2",
		"DOWNSTREAM_TLS_CIPHER":               "ECDHE-ECDSA-AES128-GCM-SHA256",
		"DOWNSTREAM_PEER_SUBJECT":             `CN=a\"b,O=Shop\, Inc.`,
		"DOWNSTREAM_PEER_ISSUER":              `CN=a\"b,O=Shop\, Inc.`,
		"DOWNSTREAM_PEER_URI_SAN":             "spiffe://mesh/ns/a,spiffe://mesh/ns/b",
		"DOWNSTREAM_PEER_DNS_SAN":             "a.test,b.test",
		"DOWNSTREAM_PEER_FINGERPRINT_256":     string(facts.SHA256),
		"DOWNSTREAM_PEER_FINGERPRINT_1":       string(facts.SHA1),
		"DOWNSTREAM_PEER_SERIAL":              "abc123",
		"DOWNSTREAM_PEER_CERT":                urlPEM(peer.TLS.Chain[0]),
		"DOWNSTREAM_PEER_CERT_V_START":        "2026-01-02T03:04:05.000Z",
		"DOWNSTREAM_PEER_CERT_V_START(%b %Y)": "Jan 2026",
		"DOWNSTREAM_PEER_CERT_V_END":          "2036-01-02T03:04:05.000Z",
		"DOWNSTREAM_LOCAL_SUBJECT":            "CN=edge",
		"DOWNSTREAM_LOCAL_URI_SAN":            "spiffe://mesh/edge",
		"DOWNSTREAM_LOCAL_DNS_SAN":            "edge.test",
	} {
		f, _, err := format.Compile("%"+command+"%", format.Header)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(nil, x)); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
		x.peer = &wire.Peer{TLS: &wire.TLSInfo{}}
		if got := string(f.Append(nil, x)); strings.Contains(command, "_PEER_") && got != "" {
			t.Errorf("%s without a certificate: got %q, want nothing", command, got)
		}
		x.peer = peer
	}
	if _, err := hex.DecodeString(string(facts.SHA256)); err != nil || len(facts.SHA256) != 64 {
		t.Errorf("the fingerprint is %q", facts.SHA256)
	}
}

func TestAllocsClientCert(t *testing.T) {
	peer, snap := mutual(t)
	x := &Exchange{Req: new(wire.Head), peer: peer, Snap: snap, arena: make([]byte, 0, 16<<10)}
	x.Req.BuildRequest("GET", "a.test", "/", "x-forwarded-client-cert", "By=me")
	e := &edge{clientCerts: config.AppendCerts, certDetails: config.CertDetails{Subject: true, Cert: true, Chain: true, DNS: true, URI: true}}
	if n := testing.AllocsPerRun(100, func() {
		x.arena = x.arena[:0]
		x.ToUp.Reset()
		x.forwardClientCert(e)
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
