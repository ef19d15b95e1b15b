package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"legate/e2e/redistest"
)

// keeps asks a Redis to keep something, at the place that url and variables name.
func keeps(t *testing.T, url, variables string) error {
	t.Helper()
	s, err := Read(url, env(variables))
	if err != nil {
		t.Fatal(err)
	}
	client := s.Open()
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, key := range []string{"a", "b", "c", "d"} { // on different nodes of a cluster
		if err := client.Set(ctx, key, "kept", 0).Err(); err != nil {
			return err
		}
		if got, err := client.Get(ctx, key).Result(); err != nil || got != "kept" {
			t.Errorf("%s is %q, %v", key, got, err)
		}
	}
	return nil
}

func TestOpen(t *testing.T) {
	open := redistest.Start(t)
	locked := redistest.Start(t, "--requirepass", "hunter2", "--user", "al", "on", ">swordfish", "~*", "&*", "+@all")
	socket := filepath.Join(t.TempDir(), "redis.sock")
	redistest.Start(t, "--unixsocket", socket)
	cluster := redistest.StartCluster(t, 3)
	watched := redistest.StartWatched(t)
	secure, trust := secured(t)
	stranger, _ := secured(t)
	t.Setenv("SSL_CERT_FILE", trust) // nobody has asked for the system's authorities before
	for _, row := range []struct{ about, url, env, fails string }{
		{"an address", open.Addr, "", ""},
		{"another database", "redis://" + open.Addr + "/3", "", ""},
		{"a password", locked.Addr, "REDIS_PASSWORD=hunter2", ""},
		{"a password by its older name", locked.Addr, "REDIS_AUTH=hunter2", ""},
		{"a user of the URL", "redis://al:swordfish@" + locked.Addr, "", ""},
		{"a wrong password", locked.Addr, "REDIS_PASSWORD=hunter3", "WRONGPASS"},
		{"no password", locked.Addr, "", "NOAUTH"},
		{"a socket", socket, "REDIS_SOCKET_TYPE=unix", ""},
		{"a cluster by one of its nodes", cluster[1].Addr, "REDIS_TYPE=CLUSTER", ""},
		{"what Sentinels watch", watched.URL(), "REDIS_TYPE=SENTINEL", ""},
		{"what Sentinels do not know", "other," + watched.Sentinels[0].Addr, "REDIS_TYPE=SENTINEL", "sentinel"},
		{"TLS with any certificate", secure, "REDIS_TLS_ENABLED=true REDIS_TLS_INSECURE=true", ""},
		{"TLS with a certificate of an authority that the system knows", "rediss://" + secure, "", ""},
		{"TLS with a certificate of nobody", "rediss://" + stranger, "", "certificate"},
		{"nobody there", "127.0.0.1:1", "", "refused"},
	} {
		t.Run(row.about, func(t *testing.T) {
			err := keeps(t, row.url, row.env)
			if (err == nil) != (row.fails == "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Errorf("got %v, want %q", err, row.fails)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("the password is in %v", err)
			}
		})
	}
}

// A context's deadline counts, also where who is there never shakes hands.
func TestOpenKeepsDeadlines(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, scheme := range []string{"redis://", "rediss://"} {
		s, err := Read(scheme+ln.Addr().String(), env(""))
		if err != nil {
			t.Fatal(err)
		}
		client := s.Open()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		began := time.Now()
		if err := client.Ping(ctx).Err(); err == nil || time.Since(began) > time.Second {
			t.Errorf("%s: %v after %v", scheme, err, time.Since(began))
		}
		cancel()
		client.Close()
	}
}

// secured starts a Redis that speaks TLS only, and returns where and the file of its authority.
func secured(t *testing.T) (addr, trust string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile := write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", der)
	return redistest.StartTLS(t, certFile, keyFile).Addr, certFile
}
