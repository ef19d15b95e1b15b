package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
)

// A key is one that tokens are verified with: a public key, or a shared secret.
type key struct {
	id, alg  string // "" where its set does not say
	material any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or secret
}

// A secret is the key of an HMAC.
type secret []byte

// A jwk is a key as RFC 7517 writes it. Members that say nothing about verifying are
// passed over, private ones among them.
type jwk struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Kid    string   `json:"kid"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	K      string   `json:"k"`
}

const (
	maxKeys     = 100  // of one set: a token without kid may have to be tried with each
	minRSABits  = 2048 // RFC 7518 §3.3
	maxRSABits  = 8192 // beyond, one signature costs a core milliseconds
	maxExponent = 1<<31 - 1
)

var (
	errNoKeys      = errors.New(`there is no list "keys"`)
	errTooManyKeys = fmt.Errorf("more than %d keys", maxKeys)
)

// parseKeys reads a JWK Set (RFC 7517 §5). Keys that are not for verifying, or not to be
// trusted, are left out. So is what makes a set ambiguous: secrets beside public keys,
// which have been published with them, and different keys of one id and kind.
func parseKeys(text []byte) ([]key, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	switch {
	case set.Keys == nil:
		return nil, fmt.Errorf("parse key set: %w", errNoKeys)
	case len(*set.Keys) > maxKeys:
		return nil, fmt.Errorf("parse key set: %w", errTooManyKeys)
	}
	var read []readKey
	public := false
	for _, raw := range *set.Keys {
		var j jwk
		if json.Unmarshal(raw, &j) != nil { // RFC 7517 §5: what is not understood is ignored
			continue
		}
		public = public || j.Kty != "oct"
		k, err := j.key()
		if errors.Is(err, errNotForVerifying) {
			continue
		}
		read = append(read, readKey{k, j.Kty, err == nil})
	}
	var list []key
	for i := range read {
		if r := &read[i]; r.good && !r.doubled(read) && (r.kty != "oct" || !public) {
			list = append(list, r.key)
		}
	}
	return list, nil
}

// A readKey is a key of a set, and whether it can be used.
type readKey struct {
	key
	kty  string
	good bool
}

// doubled reports whether another one of a set could be meant by k's id. One that cannot
// be used may be the one that is meant.
func (k *readKey) doubled(set []readKey) bool {
	return k.id != "" && slices.ContainsFunc(set, func(o readKey) bool {
		return o.id == k.id && o.kty == k.kty && o.alg == k.alg && !reflect.DeepEqual(o.material, k.material)
	})
}

var (
	errNotForVerifying = errors.New("the key is not for verifying")
	errKeyType         = errors.New("kty or crv is none of those that verify tokens")
	errPoint           = errors.New("the point is not on its curve")
	errKeySize         = errors.New("the key's size is not to be trusted")
	errExponent        = errors.New("the exponent is not to be trusted")
	errWeakPrimes      = errors.New("the modulus was made by a generator whose primes can be found (CVE-2017-15361)")
)

// key returns j ready for use.
func (j *jwk) key() (key, error) {
	if j.Use != "" && j.Use != "sig" || j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
		return key{}, errNotForVerifying
	}
	k := key{id: j.Kid, alg: j.Alg}
	var err error
	switch {
	case j.Kty == "RSA":
		k.material, err = j.rsa()
	case j.Kty == "EC":
		k.material, err = j.ecdsa()
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		var x []byte
		if x, err = member(j.X); err == nil && len(x) != ed25519.PublicKeySize {
			err = errPoint
		}
		k.material = ed25519.PublicKey(x)
	case j.Kty == "oct":
		var b []byte
		b, err = member(j.K)
		k.material = secret(b)
	default:
		err = errKeyType
	}
	return k, err
}

// member decodes a binary member, strictly as RFC 7515 §2 writes one.
func member(text string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(text) }

func (j *jwk) rsa() (*rsa.PublicKey, error) {
	n, err := member(j.N)
	if err != nil {
		return nil, err
	}
	e, err := member(j.E)
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch bits := modulus.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return nil, errKeySize
	case !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > maxExponent || exponent.Bit(0) == 0:
		return nil, errExponent
	case weakPrimes(modulus):
		return nil, errWeakPrimes
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// curves are those of RFC 7518 §6.2.1.1.
var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func (j *jwk) ecdsa() (*ecdsa.PublicKey, error) {
	curve := curves[j.Crv]
	if curve == nil {
		return nil, errKeyType
	}
	x, err := member(j.X)
	if err != nil {
		return nil, err
	}
	y, err := member(j.Y)
	if err != nil {
		return nil, err
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, errPoint
	}
	const uncompressed = 4 // SEC 1 §2.3.3
	k, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{uncompressed}, x...), y...))
	if err != nil {
		return nil, errPoint
	}
	return k, nil
}

// weakPrimes reports whether n looks like a product of primes of the form that one
// vendor's chips made: k*M + 65537^a mod M, where M is a product of small primes. Then n
// is a power of 65537 modulo every one of those, and of other numbers one in 2^27 is.
func weakPrimes(n *big.Int) bool {
	var r, m big.Int
	for _, p := range []int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
		107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	} {
		rest := r.Mod(n, m.SetInt64(p)).Int64()
		power, is := int64(1), false
		for range p {
			is = is || power == rest
			power = power * 65537 % p
		}
		if !is {
			return false
		}
	}
	return true
}
