package authn

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"legate/config"
)

// keyAt is a key for plans: what it was published and signs from, in minutes after noon.
func keyAt(alg string, published, signs int) *signingKey {
	return &signingKey{id: alg, alg: alg, published: noon.Add(time.Duration(published) * time.Minute), signs: noon.Add(time.Duration(signs) * time.Minute)}
}

func TestRotationPlan(t *testing.T) {
	r := rotation{every: 24 * time.Hour, wait: 30 * time.Minute, keep: time.Hour}
	const day = 24 * 60
	rows := []struct {
		name  string
		r     rotation
		keys  []*signingKey
		alg   string
		now   int // minutes after noon
		want  plan
		signs int // of a key to be published
		again int // 0: never
	}{
		{"the first key signs at once", r, nil, "ES256", 0, plan{signing: -1, publish: true}, 0, 0},
		{"a fresh key", r, []*signingKey{keyAt("ES256", 0, 0)}, "ES256", 1, plan{}, 0, day - 30},
		{"just before the next one is due", r, []*signingKey{keyAt("ES256", 0, 0)}, "ES256", day - 31, plan{}, 0, day - 30},
		{"the next one is published and waits", r, []*signingKey{keyAt("ES256", 0, 0)}, "ES256", day - 30, plan{publish: true}, day, 0},
		{"it is late", r, []*signingKey{keyAt("ES256", 0, 0)}, "ES256", 3 * day, plan{publish: true}, 3*day + 30, 0},
		{"while it waits", r, []*signingKey{keyAt("ES256", 0, 0), keyAt("ES256", day-30, day)}, "ES256", day - 1, plan{}, 0, day},
		{"it signs, the old one is kept", r, []*signingKey{keyAt("ES256", 0, 0), keyAt("ES256", day-30, day)}, "ES256", day, plan{signing: 1}, 0, day + 60},
		{"the old one goes", r, []*signingKey{keyAt("ES256", 0, 0), keyAt("ES256", day-30, day)}, "ES256", day + 60, plan{signing: 1, drop: 1}, 0, 2*day - 30},
		{"another algorithm waits too", r, []*signingKey{keyAt("ES256", 0, 0)}, "RS256", 5, plan{publish: true}, 35, 0},
		{"and comes once", r, []*signingKey{keyAt("ES256", 0, 0), keyAt("RS256", 5, 35)}, "RS256", 6, plan{}, 0, 35},
		{"only one is left, and it waits", r, []*signingKey{keyAt("ES256", 0, 60)}, "ES256", 1, plan{}, 0, day + 30},
		{"others bring the keys", rotation{wait: r.wait, keep: r.keep}, []*signingKey{keyAt("ES256", 0, 0)}, "ES256", 9 * day, plan{}, 0, 0},
		{"others bring keys with dates", rotation{wait: r.wait, keep: r.keep}, []*signingKey{keyAt("ES256", 0, 0), keyAt("ES256", 0, 90)}, "ES256", 9, plan{}, 0, 90},
		{"others have brought none", rotation{}, nil, "ES256", 0, plan{signing: -1}, 0, 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			want := row.want
			if want.publish {
				want.signs = noon.Add(time.Duration(row.signs) * time.Minute)
			}
			if row.again != 0 {
				want.again = noon.Add(time.Duration(row.again) * time.Minute)
			}
			if got := row.r.plan(row.keys, row.alg, noon.Add(time.Duration(row.now)*time.Minute)); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// A consumer verifies as istiod does: by a copy of the key set that is up to 20 minutes
// old. The verifier is not ours.
type consumer struct {
	m      *Minter
	copied time.Time
	now    time.Time
	oidc   *oidc.IDTokenVerifier
}

const consumerCache = 20 * time.Minute

func (c *consumer) verify(ctx context.Context, token string, now time.Time) error {
	c.now = now
	if now.Sub(c.copied) >= consumerCache {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(c.m.signer.current.Load().set, &set); err != nil {
			return err
		}
		static := &oidc.StaticKeySet{}
		for _, k := range set.Keys {
			static.PublicKeys = append(static.PublicKeys, k.Key)
		}
		c.copied = now
		c.oidc = oidc.NewVerifier("ambassador-jwt-issuer", static, &oidc.Config{
			ClientID: serviceA.Name, SupportedSigningAlgs: []string{"ES256", "RS256", "EdDSA"}, Now: func() time.Time { return c.now },
		})
	}
	_, err := c.oidc.Verify(ctx, token)
	return err
}

// Through two days of a daily rotation and a change of algorithm no token is refused by
// who verifies with an old copy of the key set, and none is accepted that should not be.
func TestRotationUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := testDeps(t, new(time.Time))
		d.Clock = time.Now
		o := mintFilter()
		m := minter(t, d, o)
		m.signer.start()
		defer m.signer.retire()
		c := &consumer{m: m}
		id := alice(time.Now(), "")
		id.Expires = time.Time{}
		signed := map[string]int{}
		var last string
		for minute := range 2*24*60 + 120 {
			if minute == 40*60 {
				o.Mint.Algorithm = "EdDSA"
				settings, _ := mintSettings(o, nil, nil)
				if err := m.signer.configure(settings); err != nil {
					t.Fatal(err)
				}
			}
			r := call(time.Now(), id)
			if m.Mint(r) != Allow {
				t.Fatalf("minute %d: refused: %+v", minute, r.Reply)
			}
			token := bearerOf(t, r)
			if err := c.verify(t.Context(), token, time.Now()); err != nil {
				t.Fatalf("minute %d: a good token is refused: %v", minute, err)
			}
			if token != last && last != "" && minute%7 == 0 {
				parsed, err := parseJWS(last)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.verify(t.Context(), parsed.signed+"."+base64url(append(parsed.signature[:63:63], parsed.signature[63]^1)), time.Now()); err == nil {
					t.Fatalf("minute %d: a token with another signature is accepted", minute)
				}
			}
			last = token
			signed[kidOf(token)]++
			time.Sleep(time.Minute) // of the bubble
		}
		if len(signed) != 3 {
			t.Errorf("%d keys have signed, want three: %v", len(signed), signed)
		}
		if n := len(m.signer.current.Load().keys); n > 2 {
			t.Errorf("%d keys are published in the end", n)
		}
		if err := c.verify(t.Context(), last, time.Now().Add(time.Hour)); err == nil {
			t.Error("a token is accepted an hour after its time")
		}
	})
}

// A key that must not be used any more is gone at once, and another one signs.
func TestKeyRemovedInAnEmergency(t *testing.T) {
	now := noon
	m := minter(t, testDeps(t, &now), mintFilter())
	bad := m.signer.current.Load().signing.id
	o := mintFilter(func(f *config.MintFilter) { f.RevokedKeys = []string{bad} })
	settings, _ := mintSettings(o, nil, nil)
	if err := m.signer.configure(settings); err != nil {
		t.Fatal(err)
	}
	r := m.signer.current.Load()
	if r.find(bad) != nil || r.signing == nil || r.signing.id == bad {
		t.Errorf("the key is still there: %v", r)
	}
}

func TestSecretKeys(t *testing.T) {
	made := func(alg string) *signingKey {
		k, err := makeSigningKey(alg, testDeps(t, new(time.Time)).Random, noon, noon)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ec, rsa, ed := made("ES256"), made("RS256"), made("EdDSA")
	stored, err := encodeKeys([]*signingKey{ec, rsa})
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name  string
		data  map[string][]byte
		signs *signingKey
		count int
		err   string
	}{
		{"one key", map[string][]byte{"any.pem": pemOf(t, ec)}, ec, 1, ""},
		{"a Secret of type tls", map[string][]byte{"tls.key": pemOf(t, rsa), "tls.crt": []byte("x")}, rsa, 1, ""},
		{"one signs, the others are published", map[string][]byte{"a.pem": pemOf(t, ec), "signing.pem": pemOf(t, rsa), "z.pem": pemOf(t, ed)}, rsa, 3, ""},
		{"with dates", map[string][]byte{"keys.json": stored}, rsa, 2, ""},
		{"several, and none is said to sign", map[string][]byte{"a.pem": pemOf(t, ec), "b.pem": pemOf(t, rsa)}, nil, 0, "none of them is called signing.pem"},
		{"nothing", map[string][]byte{"note": []byte("x")}, nil, 0, "holds no private key"},
		{"no PEM", map[string][]byte{"a.pem": []byte("x")}, nil, 0, "a.pem: holds no private key"},
		{"a public key", map[string][]byte{"a.pem": []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}, nil, 0, "holds no private key"},
		{"a broken key", map[string][]byte{"a.pem": []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, nil, 0, "cannot be read"},
		{"broken dates", map[string][]byte{"keys.json": []byte(`{"keys": []}`)}, nil, 0, "keys.json"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			keys, err := secretKeys(&config.Secret{Data: r.data})
			if r.err != "" {
				if err == nil || !strings.Contains(err.Error(), r.err) {
					t.Fatalf("got %v, want %q", err, r.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sortKeys(keys)
			p := rotation{}.plan(keys, "ES256", noon.Add(time.Minute))
			if len(keys) != r.count || keys[p.signing].id != r.signs.id {
				t.Errorf("%d keys, of which %q signs, want %d and %q", len(keys), keys[p.signing].id, r.count, r.signs.id)
			}
		})
	}
}

func pemOf(t *testing.T, k *signingKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// The thumbprint of RFC 7638 §3.1.
func TestThumbprint(t *testing.T) {
	n := "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	b, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newSigningKey(fakeRSA{&rsa.PublicKey{N: new(big.Int).SetBytes(b), E: 65537}}, noon, noon)
	if err != nil || k.id != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("got %v, %v", k, err)
	}
}

// A fakeRSA has only its public half.
type fakeRSA struct{ public *rsa.PublicKey }

func (f fakeRSA) Public() crypto.PublicKey { return f.public }
func (f fakeRSA) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}
