package files

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
)

// pems returns a certificate that signs itself, and its key.
func pems(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

// A sidecar is the Secret of a folder, told of whenever it changes.
type sidecar struct {
	t    *testing.T
	dir  string
	sets chan []*config.Object
}

func watchSidecar(t *testing.T) *sidecar {
	t.Helper()
	s := &sidecar{t, filepath.Join(t.TempDir(), "certs"), make(chan []*config.Object, 100)}
	m := NewMounted(s.dir, "istio-certs", "ambassador")
	m.Rescan = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Watch(ctx, func(set []*config.Object) { s.sets <- set }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return s
}

func (s *sidecar) write(files map[string]string) {
	s.t.Helper()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// until waits for a set that is as want says: the effects of its Problems, and the Secret's data.
func (s *sidecar) until(want string, data map[string]string) {
	s.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case set := <-s.sets:
			var effects []string
			got := map[string]string{}
			for _, o := range set {
				for _, p := range o.Problems {
					effects = append(effects, p.Effect.String())
					if strings.Contains(p.String(), "PRIVATE KEY") {
						s.t.Error("a Problem has the key")
					}
				}
				if secret, ok := o.Value.(*config.Secret); ok && secret.Is("ambassador", "istio-certs") {
					for name, text := range secret.Data {
						got[name] = string(bytes.Clone(text))
					}
				}
			}
			if strings.Join(effects, " ") == want && maps.Equal(got, data) {
				return
			}
		case <-limit:
			s.t.Fatalf("never came to %q with %q", want, slices.Sorted(maps.Keys(data)))
		}
	}
}

// The Secret comes with the files and follows them, as long as they are well.
func TestMounted(t *testing.T) {
	s := watchSidecar(t)
	s.until("", nil)
	cert, key := pems(t)
	s.write(map[string]string{"cert-chain.pem": cert}) // the key is not there yet
	s.write(map[string]string{"key.pem": key})
	pair := map[string]string{"cert-chain.pem": cert, "key.pem": key}
	s.until("", pair)
	root, otherKey := pems(t)
	s.write(map[string]string{"root-cert.pem": root})
	all := map[string]string{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": root}
	s.until("", all)
	s.write(map[string]string{"key.pem": otherKey})
	s.until("object_stale", all)
	s.write(map[string]string{"key.pem": key, "root-cert.pem": "rubbish"})
	s.until("object_stale", all)
	cert, key = pems(t)
	s.write(map[string]string{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": root})
	s.until("", map[string]string{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": root})
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	s.until("object_stale object_stale", map[string]string{"cert-chain.pem": cert, "key.pem": key, "root-cert.pem": root})
}

// Files that were never well are told of, and are no Secret.
func TestMountedBroken(t *testing.T) {
	s := watchSidecar(t)
	s.until("", nil)
	cert, _ := pems(t)
	_, key := pems(t)
	s.write(map[string]string{"cert-chain.pem": cert, "key.pem": key})
	s.until("object_dropped", nil)
}
