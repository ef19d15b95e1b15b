package wire

import (
	"crypto/sha1" //nolint:gosec // because fingerprints of that kind are asked for by name
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"sync/atomic"
	"time"
)

// CertFacts are what is told of a certificate, as text.
type CertFacts struct {
	Subject, Issuer     []byte // RFC 2253
	URIs, DNS           []string
	SHA256, SHA1        []byte // of the whole, in lower-case hexadecimals
	Serial              []byte // in lower-case hexadecimals
	NotBefore, NotAfter time.Time
}

// NewCertFacts returns the facts of c.
func NewCertFacts(c *x509.Certificate) *CertFacts {
	long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw) //nolint:gosec // see above
	f := &CertFacts{
		Subject: []byte(c.Subject.String()), Issuer: []byte(c.Issuer.String()),
		DNS:       c.DNSNames,
		SHA256:    hex.AppendEncode(nil, long[:]),
		SHA1:      hex.AppendEncode(nil, short[:]),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
	if c.SerialNumber != nil {
		f.Serial = hex.AppendEncode(nil, c.SerialNumber.Bytes())
	}
	for _, u := range c.URIs {
		f.URIs = append(f.URIs, u.String())
	}
	return f
}

// clientFacts are worked out when they are first asked for: most connections have no
// certificate, and most of those that have are never asked.
type clientFacts struct {
	leaf      atomic.Pointer[CertFacts]
	pem, pems atomic.Pointer[[]byte]
}

// Client returns the facts of the client's certificate, nil without one.
// Budget: 0 allocs, but for the first time.
func (t *TLSInfo) Client() *CertFacts {
	if t == nil || len(t.Chain) == 0 {
		return nil
	}
	f := t.facts.leaf.Load()
	if f == nil {
		f = NewCertFacts(t.Chain[0])
		t.facts.leaf.Store(f)
	}
	return f
}

// ClientPEM returns the client's certificate, or its chain as it was sent, in PEM and
// URL encoding; nil without one. Budget: 0 allocs, but for the first time.
func (t *TLSInfo) ClientPEM(chain bool) []byte {
	if t == nil || len(t.Chain) == 0 {
		return nil
	}
	at, certs := &t.facts.pem, t.Chain[:1]
	if chain {
		at, certs = &t.facts.pems, t.Chain
	}
	encoded := at.Load()
	if encoded == nil {
		var out []byte
		for _, c := range certs {
			out = appendURLEncoded(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		}
		encoded = &out
		at.Store(encoded)
	}
	return *encoded
}

// appendURLEncoded appends text with all but unreserved characters (RFC 3986 §2.3) as
// escapes.
func appendURLEncoded(dst, text []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range text {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
