package authn

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A signingKey is a key that tokens are signed with, and the dates of its life. It is not
// changed.
type signingKey struct {
	id        string // its thumbprint (RFC 7638)
	alg       string // the only algorithm that it signs by
	private   crypto.Signer
	jwk       []byte    // its public half, as RFC 7517 writes it
	published time.Time // when others could see it first
	signs     time.Time // from when on it signs, until one of a later date does
}

// Sizes of keys that are made here.
const madeRSABits = 2048

var errAlgorithmUnknown = errors.New("must be ES256, RS256 or EdDSA")

// makeSigningKey makes a key for alg from random's bytes.
func makeSigningKey(alg string, random io.Reader, published, signs time.Time) (*signingKey, error) {
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), random)
	case "RS256":
		private, err = rsa.GenerateKey(random, madeRSABits)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(random)
	default:
		err = errAlgorithmUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	return newSigningKey(private, published, signs)
}

var errKeyUnsuitable = errors.New("a signing key must be an ECDSA key of curve P-256, an RSA key of 2048 bits or more, or an Ed25519 key")

// newSigningKey names private, and settles its algorithm by what it is.
func newSigningKey(private crypto.Signer, published, signs time.Time) (*signingKey, error) {
	k := &signingKey{private: private, published: published, signs: signs}
	var required string // the members that a thumbprint is of, in their order (RFC 7638 §3.2)
	switch public := private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil || public.Curve != elliptic.P256() {
			return nil, errKeyUnsuitable
		}
		k.alg = "ES256"
		half := len(point) / 2 // after the byte that says uncompressed
		required = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, base64url(point[1:1+half]), base64url(point[1+half:]))
	case *rsa.PublicKey:
		if public.N.BitLen() < minSigningRSABits {
			return nil, errKeyUnsuitable
		}
		k.alg = "RS256"
		required = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, base64url(big.NewInt(int64(public.E)).Bytes()), base64url(public.N.Bytes()))
	case ed25519.PublicKey:
		k.alg = "EdDSA"
		required = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":%q}`, base64url(public))
	default:
		return nil, errKeyUnsuitable
	}
	sum := sha256.Sum256([]byte(required))
	k.id = base64url(sum[:])
	k.jwk = fmt.Appendf(nil, `{"alg":%q,"kid":%q,"use":"sig",%s`, k.alg, k.id, required[1:])
	return k, nil
}

// coordinateSize is that of each half of an ES256 signature (RFC 7518 §3.4).
const coordinateSize = 32

// sign signs text as k.alg says. What ES256 needs of chance is made of key and text (RFC
// 6979), which takes a quarter less time than what the library has of signatures.
func (k *signingKey) sign(text []byte) ([]byte, error) {
	key, ok := k.private.(*ecdsa.PrivateKey)
	if !ok {
		return jwt.GetSigningMethod(k.alg).Sign(string(text), k.private)
	}
	digest := sha256.Sum256(text)
	der, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair cryptobyte.String
	var r, s []byte
	if all := cryptobyte.String(der); !all.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) {
		return nil, errSignature
	}
	sig := make([]byte, 2*coordinateSize)
	copy(sig[coordinateSize-len(r):], r)
	copy(sig[2*coordinateSize-len(s):], s)
	return sig, nil
}

var errSignature = errors.New("BUG: the library's signature is none")

// signatureSize is how long k's signatures are.
func (k *signingKey) signatureSize() int {
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		return public.Size()
	case ed25519.PublicKey:
		return ed25519.SignatureSize
	}
	return 2 * coordinateSize
}

const minSigningRSABits = 2048 // RFC 7518 §3.3

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// renderKeySet renders the public halves of keys as a JWK Set (RFC 7517 §5).
func renderKeySet(keys []*signingKey) []byte {
	set := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			set = append(set, ',')
		}
		set = append(set, k.jwk...)
	}
	return append(set, "]}"...)
}

// parsePrivateKey reads one PEM block: PKCS #8, or the older forms of RSA and EC keys.
func parsePrivateKey(text []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errNoPrivateKey
		}
		if key, err := parseDER(block.Type, block.Bytes); !errors.Is(err, errNoPrivateKey) {
			return key, err
		}
	}
}

var (
	errNoPrivateKey  = errors.New("holds no private key as PEM")
	errPrivateBroken = errors.New("holds a private key that cannot be read")
)

func parseDER(kind string, der []byte) (crypto.Signer, error) {
	var key any
	var err error
	switch kind {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	default:
		return nil, errNoPrivateKey
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errPrivateBroken // the parser's own words might show what is in it
	}
	return signer, nil
}

// A storedKey is a signing key as it is kept, beside others, in one entry of a Secret.
type storedKey struct {
	PKCS8     []byte    `json:"pkcs8"`
	Published time.Time `json:"published"`
	Signs     time.Time `json:"signs"`
}

// storedKeys is the name of that entry.
const storedKeys = "keys.json"

// encodeKeys renders keys for keeping.
func encodeKeys(keys []*signingKey) ([]byte, error) {
	list := make([]storedKey, len(keys))
	for i, k := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return nil, fmt.Errorf("encode signing key: %w", err)
		}
		list[i] = storedKey{der, k.published.UTC(), k.signs.UTC()}
	}
	return json.Marshal(struct {
		Keys []storedKey `json:"keys"`
	}{list})
}

// decodeKeys reads what encodeKeys rendered.
func decodeKeys(text []byte) ([]*signingKey, error) {
	var stored struct {
		Keys []storedKey `json:"keys"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&stored); err != nil || len(stored.Keys) == 0 {
		return nil, errPrivateBroken
	}
	keys := make([]*signingKey, len(stored.Keys))
	for i, s := range stored.Keys {
		private, err := parseDER("PRIVATE KEY", s.PKCS8)
		if err != nil {
			return nil, err
		}
		if keys[i], err = newSigningKey(private, s.Published, s.Signs); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
