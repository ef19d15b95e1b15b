package h1

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"legate/wire"
)

// A tlsEnd is one end of a TLS session and the socket beneath.
type tlsEnd struct {
	raw    *wire.Conn
	secure *tls.Conn
}

// tlsPair makes a session over loopback. Both ends are closed with the test.
func tlsPair(t testing.TB) (client, server tlsEnd) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	near, far := loopback(t)
	client.raw, server.raw = wire.NewConn(near), wire.NewConn(far)
	client.secure = tls.Client(client.raw, &tls.Config{RootCAs: pool, ServerName: "example.com"})
	server.secure = tls.Server(server.raw, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	t.Cleanup(func() { _ = client.raw.Close(); _ = server.raw.Close() })
	shaken := make(chan error, 1)
	go func() { shaken <- server.secure.Handshake() }()
	if err := client.secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	return client, server
}
