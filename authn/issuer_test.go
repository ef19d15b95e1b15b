package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"legate/config"
	"legate/wire"
)

// midday is when tests about tokens take place.
var midday = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() map[string]any {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	keys := map[string]any{
		"rsa": rsaKey, "ed": edKey,
		"oct": []byte("an HMAC key of sixty-four bytes, as long as the longest digest is"),
	}
	for name, curve := range map[string]elliptic.Curve{"ec": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521(), "stranger": elliptic.P256()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[name] = k
	}
	return keys
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf returns the test key called name as a key set publishes it.
func jwkOf(name, kid string) map[string]any {
	j := map[string]any{"kid": kid, "use": "sig"}
	switch k := testKeys()[name].(type) {
	case *rsa.PrivateKey:
		j["kty"], j["n"], j["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		j["kty"], j["crv"], j["x"], j["y"] = "EC", k.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PrivateKey:
		j["kty"], j["crv"], j["x"] = "OKP", "Ed25519", b64(k.Public().(ed25519.PublicKey))
	case []byte:
		j["kty"], j["k"] = "oct", b64(k)
	}
	return j
}

// jwks is a key set of the test keys called names; each one's id is its name.
func jwks(names ...string) string {
	list := []any{}
	for _, n := range names {
		list = append(list, jwkOf(n, n))
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// signedBy returns the token of a header and a payload, signed by alg with the test key
// called name.
func signedBy(alg, name, header, payload string) string {
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	return text + "." + b64(signature(alg, testKeys()[name], text))
}

func signature(alg string, k any, text string) []byte {
	if ed, ok := k.(ed25519.PrivateKey); ok {
		k = crypto.Signer(ed)
	}
	sig, err := jwt.GetSigningMethod(alg).Sign(text, k)
	if err != nil {
		panic(err)
	}
	return sig
}

// es256 returns a token with these claims that the key "ec" signed.
func es256(claims string) string {
	return signedBy("ES256", "ec", `{"alg":"ES256","kid":"ec"}`, claims)
}

// A testIssuer publishes a key set.
type testIssuer struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex
	serve func(w http.ResponseWriter, r *http.Request)
}

// newIssuer publishes keys until it is told otherwise.
func newIssuer(t testing.TB, keys string) *testIssuer {
	t.Helper()
	i := &testIssuer{}
	i.publish(keys)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		serve := i.serve
		i.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) publish(keys string) {
	i.answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, keys) })
}

func (i *testIssuer) answer(serve func(w http.ResponseWriter, r *http.Request)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serve = serve
}

// tallies count what happens, by label.
type tallies struct {
	mu sync.Mutex
	by map[string]*tally
}

type tally struct{ n atomic.Uint64 }

func (t *tally) Add() { t.n.Add(1) }

func (m *tallies) of(labels ...string) *tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(labels, " ")
	if m.by == nil {
		m.by = map[string]*tally{}
	}
	if m.by[key] == nil {
		m.by[key] = &tally{}
	}
	return m.by[key]
}

func (m *tallies) Verified(filter, outcome string) Counter  { return m.of("verified", filter, outcome) }
func (m *tallies) Refreshed(issuer, outcome string) Counter { return m.of("refreshed", outcome) }
func (m *tallies) Minted(filter string) Counter             { return m.of("minted", filter) }
func (m *tallies) Outcome(outcome string) Counter           { return m.of("external", outcome) }
func (m *tallies) Status(status int) Counter                { return m.of("external", strconv.Itoa(status)) }

// A testClock is a time that tests set.
type testClock struct{ now atomic.Pointer[time.Time] }

func newClock(at time.Time) *testClock {
	c := &testClock{}
	c.now.Store(&at)
	return c
}

func (c *testClock) Now() time.Time { return *c.now.Load() }

func (c *testClock) forward(d time.Duration) {
	at := c.Now().Add(d)
	c.now.Store(&at)
}

// issuerDeps are Deps that connect for real, at midday.
func issuerDeps(t testing.TB) (*Deps, *testClock, *tallies) {
	t.Helper()
	clock, counts := newClock(midday), &tallies{}
	return &Deps{
		Dial:    (&net.Dialer{}).DialContext,
		Clock:   clock.Now,
		Log:     slog.New(slog.DiscardHandler),
		Metrics: counts,
		Random:  rand.Reader,
		Cache:   NewCache(0),
	}, clock, counts
}

// callOf is a request with these fields: name, value, name, value…
func callOf(fields ...string) *Call {
	h := &wire.Head{}
	h.BuildRequest("GET", "api.example.com", "/api/x?secret=1", fields...)
	return &Call{Head: h, Edits: &wire.Edits{}, ToClient: &wire.Edits{}, Path: []byte("/api/x"), RequestID: []byte("id-1"), Now: midday}
}

// upstreamField returns the fields of one name that the upstream gets of c.
func upstreamField(c *Call, name string) (values []string) {
	for i := range c.Head.Len() {
		if id, n, v := c.Head.Line(i); string(n) == name && !c.Edits.Drops(id, n) {
			values = append(values, string(v))
		}
	}
	for _, a := range c.Edits.Adds() {
		if a.FieldName() == name {
			values = append(values, string(a.Value))
		}
	}
	return values
}

// replyField returns a field of c's reply, "" for none.
func replyField(c *Call, name string) string {
	for _, h := range c.Reply.Headers {
		if h.FieldName() == name {
			return string(h.Value)
		}
	}
	return ""
}

// newTestFilter makes the JWT Filter shop/api with started key sets.
func newTestFilter(t testing.TB, d *Deps, c *config.JWTFilter, args *config.Arguments) *jwtFilter {
	t.Helper()
	sets := newKeySets(d, nil)
	j, err := newJWT("Filter shop/api", "api.shop", c, args, sets, d)
	if err != nil {
		t.Fatal(err)
	}
	sets.start()
	t.Cleanup(func() { sets.retire(nil) })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	sets.ready(ctx)
	return j
}
