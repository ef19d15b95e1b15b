package authn

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

func keyOf(n uint64) *cacheKey {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return &cacheKey{credential: sha256.Sum256(b[:])}
}

func TestCache(t *testing.T) {
	c := NewCache(0)
	id := &Identity{Subject: "alice"}
	if c.get(keyOf(1), midday) != nil {
		t.Error("something is known of nobody")
	}
	first := c.put(keyOf(1), Verified{Identity: id}, midday, midday.Add(time.Minute))
	if got := c.get(keyOf(1), midday); got == nil || got.Identity != id {
		t.Errorf("got %+v", got)
	}
	if got := c.put(keyOf(1), Verified{Identity: &Identity{}}, midday, time.Time{}); got != first {
		t.Error("two who came at once do not share what hangs on the identity")
	}
	for _, other := range []*cacheKey{keyOf(2), {credential: keyOf(1).credential, generation: 1}, {credential: keyOf(1).credential, policy: [sha256.Size]byte{1}}} {
		if c.get(other, midday) != nil {
			t.Errorf("%+v is known", other)
		}
	}
	if c.get(keyOf(1), midday.Add(time.Minute-1)) == nil || c.get(keyOf(1), midday.Add(time.Minute)) != nil {
		t.Error("it does not lapse with its token")
	}
	c.put(keyOf(3), Verified{Identity: id}, midday, time.Time{})
	if c.get(keyOf(3), midday.Add(cacheAge-1)) == nil || c.get(keyOf(3), midday.Add(cacheAge)) != nil {
		t.Error("it is not looked at again once it is old")
	}
	if again := c.put(keyOf(1), Verified{Identity: id}, midday.Add(time.Minute), time.Time{}); again == first || c.get(keyOf(1), midday.Add(time.Minute)) != again {
		t.Error("what lapsed is in the way")
	}
	if hits, misses := c.Counts(); hits != 4 || misses != 6 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	if off := NewCache(-1); off.put(keyOf(1), Verified{Identity: id}, midday, time.Time{}) == nil || off.len() > 0 {
		t.Error("a cache of nothing remembers")
	}
}

// What is asked for stays; what was shown once goes.
func TestCacheKeepsWhatIsUsed(t *testing.T) {
	c := NewCache(2 * cacheShards * 64 << 10)
	const busy = 64
	for n := range uint64(20_000) {
		c.put(keyOf(n+1000), Verified{Identity: &Identity{}}, midday, time.Time{})
		if n < busy {
			c.put(keyOf(n), Verified{Identity: &Identity{}}, midday, time.Time{})
		}
		if n%100 == 0 {
			for b := range uint64(busy) {
				c.get(keyOf(b), midday)
			}
		}
	}
	kept := 0
	for b := range uint64(busy) {
		if c.get(keyOf(b), midday) != nil {
			kept++
		}
	}
	if kept < busy-1 {
		t.Errorf("%d of %d that are asked for all the time are known", kept, busy)
	}
	for i := range c.shards {
		if s := &c.shards[i]; s.size > s.limit || s.size < 0 {
			t.Errorf("shard %d takes %d of %d bytes", i, s.size, s.limit)
		}
	}
}

// A million tokens shown once take no more than the cache may, what the collector leaves
// among it, and so do the tokens that are minted for them.
func TestCacheIsBounded(t *testing.T) {
	for _, row := range []struct {
		name   string
		tokens int
		mints  bool
		least  int // that are known in the end
	}{{"verified", 1_000_000, false, 2000}, {"minted", 60_000, true, 1000}} {
		t.Run(row.name, func(t *testing.T) {
			if raceEnabled || testing.Short() {
				row.tokens /= 20
			}
			limit := int64(16 << 20)
			d, _, _ := issuerDeps(t)
			d.Cache, d.Namespace = NewCache(limit), "ambassador"
			j := newTestFilter(t, d, &config.JWTFilter{ValidAlgorithms: []string{none}, Inject: []config.HeaderTemplate{{Name: "X-User", Value: "{{ .token.sub }}"}}}, nil)
			f := mintFilter()
			f.Mint.Algorithm = "EdDSA"
			m := minter(t, d, f)
			header := "Bearer " + b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "."
			before := heap()
			for n := range row.tokens {
				payload := fmt.Sprintf(`{"sub":"user-%d","iss":"https://id.example.com","aud":["api","web"],"scope":"read write","groups":["a","b","c"],"exp":4102444800}`, n)
				c := callOf("authorization", header+b64([]byte(payload))+".")
				c.Service, c.Peer = serviceA, &wire.Peer{}
				if j.Filter(c) != Allow || row.mints && m.Mint(c) != Allow {
					t.Fatalf("%+v", c.Reply)
				}
			}
			grown, counted := heap()-before, d.Cache.size()
			t.Logf("%d tokens: the heap grew by %d KiB, which count as %d, for a cache of %d KiB that knows %d", row.tokens, grown>>10, counted>>10, limit>>10, d.Cache.len())
			if counted > living(limit) || grown > counted*5/4 {
				t.Errorf("the heap grew by %d bytes, which count as %d, for a cache in which %d may live", grown, counted, living(limit))
			}
			if n := d.Cache.len(); n < row.least {
				t.Errorf("only %d tokens are known", n)
			}
			runtime.KeepAlive(j)
		})
	}
}

// size is what is counted of all that is remembered.
func (c *Cache) size() (n int64) {
	for i := range c.shards {
		n += c.shards[i].size
	}
	return n
}

// What hangs on an identity counts as long as it is remembered, and no longer.
func TestCacheCountsWhatGrows(t *testing.T) {
	c := NewCache(0)
	id, stranger := &Identity{}, &Identity{}
	c.put(keyOf(1), Verified{Identity: id}, midday, midday.Add(time.Minute))
	alone := c.size()
	line := wire.Add{Value: make([]byte, 1000)}
	id.grew(id.minted.put(&mintedToken{profile: &profile{id: "a"}, line: line, expires: midday.Add(time.Hour)}, midday), midday)
	one := c.size() - alone
	if one < 1000 || one > 2000 {
		t.Errorf("a minted token counts as %d bytes", one)
	}
	id.grew(id.minted.put(&mintedToken{profile: &profile{id: "a"}, line: line, expires: midday.Add(time.Hour)}, midday), midday)
	if got := c.size() - alone; got != one {
		t.Errorf("one in its place: %d bytes, want %d", got, one)
	}
	id.grew(id.told.put(&telling{lines: []wire.Add{line}}), midday)
	if got := c.size() - alone - one; got < 1000 || got > 2000 {
		t.Errorf("what a requirement made counts as %d bytes", got)
	}
	stranger.grew(stranger.told.put(&telling{lines: []wire.Add{line}}), midday)
	before := c.size()
	c.put(keyOf(1), Verified{Identity: &Identity{}}, midday.Add(time.Minute), time.Time{})
	id.grew(id.told.put(&telling{policy: [sha256.Size]byte{1}, lines: []wire.Add{line}}), midday)
	if got := c.size() - before; got != alone {
		t.Errorf("%d bytes more once another one is remembered in its place, want %d", got, alone)
	}
}

// heap is what is in use once garbage is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// anyClaims are claims as an identity provider writes them.
const anyClaims = `{"iss":"https://id.example.com/realms/shop","sub":"248289761001","aud":["api","account"],"exp":4102444800,"iat":1516239022,"jti":"d1f6a6e0-7f0f-4c8e-9a0b-0e8f6a3f9b7c",` +
	`"azp":"web","scope":"openid profile email","name":"Alice Example","email":"alice@example.com","email_verified":true,"permissions":["read","write"],"realm_access":{"roles":["user","admin"]}}`

// cachedCall is a request that a filter has seen the token of, and the filter.
func cachedCall(t testing.TB) (*jwtFilter, *Call) {
	t.Helper()
	i := newIssuer(t, jwks("ec"))
	d, _, _ := issuerDeps(t)
	j := newTestFilter(t, d, &config.JWTFilter{JWKSURI: i.URL, Issuer: "https://id.example.com/realms/shop", Audiences: []string{"api"}, Inject: []config.HeaderTemplate{
		{Name: "X-User-ID", Value: "{{ .token.sub }}"}, {Name: "X-User-Permissions", Value: "{{ .token.permissions }}"},
	}}, nil)
	c := callOf("authorization", "Bearer "+es256(anyClaims), "x-user-id", "root")
	if j.Filter(c) != Allow {
		t.Fatalf("%+v", c.Reply)
	}
	return j, c
}

func TestAllocsCachedToken(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	j, c := cachedCall(t)
	if n := testing.AllocsPerRun(1000, func() {
		c.Edits.Reset()
		c.Identity = nil
		if j.Filter(c) != Allow {
			t.Fatal("refused")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCachedToken(b *testing.B) {
	j, c := cachedCall(b)
	b.ReportAllocs()
	for b.Loop() {
		c.Edits.Reset()
		if j.Filter(c) != Allow {
			b.Fatal("refused")
		}
	}
}

func BenchmarkFirstSight(b *testing.B) {
	for _, row := range []struct{ alg, key string }{{"ES256", "ec"}, {"RS256", "rsa"}, {"EdDSA", "ed"}} {
		b.Run(row.alg, func(b *testing.B) {
			i := newIssuer(b, jwks("ec", "rsa", "ed"))
			d, _, _ := issuerDeps(b)
			d.Cache = NewCache(-1)
			j := newTestFilter(b, d, &config.JWTFilter{JWKSURI: i.URL, Inject: []config.HeaderTemplate{{Name: "X-User-ID", Value: "{{ .token.sub }}"}}}, nil)
			c := callOf("authorization", "Bearer "+signedBy(row.alg, row.key, fmt.Sprintf(`{"alg":%q,"kid":%q}`, row.alg, row.key), anyClaims))
			b.ReportAllocs()
			for b.Loop() {
				c.Edits.Reset()
				if j.Filter(c) != Allow {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkFirstRequest is the first request of a client whose token nobody has seen: it is
// verified, and a token is minted. It tells the processor's time, as others may be at
// work too.
func BenchmarkFirstRequest(b *testing.B) {
	i := newIssuer(b, jwks("ec"))
	d, _, _ := issuerDeps(b)
	d.Cache, d.Namespace = NewCache(-1), "ambassador"
	j := newTestFilter(b, d, &config.JWTFilter{JWKSURI: i.URL, Inject: []config.HeaderTemplate{{Name: "X-User-ID", Value: "{{ .token.sub }}"}}}, nil)
	m := minter(b, d, mintFilter())
	c := callOf("authorization", "Bearer "+es256(anyClaims))
	c.Service, c.Peer = serviceA, &wire.Peer{}
	b.ReportAllocs()
	begun := processorTime(b)
	for b.Loop() {
		c.Edits.Reset()
		c.Identity = nil
		if j.Filter(c) != Allow || m.Mint(c) != Allow {
			b.Fatalf("refused: %+v", c.Reply)
		}
	}
	b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

// BenchmarkECDSA is what of BenchmarkFirstRequest nobody can do without: one signature
// verified and one made.
func BenchmarkECDSA(b *testing.B) {
	k, ok := testKeys()["ec"].(*ecdsa.PrivateKey)
	if !ok {
		b.Fatal("no key")
	}
	digest := sha256.Sum256([]byte(anyClaims))
	begun := processorTime(b)
	for b.Loop() {
		sig, err := ecdsa.SignASN1(rand.Reader, k, digest[:])
		if err != nil || !ecdsa.VerifyASN1(&k.PublicKey, digest[:], sig) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

// processorTime is how long this process has computed.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkRefusal(b *testing.B) {
	j, _ := cachedCall(b)
	c := callOf()
	b.ReportAllocs()
	for b.Loop() {
		if j.Filter(c) != Deny || c.Reply.Reason != decision.TokenMissing {
			b.Fatal("allowed")
		}
	}
}
