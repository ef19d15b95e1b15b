package wire

import (
	"crypto/x509"
	"testing"
)

func TestFactsOfNobody(t *testing.T) {
	for name, info := range map[string]*TLSInfo{"cleartext": nil, "no certificate": {}} {
		if f, p := info.Client(), info.ClientPEM(true); f != nil || p != nil {
			t.Errorf("%s: got %v and %q, want nothing", name, f, p)
		}
	}
}

func TestFactsAreWorkedOutOnce(t *testing.T) {
	info := &TLSInfo{Chain: []*x509.Certificate{{Raw: []byte{1}}, {Raw: []byte{2}}}}
	first := info.Client()
	if first != info.Client() {
		t.Error("they were worked out twice")
	}
	one, all := info.ClientPEM(false), info.ClientPEM(true)
	const want = "-----BEGIN%20CERTIFICATE-----%0AAQ%3D%3D%0A-----END%20CERTIFICATE-----%0A"
	if string(one) != want || string(all) != want+"-----BEGIN%20CERTIFICATE-----%0AAg%3D%3D%0A-----END%20CERTIFICATE-----%0A" {
		t.Errorf("got %s and %s", one, all)
	}
	if n := testing.AllocsPerRun(100, func() { info.Client(); info.ClientPEM(false); info.ClientPEM(true) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
