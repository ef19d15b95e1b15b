package certs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLocalCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "legate")
	ca, err := LocalCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LocalCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !again.cert.Equal(ca.cert) || again.File() != filepath.Join(dir, "ca.crt") {
		t.Error("the second call made another authority")
	}
	if info, err := os.Stat(filepath.Join(dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v; want mode 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*-*")); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}

	secret, err := again.Secret("edge", "local", "localhost", "127.0.0.1", "::1")
	if err != nil {
		t.Fatal(err)
	}
	if secret.Type != "kubernetes.io/tls" || secret.FullName() != "local.edge" {
		t.Errorf("got Secret %s of type %s", secret.FullName(), secret.Type)
	}
	pair, err := tls.X509KeyPair(secret.Data["tls.crt"], secret.Data["tls.key"])
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := pair.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("the key is a %T, want ECDSA", pair.PrivateKey)
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(ca.File())
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s: %v", ca.File(), err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if life := time.Until(pair.Leaf.NotAfter); life > 91*24*time.Hour {
		t.Errorf("the certificate lives for %v", life)
	}
	if _, _, err := ca.Issue(); err == nil {
		t.Error("a certificate for nobody was issued")
	}
}

func TestLocalCANeverReplacesAnother(t *testing.T) {
	dir := t.TempDir()
	ca, err := LocalCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca.crt": cert, "ca.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LocalCA(dir); err == nil || !strings.Contains(err.Error(), "is no authority") {
		t.Errorf("got %v, want it to refuse a certificate that is no authority", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "ca.crt")); string(got) != string(cert) {
		t.Error("the file was overwritten")
	}
	if block, _ := pem.Decode(cert); block == nil {
		t.Error("Issue returns no PEM")
	}
}
