package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

// A signer signs certificates and lists.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// sign makes a certificate, of an authority if it has a key of its own to sign with.
func (s *signer) sign(t *testing.T, name string, serial int64) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	parent, by := template, key
	if s != nil {
		parent, by = s.cert, s.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

// list makes a list that is in force from a time on for an hour.
func (s *signer) list(t *testing.T, from time.Time, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: from.Add(time.Hour)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: from})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, s.cert, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestRevocations(t *testing.T) {
	var nobody *signer
	root, twin, other := nobody.sign(t, "root", 1), nobody.sign(t, "root", 1), nobody.sign(t, "other", 1)
	between := root.sign(t, "between", 2)
	direct, deep := root.sign(t, "direct", 3), between.sign(t, "deep", 4)
	now := time.Now()
	current, old, early := now.Add(-time.Minute), now.Add(-2*time.Hour), now.Add(time.Minute)
	short := [][]*x509.Certificate{{direct.cert, root.cert}}
	long := [][]*x509.Certificate{{deep.cert, between.cert, root.cert}}
	for _, row := range []struct {
		name  string
		lists [][]byte
		paths [][]*x509.Certificate
		want  error
	}{
		{"no lists", nil, short, nil},
		{"nothing revoked", [][]byte{root.list(t, current)}, short, nil},
		{"others revoked", [][]byte{root.list(t, current, 4, 5)}, short, nil},
		{"revoked", [][]byte{root.list(t, current, 9, 3)}, short, ErrRevoked},
		{"revoked by the second list", [][]byte{root.list(t, current), root.list(t, current, 3)}, short, ErrRevoked},
		{"out of date", [][]byte{root.list(t, old)}, short, ErrOldList},
		{"not yet in force", [][]byte{root.list(t, early)}, short, ErrOldList},
		{"out of date beside a current one", [][]byte{root.list(t, old), root.list(t, current)}, short, nil},
		{"revoked while it was not out of date", [][]byte{root.list(t, old, 3), root.list(t, current)}, short, ErrRevoked},
		{"another authority's", [][]byte{other.list(t, current, 3)}, short, ErrNoList},
		{"another authority's of the same name", [][]byte{twin.list(t, current, 3)}, short, ErrNoList},
		{"another authority's beside it", [][]byte{twin.list(t, current, 3), other.list(t, current, 3), root.list(t, current)}, short, nil},
		{"on both levels", [][]byte{root.list(t, current), between.list(t, current)}, long, nil},
		{"on one level", [][]byte{between.list(t, current)}, long, ErrNoList},
		{"authority revoked", [][]byte{root.list(t, current, 2), between.list(t, current)}, long, ErrRevoked},
		{"revoked below", [][]byte{root.list(t, current), between.list(t, current, 4)}, long, ErrRevoked},
		{"another way up", [][]byte{root.list(t, current)}, append(slices.Clone(long), short...), nil},
		{"no way up", [][]byte{root.list(t, current)}, nil, ErrNoList},
	} {
		lists, err := ParseRevocations(slices.Concat(row.lists...))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		for range 2 { // the second time it is known who has signed what
			if got := lists.Judge(row.paths, now); !errors.Is(got, row.want) || (got == nil) != (row.want == nil) {
				t.Errorf("%s: got %v, want %v", row.name, got, row.want)
			}
		}
	}
	lists, err := ParseRevocations(slices.Concat(root.list(t, current), other.list(t, old)))
	if err != nil || !lists.Until().Equal(old.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("until %v, %v", lists.Until(), err)
	}
}
