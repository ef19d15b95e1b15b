package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"

	"legate/config"
)

// pairUntil returns the entries of a Secret with a certificate for names that lasts so many days.
func pairUntil(t *testing.T, days int, names ...string) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 0, days)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// A Secret is written over where what it has is not for the Host, does not last as long as what
// was ordered, or was ordered from an authority that the Host does not name any more; never what
// somebody else put there that lasts longer.
func TestAsGood(t *testing.T) {
	const here, before = "https://ca.test/dir", "https://staging.test/dir"
	from := func(authority string, pair map[string][]byte) map[string][]byte {
		marked := maps.Clone(pair)
		config.MarkOrdered(marked, authority)
		return marked
	}
	ordered, other := pairUntil(t, 60, "a.test"), pairUntil(t, 90, "b.test")
	longer := pairUntil(t, 90, "a.test")
	one := []ordering{{"a.test", here, ordered}}
	two := append(one, ordering{"b.test", here, other})
	replaced := from(before, pairUntil(t, 1, "a.test"))
	replaced["tls.crt"], replaced["tls.key"] = longer["tls.crt"], longer["tls.key"]
	for _, test := range []struct {
		name string
		own  map[string][]byte
		list []ordering
		want bool
	}{
		{"nothing", nil, one, false},
		{"what was ordered", from(here, ordered), one, true},
		{"what was ordered, from nobody knows whom", ordered, one, false},
		{"its author's, which lasts longer", longer, one, true},
		{"its author's, which lasts longer, for more names", pairUntil(t, 90, "b.test", "a.test"), one, true},
		{"its author's, which lasts longer, for another name", pairUntil(t, 90, "c.test"), one, false},
		{"its author's, which ends before", pairUntil(t, 30, "a.test"), one, false},
		{"ordered here, and lasts longer", from(here, longer), one, true},
		{"ordered elsewhere, and lasts longer", from(before, longer), one, false},
		{"its author's in the place of what was ordered elsewhere", replaced, one, true},
		{"a key of another", map[string][]byte{"tls.crt": longer["tls.crt"], "tls.key": ordered["tls.key"]}, one, false},
		{"what was ordered for the second that shares it", from(here, other), two, true},
		{"what ends before what was ordered for the second that shares it", from(here, pairUntil(t, 30, "b.test")), two, false},
	} {
		if got := asGood(test.own, test.list); got != test.want {
			t.Errorf("%s: as good: %v", test.name, got)
		}
	}
}
