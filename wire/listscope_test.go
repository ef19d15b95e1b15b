package wire

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

// issue makes a certificate that is no authority's and names points.
func (s *signer) issue(t *testing.T, serial int64, points ...string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "somebody"}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), CRLDistributionPoints: points,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.cert, &s.key.PublicKey, s.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// listWith makes a list that is in force, with extensions and entries.
func (s *signer) listWith(t *testing.T, extensions []pkix.Extension, entries ...x509.RevocationListEntry) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		ExtraExtensions: extensions, RevokedCertificateEntries: entries,
	}, s.cert, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// point is the issuing distribution point whose DER has the hexadecimals of parts.
func point(t *testing.T, parts ...string) []pkix.Extension {
	t.Helper()
	value, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: issuingPointID, Critical: true, Value: append([]byte{0x30, byte(len(value))}, value...)}}
}

// part is the distributionPoint of a list that a URI of at most a hundred bytes names.
func part(uri string) string {
	n := byte(len(uri))
	return hex.EncodeToString(append([]byte{0xa0, n + 4, 0xa0, n + 2, 0x86, n}, uri...))
}

const (
	onlyUsers, onlyAuthorities = "8101ff", "8201ff"

	first, second = "http://lists.test/1.crl", "http://lists.test/2.crl"
)

// A list tells only of certificates that it is for.
func TestRevocationsOfSome(t *testing.T) {
	var nobody *signer
	root := nobody.sign(t, "root", 1)
	between := root.sign(t, "between", 2)
	user, ofFirst, ofBoth := root.issue(t, 3), root.issue(t, 4, first), root.issue(t, 5, second, first)
	revoked := func(serial int64) x509.RevocationListEntry {
		return x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now(), ReasonCode: 1}
	}
	for _, row := range []struct {
		name string
		list []byte
		cert *x509.Certificate
		want error
	}{
		{"all", root.listWith(t, point(t)), user, nil},
		{"users, of a user", root.listWith(t, point(t, onlyUsers)), user, nil},
		{"users, of an authority", root.listWith(t, point(t, onlyUsers)), between.cert, ErrNoList},
		{"authorities, of an authority", root.listWith(t, point(t, onlyAuthorities)), between.cert, nil},
		{"authorities, of a user", root.listWith(t, point(t, onlyAuthorities)), user, ErrNoList},
		{"authorities, with a user all the same", root.listWith(t, point(t, onlyAuthorities), revoked(3)), user, ErrRevoked},
		{"the first part, of one of it", root.listWith(t, point(t, part(first))), ofFirst, nil},
		{"the first part, of one of both", root.listWith(t, point(t, part(first))), ofBoth, nil},
		{"the first part, with one of it", root.listWith(t, point(t, part(first)), revoked(4)), ofFirst, ErrRevoked},
		{"the second part, of one of the first", root.listWith(t, point(t, part(second))), ofFirst, ErrNoList},
		{"the first part, of one of none", root.listWith(t, point(t, part(first))), user, ErrNoList},
		{"both parts, of one of the first", append(root.listWith(t, point(t, part(second))), root.listWith(t, point(t, part(first)))...), ofFirst, nil},
		{"users of the first part, of one", root.listWith(t, point(t, part(first), onlyUsers)), ofFirst, nil},
	} {
		lists, err := ParseRevocations(row.list)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		got := lists.Judge([][]*x509.Certificate{{row.cert, root.cert}}, time.Now())
		if !errors.Is(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

// A list that would be misunderstood is not read.
func TestRevocationsNotUnderstood(t *testing.T) {
	var nobody *signer
	root := nobody.sign(t, "root", 1)
	extension := func(critical bool, id ...int) []pkix.Extension {
		return []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: critical, Value: []byte{5, 0}}}
	}
	entry := x509.RevocationListEntry{SerialNumber: big.NewInt(3), RevocationTime: time.Now(), ExtraExtensions: extension(true, 2, 5, 29, 29)}
	for name, row := range map[string]struct {
		list []byte
		want string
	}{
		"changes only":             {root.listWith(t, extension(true, 2, 5, 29, 27)), "revocation list of CN=root: the critical extension 2.5.29.27 is not known"},
		"a hint":                   {root.listWith(t, extension(false, 2, 5, 29, 46)), ""},
		"of another authority":     {root.listWith(t, nil, entry), "the critical extension 2.5.29.29 of an entry is not known"},
		"indirect":                 {root.listWith(t, point(t, "8401ff")), "it speaks for other authorities than its own"},
		"some reasons":             {root.listWith(t, point(t, "83020640")), "it has what is revoked for some reasons only"},
		"attributes":               {root.listWith(t, point(t, "8501ff")), "it is for attribute certificates only"},
		"a part without a URI":     {root.listWith(t, point(t, "a007a00582036162", "63")), "the part that it is of has no URI for its name"},
		"a part by relative name":  {root.listWith(t, point(t, "a00da10b300906035504030c026361")), "the part that it is of has no URI for its name"},
		"not the extension's DER":  {root.listWith(t, []pkix.Extension{{Id: issuingPointID, Critical: true, Value: []byte("x")}}), "issuing distribution point: asn1"},
		"something after the list": {append(root.listWith(t, nil), "more"...), "not PEM"},
	} {
		_, err := ParseRevocations(row.list)
		if got := errorText(err); !strings.Contains(got, row.want) || (got == "") != (row.want == "") {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
