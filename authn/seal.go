package authn

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"legate/config"
)

const (
	// sessionKeys is the entry of the Filter's Secret that holds keys for what is sealed,
	// one a line: the first seals, all of them open.
	sessionKeys = "session-keys"
	// minSecret is how long a secret must be for keys to be made of it: who has a cookie
	// may try secrets for as long as they like.
	minSecret = 32
	// maxSealed bounds what is made of a sealed text that was compressed.
	maxSealed = 64 << 10
)

var (
	errSealed = errors.New("it was not sealed here, or is no longer to be opened")
	seals     = base64.RawURLEncoding.Strict() // one text for what was sealed, and no other
)

// A sealer writes what browsers keep for the gateway: nobody else can read, change or make
// it. Gateways with the same keys open one another's.
type sealer struct {
	realm string // what is sealed for one Filter is nothing to another
	keys  []cipher.AEAD
	signs [][]byte // keys that sign what need not be hidden, in the same order
	deps  *Deps

	// What packs and unpacks is a megabyte and more, and anybody may have a login begin.
	packers, unpackers sync.Pool // of *flate.Writer and of io.ReadCloser
}

// newSealer makes the sealer of the Filter realm with the keys that its Secret holds, or
// else with one made of the client's secret. shared is false where there is neither, and
// no other gateway opens what this one seals.
func newSealer(realm, secret string, from *config.Secret, own []byte, d *Deps) (s *sealer, shared bool, err error) {
	s = &sealer{realm: realm, deps: d}
	var materials [][]byte
	if from != nil {
		for line := range bytes.Lines(from.Data[sessionKeys]) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				if len(line) < minSecret {
					return nil, false, fmt.Errorf("a line of %s is shorter than %d bytes", sessionKeys, minSecret)
				}
				materials = append(materials, line)
			}
		}
	}
	if len(materials) == 0 && len(secret) >= minSecret {
		materials = [][]byte{[]byte(secret)}
	}
	shared = len(materials) > 0
	if !shared {
		materials = [][]byte{own}
	}
	for _, m := range materials {
		key, err := hkdf.Key(sha256.New, m, nil, "legate oauth2 session "+realm, 32)
		if err != nil {
			return nil, false, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, false, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, false, err
		}
		sign, err := hkdf.Key(sha256.New, m, nil, "legate oauth2 signature "+realm, 32)
		if err != nil {
			return nil, false, err
		}
		s.keys, s.signs = append(s.keys, aead), append(s.signs, sign)
	}
	return s, shared, nil
}

// seal returns v as text for purpose, in characters that cookies and addresses may hold.
func (s *sealer) seal(purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	packed, err := s.pack(plain)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.keys[0].NonceSize())
	if _, err := io.ReadFull(s.deps.Random, nonce); err != nil {
		return "", err
	}
	return seals.EncodeToString(s.keys[0].Seal(nonce, nonce, packed, s.about(purpose))), nil
}

// open reads into v what was sealed for purpose.
func (s *sealer) open(purpose, text string, v any) error {
	sealed, err := seals.DecodeString(text)
	if err != nil {
		return errSealed
	}
	for _, k := range s.keys {
		if len(sealed) < k.NonceSize() {
			return errSealed
		}
		packed, err := k.Open(nil, sealed[:k.NonceSize()], sealed[k.NonceSize():], s.about(purpose))
		if err != nil {
			continue
		}
		plain, err := s.unpack(packed)
		if err != nil || json.Unmarshal(plain, v) != nil {
			return errSealed
		}
		return nil
	}
	return errSealed
}

// pack compresses plain.
func (s *sealer) pack(plain []byte) ([]byte, error) {
	var b bytes.Buffer
	w, ready := s.packers.Get().(*flate.Writer)
	if ready {
		w.Reset(&b)
	} else {
		var err error
		if w, err = flate.NewWriter(&b, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	defer s.packers.Put(w)
	_, err := w.Write(plain)
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// unpack is the reverse of pack, for no more than maxSealed bytes.
func (s *sealer) unpack(packed []byte) ([]byte, error) {
	from := bytes.NewReader(packed)
	r, ready := s.unpackers.Get().(io.ReadCloser)
	if !ready {
		r = flate.NewReader(from)
	} else if err := r.(flate.Resetter).Reset(from, nil); err != nil { //nolint:forcetypeassert // because flate says so
		return nil, err
	}
	defer s.unpackers.Put(r)
	return io.ReadAll(io.LimitReader(r, maxSealed))
}

// sign returns 32 characters that prove that text is from here.
func (s *sealer) sign(text string) string { return proof(s.signs[0], text) }

// signed reports whether given proves it, by any of the keys.
func (s *sealer) signed(text, given string) bool {
	return slices.ContainsFunc(s.signs, func(k []byte) bool { return same(proof(k, text), given) })
}

func proof(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (s *sealer) about(purpose string) []byte { return []byte(purpose + "\x00" + s.realm) }
