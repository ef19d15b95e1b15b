package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"
)

// An issuer is an identity provider as far as its keys go.
type issuer struct {
	url string
	mu  sync.Mutex
	key *ecdsa.PrivateKey
	id  string // of key
}

func startIssuer(t testing.TB) *issuer {
	t.Helper()
	i := newIssuer(t)
	i.url = "http://" + serve(t, i)
	return i
}

// newIssuer makes an issuer that serves nowhere yet.
func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{}
	i.rotate(t, "k")
	return i
}

// rotate puts another key in the place of the one that there was.
func (i *issuer) rotate(t testing.TB, id string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.id = key, id
}

// ServeHTTP answers with a discovery document at its address, and with keys at every other.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
		return
	}
	keys, err := i.keys()
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(keys) // who left needs none
}

// keySet is what the issuer publishes.
func (i *issuer) keySet(t testing.TB) []byte {
	t.Helper()
	keys, err := i.keys()
	must(t, err)
	return keys
}

func (i *issuer) keys() ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": i.id, "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])},
	}})
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token signs claims beside those that every good token has.
func (i *issuer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": i.url, "aud": "my-client", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	must(t, err)
	return i.sign(t, string(payload))
}

// sign returns the token of a payload.
func (i *issuer) sign(t testing.TB, payload string) string {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	return signedWith(t, i.key, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, i.id), payload)
}

// signedWith returns the token of a header and a payload that key signed by ES256.
func signedWith(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	token, err := sign(key, header, payload)
	must(t, err)
	return token
}

func sign(key *ecdsa.PrivateKey, header, payload string) (token string, err error) {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + b64(append(padded(r), padded(s)...)), nil
}

func padded(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }
