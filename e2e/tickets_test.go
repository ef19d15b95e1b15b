package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// A session that was begun at one replica is resumed at another, in either version of TLS,
// where they share a Redis; and where they do not it begins anew.
func TestSessionsResumeAtOtherReplicas(t *testing.T) {
	cert := authority.issue(t, "shop.example.com")
	manifests := cert.secret("cert") + manifest("Host", "shop", "{hostname: shop.example.com, tlsSecret: {name: cert}}") + mapping("all", "/", echo(t, "up"))
	r := redistest.Start(t)
	shared := []string{"--redis", r.Addr}
	a, b := start(t, setup{manifests: manifests, args: shared}), start(t, setup{manifests: manifests, args: shared})
	alone := start(t, setup{manifests: manifests})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			resumes := func(from, at *gateway) bool {
				config := &tls.Config{
					ServerName: "shop.example.com", RootCAs: authority.pool, MaxVersion: version,
					ClientSessionCache: tls.NewLRUClientSessionCache(1),
				}
				if connection(t, from.secure, config).DidResume {
					t.Error("the first session is resumed")
				}
				return connection(t, at.secure, config).DidResume
			}
			eventually(t, 10*time.Second, "a session is resumed at the other replica", func() bool { return resumes(a, b) && resumes(b, a) })
			if !resumes(a, a) || !resumes(alone, alone) {
				t.Error("a session is not resumed where it was begun")
			}
			if resumes(a, alone) {
				t.Error("a session is resumed at a stranger")
			}
		})
	}
	r.Kill()
	if c := connection(t, a.secure, &tls.Config{ServerName: "shop.example.com", RootCAs: authority.pool}); !c.HandshakeComplete {
		t.Error("no handshake without Redis")
	}
}

// connection asks once, so that tickets arrive, and returns how the handshake went.
func connection(t *testing.T, addr string, config *tls.Config) tls.ConnectionState {
	t.Helper()
	c, err := tls.Dial("tcp", addr, config)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", config.ServerName)
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	must(t, err)
	return c.ConnectionState()
}
