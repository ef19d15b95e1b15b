package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

// An authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for name, until the given time, and its key as PEM.
func (a *authority) issue(t *testing.T, name string, until time.Time) (cert, key []byte) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) pair(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	cert, key := a.issue(t, name, until)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// revoke returns a list, as PEM, of certificates that are no longer good.
func (a *authority) revoke(t *testing.T, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// serveTLS accepts connections, notes what the client showed, sends a byte and waits
// for the end.
func serveTLS(t *testing.T, conf *tls.Config) (addr string, seen <-chan tls.ConnectionState) {
	t.Helper()
	states := make(chan tls.ConnectionState, 16)
	addr = serve(t, func(nc net.Conn) {
		c := tls.Server(nc, conf)
		if c.Handshake() == nil {
			states <- c.ConnectionState()
			_, _ = c.Write([]byte("x"))
			_, _ = c.Read(make([]byte, 1))
		}
	})
	return addr, states
}

// serve runs handle for each connection, and ends them all with the test.
func serve(t testing.TB, handle func(net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { nc.Close() })
			go func() {
				handle(nc)
				nc.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// dialSpec opens one connection to addr by spec.
func dialSpec(t *testing.T, spec Spec, addr string) (*Upstream, carrier, decision.Reason, error) {
	t.Helper()
	ap := netip.MustParseAddrPort(addr)
	spec.Host, spec.Port = ap.Addr().String(), ap.Port()
	if spec.ConnectTimeout == 0 {
		spec.ConnectTimeout = 5 * time.Second
	}
	spec.IdleTimeout = time.Hour
	u := New(spec, newTestResolver(t, Options{}))
	u.Start()
	t.Cleanup(u.Retire)
	l, reason, err := u.Open(time.Now(), Choice{})
	if err != nil {
		if l != nil {
			t.Error("a link and an error")
		}
		return u, nil, reason, err
	}
	c := l.(carrier)
	t.Cleanup(func() { c.Close() })
	return u, c, reason, nil
}

func TestDialReasons(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	garbage := serve(t, func(nc net.Conn) {
		_, _ = nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		_, _ = nc.Read(make([]byte, 1024))
	})
	silent := serve(t, func(nc net.Conn) {
		for _, err := nc.Read(make([]byte, 1024)); err == nil; _, err = nc.Read(make([]byte, 1024)) {
		}
	})
	hangsUp := serve(t, func(net.Conn) {})
	secure := Origination{On: true}
	for _, row := range []struct {
		name string
		addr string
		tls  Origination
		want decision.Reason
	}{
		{"refused", closed.Addr().String(), Origination{}, decision.DialRefused},
		{"refused before TLS", closed.Addr().String(), secure, decision.DialRefused},
		{"no answer to SYN", fullBacklog(t), Origination{}, decision.DialTimeout},
		{"no answer to ClientHello", silent, secure, decision.DialTimeout},
		{"not TLS", garbage, secure, decision.TLSFailed},
		{"closed in the handshake", hangsUp, secure, decision.TLSFailed},
		{"nowhere to go", "255.255.255.255:9", Origination{}, decision.DialFailed},
		{"well", silent, Origination{}, decision.None},
	} {
		t.Run(row.name, func(t *testing.T) {
			timeout := 5 * time.Second
			if row.want == decision.DialTimeout {
				timeout = 50 * time.Millisecond
			}
			u, _, reason, err := dialSpec(t, Spec{TLS: row.tls, ConnectTimeout: timeout}, row.addr)
			if reason != row.want || (err == nil) != (row.want == decision.None) {
				t.Errorf("got %v (%v), want %v", reason, err, row.want)
			}
			s := u.Stats()
			failures := map[decision.Reason]uint64{decision.DialRefused: s.Refused, decision.DialTimeout: s.Timeout,
				decision.DialFailed: s.Failed, decision.TLSFailed: s.TLSFailed, decision.None: s.Opened}
			if failures[row.want] != 1 || s.ConnectFailures()+s.Opened != 1 {
				t.Errorf("got %+v, want one %v", s, row.want)
			}
			if row.want != decision.None && s.Active != 0 {
				t.Errorf("a failed connection still counts: %+v", s)
			}
		})
	}
}

// fullBacklog returns the address of a listener that accepts nobody and whose queue
// is full, so that a SYN goes unanswered.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		nc, err := net.DialTimeout("tcp", addr, 50*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Skip("this kernel's backlog never fills")
	return ""
}

func TestOriginationOnTheWire(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	soon := time.Now().Add(time.Hour)
	clientCert, clientKey := ours.issue(t, "legate", soon)
	server := func(pair tls.Certificate, change func(*tls.Config)) *tls.Config {
		c := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
		if change != nil {
			change(c)
		}
		return c
	}
	good := server(ours.pair(t, "other.name", soon), nil)
	for _, row := range []struct {
		name   string
		server *tls.Config
		client Origination
		want   decision.Reason
		check  func(tls.ConnectionState) error
	}{
		{"unverified, no SNI, no certificate, no ALPN", server(theirs.pair(t, "x", soon), nil), Origination{}, decision.None,
			func(cs tls.ConnectionState) error {
				if cs.ServerName != "" || len(cs.PeerCertificates) > 0 || cs.NegotiatedProtocol != "" || cs.Version != tls.VersionTLS13 {
					return fmt.Errorf("got SNI %q, %d certificates, ALPN %q, version %x", cs.ServerName, len(cs.PeerCertificates), cs.NegotiatedProtocol, cs.Version)
				}
				return nil
			}},
		{"the chain is verified, the name is not", good, Origination{CA: string(ours.pem), ServerName: "api.ext.com"}, decision.None,
			func(cs tls.ConnectionState) error {
				if cs.ServerName != "api.ext.com" {
					return fmt.Errorf("got SNI %q", cs.ServerName)
				}
				return nil
			}},
		{"another authority's certificate", server(theirs.pair(t, "other.name", soon), nil), Origination{CA: string(ours.pem)}, decision.TLSFailed, nil},
		{"an expired certificate", server(ours.pair(t, "x", time.Now().Add(-time.Minute)), nil), Origination{CA: string(ours.pem)}, decision.TLSFailed, nil},
		{"a revoked certificate", good, Origination{CA: string(ours.pem), CRL: string(theirs.revoke(t)) + string(ours.revoke(t, 7, 2))}, decision.TLSFailed, nil},
		{"another certificate is revoked", good, Origination{CA: string(ours.pem), CRL: string(theirs.revoke(t, 2)) + string(ours.revoke(t, 3))}, decision.None, nil},
		{"a client certificate is shown", server(ours.pair(t, "x", soon), func(c *tls.Config) {
			c.ClientAuth = tls.RequireAndVerifyClientCert
			c.ClientCAs = x509.NewCertPool()
			c.ClientCAs.AddCert(ours.cert)
		}), Origination{Cert: string(clientCert), Key: Secret(clientKey)}, decision.None,
			func(cs tls.ConnectionState) error {
				if cs.PeerCertificates[0].Subject.CommonName != "legate" {
					return fmt.Errorf("got %v", cs.PeerCertificates[0].Subject)
				}
				return nil
			}},
		{"TLS 1.2 at most", good, Origination{Max: tls.VersionTLS12}, decision.None,
			func(cs tls.ConnectionState) error {
				if cs.Version != tls.VersionTLS12 {
					return fmt.Errorf("got version %x", cs.Version)
				}
				return nil
			}},
		{"no version in common", server(ours.pair(t, "x", soon), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
			Origination{Min: tls.VersionTLS13}, decision.TLSFailed, nil},
		{"ALPN", server(ours.pair(t, "x", soon), func(c *tls.Config) { c.NextProtos = []string{"h2", "istio", "http/1.1"} }),
			Origination{ALPN: "istio,http/1.1"}, decision.None,
			func(cs tls.ConnectionState) error {
				if cs.NegotiatedProtocol != "istio" {
					return fmt.Errorf("got ALPN %q", cs.NegotiatedProtocol)
				}
				return nil
			}},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, seen := serveTLS(t, row.server)
			row.client.On = true
			_, _, reason, err := dialSpec(t, Spec{TLS: row.client}, addr)
			if reason != row.want {
				t.Fatalf("got %v (%v), want %v", reason, err, row.want)
			}
			if row.check != nil {
				if err := row.check(<-seen); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSessionsAreResumed(t *testing.T) {
	ours := newAuthority(t, "ours")
	addr, seen := serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{ours.pair(t, "x", time.Now().Add(time.Hour))}, MaxVersion: tls.VersionTLS12,
	})
	u, _, _, err := dialSpec(t, Spec{TLS: Origination{On: true, CA: string(ours.pem)}}, addr)
	if err != nil {
		t.Fatal(err)
	}
	first := <-seen // each handshake is seen by a goroutine of its own
	if _, _, err := u.Fresh(time.Now(), Choice{}); err != nil {
		t.Fatal(err)
	}
	if second := <-seen; first.DidResume || !second.DidResume {
		t.Errorf("resumed: %v then %v, want false then true", first.DidResume, second.DidResume)
	}
}

func TestTLSContexts(t *testing.T) {
	ours := newAuthority(t, "ours")
	cert, key := ours.issue(t, "legate", time.Now().Add(time.Hour))
	f, list := false, ours.revoke(t, 9)
	world := &config.World{
		Secrets: []config.Secret{
			{Meta: meta("Secret", "client", "team"), Data: map[string][]byte{"tls.crt": cert, "tls.key": key}},
			{Meta: meta("Secret", "client.v2", "team"), Data: map[string][]byte{"tls.crt": cert, "tls.key": key}},
			{Meta: meta("Secret", "ca", "certs"), Data: map[string][]byte{"tls.crt": ours.pem}},
			{Meta: meta("Secret", "istio", "team"), Data: map[string][]byte{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": ours.pem}},
			{Meta: meta("Secret", "crl", "certs"), Data: map[string][]byte{"crl.pem": list}},
			{Meta: meta("Secret", "rubbish", "team"), Data: map[string][]byte{"crl.pem": []byte("z"), "tls.crt": []byte("x"), "tls.key": []byte("y")}},
		},
	}
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	context := func(name string, c config.TLSContext) {
		c.Meta = meta("TLSContext", name, "team")
		world.TLSContexts = append(world.TLSContexts, c)
	}
	context("plain", config.TLSContext{})
	context("sni", config.TLSContext{TLSSettings: config.TLSSettings{SNI: "api.ext.com", MinTLSVersion: "v1.2", MaxTLSVersion: "v1.3",
		ALPNProtocols: []string{"h2, http/1.1"}, CipherSuites: []string{"[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"}, ECDHCurves: []string{"P-256"}}})
	context("mtls", config.TLSContext{Secret: "client", TLSSettings: config.TLSSettings{CASecret: "ca.certs"}})
	context("dotted", config.TLSContext{Secret: "client.v2", SecretNamespacing: &f})
	context("istio", config.TLSContext{Secret: "istio"})
	context("crl", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CRLSecret: "crl.certs"}})
	context("no-crl", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CRLSecret: "crl"}})
	context("bad-crl", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CRLSecret: "rubbish"}})
	context("no-ca", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca"}})
	context("bad-ca", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "rubbish"}})
	context("no-ca-file", config.TLSContext{TLSSettings: config.TLSSettings{CACertChainFile: "/does/not/exist"}})
	context("no-secret", config.TLSContext{Secret: "client.elsewhere"})
	context("bad-secret", config.TLSContext{Secret: "rubbish"})
	context("no-file", config.TLSContext{TLSSettings: config.TLSSettings{CertChainFile: "/does/not/exist", PrivateKeyFile: "/does/not/exist"}})
	context("odd", config.TLSContext{TLSSettings: config.TLSSettings{MinTLSVersion: "v1.3", MaxTLSVersion: "v1.2", CipherSuites: []string{"ROT13"},
		ECDHCurves: []string{"P-1"}, CRLSecret: "crl"}})
	context("left-out", config.TLSContext{TLSSettings: config.TLSSettings{CipherSuites: []string{"TLS_AES_128_GCM_SHA256", "AES128-SHA"}, ECDHCurves: []string{"X448", "X25519MLKEM768"}}})
	context("both-certificates", config.TLSContext{Secret: "client", TLSSettings: config.TLSSettings{CertChainFile: "/does/not/exist"}})
	context("no-key-file", config.TLSContext{TLSSettings: config.TLSSettings{CertChainFile: "/does/not/exist"}})
	context("no-chain-file", config.TLSContext{TLSSettings: config.TLSSettings{PrivateKeyFile: "/does/not/exist"}})
	context("both-authorities", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CACertChainFile: "/does/not/exist"}})
	context("files", config.TLSContext{TLSSettings: config.TLSSettings{CertChainFile: file("cert", cert), PrivateKeyFile: file("key", key),
		CACertChainFile: file("ca", ours.pem), CRLFile: file("crl", list)}})
	context("no-crl-file", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CRLFile: "/does/not/exist"}})
	context("both-crls", config.TLSContext{TLSSettings: config.TLSSettings{CASecret: "ca.certs", CRLFile: "/does/not/exist", CRLSecret: "crl.certs"}})
	context("odder", config.TLSContext{TLSSettings: config.TLSSettings{MinTLSVersion: "1.2"}})

	identity := Origination{On: true, Cert: string(cert), Key: Secret(key)}
	with := func(o Origination, change func(*Origination)) Origination {
		change(&o)
		return o
	}
	for _, row := range []struct {
		context, service string
		v2               bool
		want             Origination
		address          string
		problems         []string
	}{
		{"", "foo", true, Origination{On: true}, "foo.team:443", nil},
		{"", "http://foo", true, Origination{On: true}, "foo.team:443", nil},
		{"plain", "foo", false, Origination{On: true}, "foo.team:443", nil},
		{"plain", "foo:80", false, Origination{On: true}, "foo.team:80", nil},
		{"plain", "http://foo", false, Origination{On: true}, "foo.team:443", []string{"service: notice"}},
		{"plain.team", "https://foo", false, Origination{On: true}, "foo.team:443", nil},
		{"absent", "foo", false, Origination{}, "foo.team:80", []string{"tls: field_ignored"}},
		{"absent", "https://foo", false, Origination{On: true}, "foo.team:443", []string{"tls: field_ignored"}},
		{"sni", "foo", false, Origination{On: true, ServerName: "api.ext.com", Min: tls.VersionTLS12, Max: tls.VersionTLS13, ALPN: "http/1.1",
			Ciphers: "ECDHE-RSA-AES128-GCM-SHA256,AES128-SHA", Curves: "P-256"}, "foo.team:443", nil},
		{"mtls", "foo", false, with(identity, func(o *Origination) { o.CA = string(ours.pem) }), "foo.team:443", nil},
		{"dotted", "foo", false, identity, "foo.team:443", nil},
		{"istio", "foo", false, with(identity, func(o *Origination) { o.CA = string(ours.pem) }), "foo.team:443", nil},
		{"crl", "foo", false, Origination{On: true, CA: string(ours.pem), CRL: string(list)}, "foo.team:443", nil},
		{"no-crl", "foo", false, Origination{On: true, CA: string(ours.pem)}, ":443", []string{"crl_secret: route_closed", "tls: route_closed"}},
		{"bad-crl", "foo", false, Origination{On: true, CA: string(ours.pem)}, ":443", []string{"crl_secret: route_closed", "tls: route_closed"}},
		{"no-ca", "foo", false, Origination{On: true}, ":443", []string{"ca_secret: route_closed", "tls: route_closed"}},
		{"bad-ca", "foo", false, Origination{On: true, CA: "x"}, ":443", []string{"ca_secret: route_closed", "tls: route_closed"}},
		{"no-ca-file", "foo", false, Origination{On: true}, ":443", []string{"cacert_chain_file: route_closed", "tls: route_closed"}},
		{"no-secret", "foo", false, Origination{On: true}, "foo.team:443", []string{"secret: field_ignored"}},
		{"bad-secret", "foo", false, Origination{On: true}, "foo.team:443", []string{"secret: field_ignored"}},
		{"no-file", "foo", false, Origination{On: true}, "foo.team:443", []string{"cert_chain_file: field_ignored"}},
		{"odd", "foo", false, Origination{On: true, Min: tls.VersionTLS13, Max: tls.VersionTLS12}, ":443",
			[]string{"min_tls_version: route_closed", "cipher_suites: field_ignored", "cipher_suites: route_closed", "ecdh_curves: field_ignored",
				"ecdh_curves: route_closed", "crl_secret: field_ignored", "tls: route_closed"}},
		{"left-out", "foo", false, Origination{On: true, Ciphers: "AES128-SHA", Curves: "X25519MLKEM768"}, "foo.team:443",
			[]string{"cipher_suites: field_ignored", "ecdh_curves: field_ignored"}},
		{"both-certificates", "foo", false, identity, "foo.team:443", []string{"cert_chain_file: field_ignored"}},
		{"no-key-file", "foo", false, Origination{On: true}, "foo.team:443", []string{"cert_chain_file: field_ignored"}},
		{"no-chain-file", "foo", false, Origination{On: true}, "foo.team:443", []string{"private_key_file: field_ignored"}},
		{"both-authorities", "foo", false, Origination{On: true}, ":443", []string{"ca_secret: route_closed", "tls: route_closed"}},
		{"files", "foo", false, with(identity, func(o *Origination) { o.CA, o.CRL = string(ours.pem), string(list) }), "foo.team:443", nil},
		{"no-crl-file", "foo", false, Origination{On: true, CA: string(ours.pem)}, ":443", []string{"crl_file: route_closed", "tls: route_closed"}},
		{"both-crls", "foo", false, Origination{On: true, CA: string(ours.pem)}, ":443", []string{"crl_file: route_closed", "tls: route_closed"}},
		{"odder", "foo", false, Origination{On: true}, "foo.team:443", []string{"min_tls_version: field_ignored"}},
	} {
		m := mapping("team", row.service)
		m.TLS, m.OriginateTLS = row.context, row.v2
		spec, problems := SpecOf(m, nil, world, Options{Namespace: "ambassador"})
		if spec.TLS.On && spec.TLS.Context != "" && spec.TLS.Context != strings.TrimSuffix(row.context, ".team")+".team" {
			t.Errorf("tls %q: the context is %q", row.context, spec.TLS.Context)
		}
		if spec.TLS.Context = ""; spec.TLS != row.want || spec.Address() != row.address {
			t.Errorf("tls %q, service %q: got %s %+v, want %s %+v", row.context, row.service, spec.Address(), spec.TLS, row.address, row.want)
		}
		if got := effects(problems); !slices.Equal(got, row.problems) {
			t.Errorf("tls %q, service %q: got problems %v, want %q", row.context, row.service, problems, row.problems)
		}
		if spec.TLS.On {
			spec.TLS.config(nil, time.Now) // must not panic whatever the settings
		}
		for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", spec, spec, spec, spec.TLS.Key), fmt.Sprint(problems)} {
			if strings.Contains(text, "PRIVATE KEY") {
				t.Fatalf("tls %q: the key can be printed", row.context)
			}
		}
	}
	specs := NewSpecs(nil, world, Options{})
	m := mapping("team", "foo")
	m.TLS = "no-secret"
	_, first := specs.Of(m)
	_, second := specs.Of(m)
	if len(first) != 1 || len(second) != 0 {
		t.Errorf("a context's problems: got %v then %v, want them once", first, second)
	}
}
