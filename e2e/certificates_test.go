package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// serialOf is a certificate's serial number as operators compare it.
func serialOf(leaf *x509.Certificate) string { return fmt.Sprintf("%X", leaf.SerialNumber.Bytes()) }

// The admin port tells of every certificate that is served what a handshake shows, and where
// it comes from: of Hosts, and of TCPMappings, which may have theirs from files.
func TestCertificatesAreShown(t *testing.T) {
	t.Parallel()
	port := freePorts(t, 1)[0]
	fromSecret, fromFile := authority.issue(t, "shop.example.com", "127.0.0.1"), authority.issue(t, "wire.example.com")
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	must(t, os.WriteFile(cert, fromFile.cert, 0o600))
	must(t, os.WriteFile(key, fromFile.key, 0o600))
	g := start(t, setup{manifests: fromSecret.secret("shop") + manifest("Host", "shop", "{hostname: shop.example.com, tlsSecret: {name: shop}}") +
		manifest("TLSContext", "wire", fmt.Sprintf("{hosts: [wire.example.com], cert_chain_file: %s, private_key_file: %s}", cert, key)) +
		manifest("Listener", "wire", fmt.Sprintf("{port: %d, protocol: TLS, securityModel: SECURE, hostBinding: {namespace: {from: ALL}}}", port)) +
		tcpMapping("wire", port, greeter(t, "plain", nil), "host: wire.example.com")})
	for _, c := range []struct {
		hostname, host, source, from string
		names                        []string
		issued                       certificate
		addr                         string
	}{
		{"shop.example.com", "Host default/shop", "Secret", "default/shop", []string{"shop.example.com", "127.0.0.1"}, fromSecret, g.secure},
		{"wire.example.com", "TCPMapping default/wire", "file", cert, []string{"wire.example.com"}, fromFile, loopback(port)},
	} {
		got := g.certificate(c.hostname)
		if got.Host != c.host || got.Source != c.source || got.From != c.from || !slices.Equal(got.Names, c.names) || got.Issuer != "CN=e2e authority" {
			t.Errorf("/api/v1/certificates says %+v", got)
		}
		conn, err := tls.Dial("tcp", c.addr, &tls.Config{ServerName: c.hostname, RootCAs: authority.pool})
		must(t, err)
		leaf := conn.ConnectionState().PeerCertificates[0]
		conn.Close()
		if got.Serial != serialOf(leaf) || !got.NotBefore.Equal(leaf.NotBefore) || !got.NotAfter.Equal(leaf.NotAfter) || leaf.SerialNumber.Int64() != c.issued.serial {
			t.Errorf("%s shows %v, /api/v1/certificates says %+v", c.hostname, leaf.SerialNumber, got)
		}
	}
}

// The log warns of certificates that end soon, whoever is shown them, once for each, and not
// of others.
func TestCertificatesThatEndSoon(t *testing.T) {
	t.Parallel()
	ending := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour / 12) } // of a life of 65 minutes
	up := echo(t, "up")
	manifests := everyone + authority.issueAs(t, ending, "soon.example.com").secret("soon") + authority.issue(t, "long.example.com").secret("long") +
		authority.issueAs(t, ending, "client.example.com").secret("client") +
		manifest("Host", "soon", "{hostname: soon.example.com, tlsSecret: {name: soon}}") + manifest("Host", "long", "{hostname: long.example.com, tlsSecret: {name: long}}") +
		manifest("TLSContext", "client", "{secret: client}") + mapping("x", "/x/", "https://"+up, "tls: client")
	g := start(t, setup{manifests: manifests})
	told := func(of string) int {
		return strings.Count(strings.Join(g.errors.all(), "\n"), `"certificate expires soon and is not renewed","of":"`+of+`"`)
	}
	g.awaitError(t, `"of":"TLSContext client.default"`)
	g.replace(manifests + mapping("y", "/y/", up)) // is no reason to say it again
	if soon, long, client := told("Host default/soon"), told("Host default/long"), told("TLSContext client.default"); soon != 1 || long != 0 || client != 1 {
		t.Errorf("told %d times of one that ends soon, %d of one that does not, %d of one that services are shown", soon, long, client)
	}
}
