package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"

	"legate/config"
)

// now is when the tests take place; the certificates are valid around it.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// An authority signs what the tests need.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

func newAuthority(tb testing.TB, name string) *authority {
	tb.Helper()
	key := ecKey(tb)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert: cert, key: key, pem: encodePEM("CERTIFICATE", der)}
}

func ecKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// issue signs a certificate for key that ends at until.
func (a *authority) issue(tb testing.TB, key crypto.Signer, until time.Time, names ...string) []byte {
	tb.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, SerialNumber: big.NewInt(2), DNSNames: names,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return encodePEM("CERTIFICATE", der)
}

// revoke returns a list of revoked certificates that is good until the given time.
func (a *authority) revoke(tb testing.TB, until time.Time, serials ...int64) []byte {
	tb.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(-1, 0, 0), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return encodePEM("X509 CRL", der)
}

// pair signs a certificate for a new key.
func (a *authority) pair(tb testing.TB, names ...string) (cert, key []byte) {
	tb.Helper()
	k := ecKey(tb)
	return a.issue(tb, k, now.AddDate(1, 0, 0), names...), pkcs8(tb, k)
}

// client returns a certificate that a client can show.
func (a *authority) client(tb testing.TB) tls.Certificate {
	tb.Helper()
	cert, key := a.pair(tb, "client")
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func pkcs8(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return encodePEM("PRIVATE KEY", der)
}

func rsaKey(tb testing.TB) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// A world is a World being written.
type world struct{ config.World }

// listener adds a Listener that serves every Host by TLS.
func (w *world) listener(port int) *config.Listener {
	w.Listeners = append(w.Listeners, config.Listener{
		Meta: config.Meta{Kind: "Listener", Name: "https", Namespace: "edge"}, Port: port, FromAll: true,
		Stack: []config.Protocol{config.ProtoTLS, config.ProtoHTTP, config.ProtoTCP},
	})
	return &w.Listeners[len(w.Listeners)-1]
}

// host adds a Host in namespace shop, with its tlsSecret if that is not "".
func (w *world) host(name, hostname, secret string) *config.Host {
	w.Hosts = append(w.Hosts, config.Host{
		Meta: config.Meta{Kind: "Host", Name: name, Namespace: "shop"}, Hostname: hostname,
		TLSSecret: config.SecretRef{Name: secret},
	})
	return &w.Hosts[len(w.Hosts)-1]
}

func (w *world) context(name string, s config.TLSSettings) *config.TLSContext {
	w.TLSContexts = append(w.TLSContexts, config.TLSContext{
		Meta: config.Meta{Kind: "TLSContext", Name: name, Namespace: "shop"}, TLSSettings: s,
	})
	return &w.TLSContexts[len(w.TLSContexts)-1]
}

// secret adds a Secret of keys and values in turn.
func (w *world) secret(namespace, name string, data ...any) *config.Secret {
	s := config.Secret{Meta: config.Meta{Kind: "Secret", Name: name, Namespace: namespace}, Type: "Opaque", Data: map[string][]byte{}}
	for i := 0; i < len(data); i += 2 {
		switch v := data[i+1].(type) {
		case []byte:
			s.Data[data[i].(string)] = v
		case string:
			s.Data[data[i].(string)] = []byte(v)
		}
	}
	w.Secrets = append(w.Secrets, s)
	return &w.Secrets[len(w.Secrets)-1]
}

// tlsSecret adds a Secret in namespace shop with a new certificate.
func (w *world) tlsSecret(tb testing.TB, a *authority, name string, names ...string) {
	tb.Helper()
	cert, key := a.pair(tb, names...)
	w.secret("shop", name, "tls.crt", cert, "tls.key", key)
}

func (w *world) build(old *Built) *Built {
	return Build(&w.World, Options{Namespace: "ambassador", Now: now}, old)
}

// texts renders problems, one a line.
func texts(ps []config.Problem) []string {
	var all []string
	for _, p := range ps {
		all = append(all, p.String())
	}
	return all
}

func dropped(b *Built) []string {
	var all []string
	for _, r := range b.Dropped {
		all = append(all, r.Name)
	}
	return all
}

func expect(tb testing.TB, b *Built, drops []string, problems ...string) {
	tb.Helper()
	if got := dropped(b); !slices.Equal(got, drops) {
		tb.Errorf("dropped %q, want %q", got, drops)
	}
	if got := texts(b.Problems); !slices.Equal(got, problems) {
		tb.Errorf("problems:\n got %q\nwant %q", got, problems)
	}
}
