package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// An algorithm is one of those that tokens are signed by (RFC 7518 §3.1, RFC 8037 §3.1).
type algorithm struct {
	method jwt.SigningMethod
	curve  string // of an EC key
	size   int    // of a secret at least: as long as the digest (RFC 7518 §3.2)
	fits   func(material any) bool
}

// none is the algorithm of tokens that nobody signed (RFC 7518 §3.6).
const none = "none"

func isRSA(m any) bool     { _, ok := m.(*rsa.PublicKey); return ok }
func isECDSA(m any) bool   { _, ok := m.(*ecdsa.PublicKey); return ok }
func isEd25519(m any) bool { _, ok := m.(ed25519.PublicKey); return ok }
func isSecret(m any) bool  { _, ok := m.(secret); return ok }

// algorithms are all but "none".
var algorithms = map[string]algorithm{
	"RS256": {method: jwt.SigningMethodRS256, fits: isRSA},
	"RS384": {method: jwt.SigningMethodRS384, fits: isRSA},
	"RS512": {method: jwt.SigningMethodRS512, fits: isRSA},
	"PS256": {method: strictPSS(jwt.SigningMethodPS256), fits: isRSA},
	"PS384": {method: strictPSS(jwt.SigningMethodPS384), fits: isRSA},
	"PS512": {method: strictPSS(jwt.SigningMethodPS512), fits: isRSA},
	"ES256": {method: jwt.SigningMethodES256, fits: isECDSA, curve: "P-256"},
	"ES384": {method: jwt.SigningMethodES384, fits: isECDSA, curve: "P-384"},
	"ES512": {method: jwt.SigningMethodES512, fits: isECDSA, curve: "P-521"},
	"EdDSA": {method: jwt.SigningMethodEdDSA, fits: isEd25519},
	"HS256": {method: jwt.SigningMethodHS256, fits: isSecret, size: 32},
	"HS384": {method: jwt.SigningMethodHS384, fits: isSecret, size: 48},
	"HS512": {method: jwt.SigningMethodHS512, fits: isSecret, size: 64},
}

// strictPSS returns m for signatures whose salt is as long as the digest, as RFC 7518
// §3.5 asks; the library takes any.
func strictPSS(m *jwt.SigningMethodRSAPSS) *jwt.SigningMethodRSAPSS {
	strict := *m
	strict.VerifyOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: m.Hash}
	return &strict
}

// safeAlgorithms are those that count where nothing is said. Secrets are none of them: a
// key set is mostly public.
var safeAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// fits reports whether k may verify what was signed by the algorithm called name: it is of
// the kind, and made for that or for no particular one. A public key is never a secret.
func (k *key) fits(name string) bool {
	a, ok := algorithms[name]
	if !ok || k.alg != "" && k.alg != name || !a.fits(k.material) {
		return false
	}
	switch m := k.material.(type) {
	case *ecdsa.PublicKey:
		return m.Params().Name == a.curve
	case secret:
		return len(m) >= a.size
	}
	return true
}

// verify reports whether k made sig of signed by the algorithm called name, which it fits.
func (k *key) verify(name, signed string, sig []byte) error {
	if s, ok := k.material.(secret); ok {
		return algorithms[name].method.Verify(signed, sig, []byte(s))
	}
	return algorithms[name].method.Verify(signed, sig, k.material)
}

// A jws is a token taken apart, not yet believed (RFC 7515 §7.1).
type jws struct {
	alg, kid  string
	header    map[string]any
	payload   []byte
	signed    string // what the signature is of
	signature []byte
	sigText   string // signature as written
}

var (
	errParts       = errors.New("it does not have three parts")
	errHeader      = errors.New("its header is no JSON object")
	errHeaderTwice = errors.New("a name stands twice in its header")
	errAlgorithm   = errors.New("its header names no algorithm")
	errKeyID       = errors.New("its key id is no text")
	errCritical    = errors.New("its header asks for extensions that are not known here")
)

// parseJWS takes raw apart. Only the compact form of tokens is one, in which there is no
// room for white space, padding or spare bits.
func parseJWS(raw string) (jws, error) {
	var parts [3]string
	n := 0
	for begin, i := 0, 0; i <= len(raw); i++ {
		if i < len(raw) && raw[i] != '.' {
			continue
		}
		if n == len(parts) {
			return jws{}, errParts
		}
		parts[n] = raw[begin:i]
		n, begin = n+1, i+1
	}
	if n != len(parts) {
		return jws{}, errParts
	}
	t := jws{signed: raw[:len(parts[0])+1+len(parts[1])], sigText: parts[2]}
	var decoded [3][]byte
	for i, p := range parts {
		b, err := decodePart(p)
		if err != nil {
			return jws{}, fmt.Errorf("part %d of it: %w", i+1, err)
		}
		decoded[i] = b
	}
	t.payload, t.signature = decoded[1], decoded[2]
	return t, t.readHeader(decoded[0])
}

var errBase64 = errors.New("is no base64url without padding")

func decodePart(text string) ([]byte, error) {
	// The library passes over line ends within; a token has none.
	for i := range len(text) {
		if text[i] == '\n' || text[i] == '\r' {
			return nil, errBase64
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errBase64 // whose own words show the bytes
	}
	return b, nil
}

// readHeader reads the JOSE header. Keys that it brings or points to (jwk, jku, x5c, x5u)
// are never looked at: whoever forges a token can write them.
func (t *jws) readHeader(text []byte) error {
	header, err := readObject(text)
	switch {
	case errors.Is(err, errTwice):
		return errHeaderTwice
	case err != nil:
		return errHeader
	}
	t.header = header
	var ok bool
	if t.alg, ok = t.header["alg"].(string); !ok || t.alg == "" {
		return errAlgorithm
	}
	if kid, has := t.header["kid"]; has {
		if t.kid, ok = kid.(string); !ok {
			return errKeyID
		}
	}
	if _, has := t.header["crit"]; has { // RFC 7515 §4.1.11: none is understood
		return errCritical
	}
	return nil
}
