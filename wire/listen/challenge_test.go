package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

// A handshake by which an authority asks whether a name is ours is answered and ends, whatever
// else the name serves; anybody else gets what the name has.
func TestChallenge(t *testing.T) {
	proof, site := selfSigned(t, "proof"), selfSigned(t, "site")
	g := &greeter{}
	l, err := Listen(t.Context(), Options{
		Addr: "127.0.0.1:0", TLS: true, Engine: g, Watcher: g, Now: time.Now,
		Config: func(sni string) *tls.Config {
			if sni != "site.test" {
				return nil
			}
			return &tls.Config{Certificates: []tls.Certificate{site}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
		},
		Challenge: func(sni string) *tls.Config {
			if sni == "quiet.test" {
				return nil
			}
			return &tls.Config{Certificates: []tls.Certificate{proof}, NextProtos: []string{"acme-tls/1"}, MinVersion: tls.VersionTLS12}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go l.Serve()
	for _, c := range []struct {
		name, sni string
		protocols []string
		want      string // the certificate's name; "" for a handshake that fails
		hears     string
	}{
		{"an authority", "site.test", []string{"acme-tls/1"}, "proof", ""},
		{"an authority about a name that serves nothing yet", "new.test", []string{"acme-tls/1"}, "proof", ""},
		{"an authority about nothing of ours", "quiet.test", []string{"acme-tls/1"}, "", ""},
		{"a browser", "site.test", []string{"h2", "http/1.1"}, "site", "hello"},
		{"somebody who offers both", "site.test", []string{"acme-tls/1", "http/1.1"}, "site", "hello"},
		{"a browser about a name that serves nothing yet", "new.test", []string{"http/1.1"}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := dial(t, l)
			conn := tls.Client(raw, &tls.Config{ServerName: c.sni, NextProtos: c.protocols, InsecureSkipVerify: true})
			err := conn.HandshakeContext(t.Context())
			if (err != nil) != (c.want == "") {
				t.Fatalf("handshake: %v", err)
			}
			if err != nil {
				return
			}
			if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != c.want {
				t.Errorf("shows %s, want %s", got, c.want)
			}
			if got := heard(t, raw); c.hears != "" && got != c.hears { // which the greeter says in the clear
				t.Errorf("hears %q, want %q", got, c.hears)
			}
		})
	}
	if g.opened.Load() != 2 {
		t.Errorf("%d connections were served, want 2", g.opened.Load())
	}
}

func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
