package authn

import (
	"crypto/sha256"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"legate/wire"
)

// A cacheKey stands for one credential as one policy judges it with the keys of one
// moment. What one policy believes says nothing to another.
type cacheKey struct {
	credential [sha256.Size]byte
	policy     [sha256.Size]byte // of everything that the policy asks
	generation uint64            // of the key set
}

// A Verified is what is kept of a credential that held.
type Verified struct {
	Identity *Identity
	Lines    []wire.Add // headers that speak of the identity, ready
}

const (
	cacheShards = 64
	// cacheAge is how long a credential is believed without another look: what has
	// changed about its issuer but for its keys is noticed after so long.
	cacheAge = 10 * time.Minute
	// DefaultCacheBytes is how much memory verified credentials take at most.
	DefaultCacheBytes = 64 << 20
)

// A Cache remembers credentials that held, so that the next request with one costs a hash
// and a look. Failures are not remembered. It is bounded by the memory that it takes, with
// what the collector lets lie about; the ones not asked for since the last round go first.
// nil remembers nothing.
type Cache struct {
	shards       [cacheShards]cacheShard
	hits, misses atomic.Uint64
}

type cacheShard struct {
	mu      sync.RWMutex
	entries map[cacheKey]*cacheEntry
	size    int64
	limit   int64
	// The entries in the order in which they are looked at when there is too much.
	first, last *cacheEntry
	_           [64]byte // shards are locked by different cores
}

type cacheEntry struct {
	Verified
	key     cacheKey
	expires time.Time
	cost    int64 // grows with what hangs on the identity; of the shard's lock
	shard   *cacheShard
	used    atomic.Bool // since it was last looked at
	next    *cacheEntry
}

// NewCache returns a cache by which the process grows by so many bytes at most; 0 for the
// default, less than 0 for none.
func NewCache(bytes int64) *Cache {
	if bytes == 0 {
		bytes = DefaultCacheBytes
	}
	c := &Cache{}
	for i := range c.shards {
		c.shards[i].entries, c.shards[i].limit = map[cacheKey]*cacheEntry{}, living(bytes)/cacheShards
	}
	return c
}

// living is how much of so many bytes may be in use: the collector lets a heap grow by
// GOGC percent beyond that, and what it comes too late for and holes take three eighths, as measured.
func living(bytes int64) int64 {
	const off = 10_000 // percent; nobody has so much but who turned it off, and set GOMEMLIMIT
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	percent := int64(100)
	if v := sample[0].Value; v.Kind() == metrics.KindUint64 && v.Uint64() < off {
		percent = int64(v.Uint64()) //nolint:gosec // because it is less than off
	}
	return bytes / 8 * 5 / (100 + percent) * 100
}

// Counts returns how often a credential was found, and how often it was not.
func (c *Cache) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

func (c *Cache) shard(k *cacheKey) *cacheShard { return &c.shards[k.credential[0]%cacheShards] }

// get returns what is known of k at now, nil for nothing. Budget: 0 allocs.
func (c *Cache) get(k *cacheKey, now time.Time) *Verified {
	if c == nil {
		return nil
	}
	s := c.shard(k)
	s.mu.RLock()
	e := s.entries[*k]
	s.mu.RUnlock()
	if e == nil || !now.Before(e.expires) {
		c.misses.Add(1)
		return nil
	}
	if !e.used.Load() { // written once, so that readers do not take the line from one another
		e.used.Store(true)
	}
	c.hits.Add(1)
	return &e.Verified
}

// put remembers v until lapse, zero for as long as anything is. It returns what get will:
// v, or what was put for k meanwhile.
func (c *Cache) put(k *cacheKey, v Verified, now, lapse time.Time) *Verified {
	if c == nil {
		return &v
	}
	expires := now.Add(cacheAge)
	if !lapse.IsZero() && lapse.Before(expires) {
		expires = lapse
	}
	s := c.shard(k)
	e := &cacheEntry{Verified: v, key: *k, expires: expires, cost: cost(&v), shard: s}
	if e.cost > s.limit/4 {
		return &e.Verified // one shard is not for one entry
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.entries[*k]; there != nil && now.Before(there.expires) {
		return &there.Verified // of two requests at once: both share what hangs on the identity
	}
	v.Identity.entry.Store(e)
	s.entries[*k] = e
	s.size += e.cost
	s.queue(e)
	s.evict(now)
	return &e.Verified
}

// grew notes that what hangs on id takes n bytes more than before.
func (id *Identity) grew(n int64, now time.Time) {
	e := id.entry.Load()
	if e == nil {
		return // nobody remembers it
	}
	s := e.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.key] != e {
		return // not any more
	}
	e.cost += n
	s.size += n
	s.evict(now)
}

// queue puts e last.
func (s *cacheShard) queue(e *cacheEntry) {
	e.next = nil
	if s.last == nil {
		s.first, s.last = e, e
		return
	}
	s.last.next, s.last = e, e
}

// evict drops entries until the shard is within its limit. One that was used since it was
// last looked at gets another round.
func (s *cacheShard) evict(now time.Time) {
	for s.size > s.limit && s.first != nil {
		e := s.first
		if s.first = e.next; s.first == nil {
			s.last = nil
		}
		current := s.entries[e.key] == e
		if current && now.Before(e.expires) && e.used.Swap(false) {
			s.queue(e)
			continue
		}
		s.size -= e.cost
		if current {
			delete(s.entries, e.key)
		}
	}
}

// len returns how many credentials are remembered.
func (c *Cache) len() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}

// What things take, in bytes, as the allocator rounds them up.
const (
	entryCost  = 640 // an entry and its place in the map, which is half empty at times; an identity; a token
	boxCost    = 16  // a text in an interface
	lineCost   = 64  // a header's line without its value
	mintedCost = 240 // a minted token without its line, and its place in the list
	tellCost   = 160 // a telling without its lines
)

// room is what so many bytes take.
func room(n int) int64 { return int64(n + n/8 + 8) }

// cost is how many bytes v takes, without what will hang on its identity.
func cost(v *Verified) int64 {
	n := int64(entryCost) + linesCost(v.Lines)
	for _, t := range []*Token{v.Identity.Token, v.Identity.IDToken} {
		if t != nil {
			n += room(len(t.Raw)) + weigh(t.Header) + weigh(t.Claims)
		}
	}
	return n
}

func linesCost(lines []wire.Add) (n int64) {
	for _, l := range lines {
		n += lineCost + room(len(l.Value))
	}
	return n
}

// weigh is how many bytes a value of JSON takes, with its share of the text that it was
// read from.
func weigh(value any) int64 {
	const punctuation = 6
	switch v := value.(type) {
	case string:
		return boxCost + int64(len(v)) + int64(len(v))/8
	case []any:
		n := int64(24 + boxCost*len(v))
		for _, item := range v {
			n += punctuation/2 + weigh(item)
		}
		return n
	case map[string]any:
		n := mapCost(len(v))
		for name, item := range v {
			n += int64(len(name)) + punctuation + weigh(item)
		}
		return n
	}
	return boxCost // a number, and its digits; a word
}

// mapCost is what a map of n names and values takes without these: it has room for eight,
// or for a power of two, of which an eighth stays free.
func mapCost(n int) int64 {
	const head, group = 48, 288
	if n <= 8 {
		return head + group
	}
	groups := int64(2)
	for groups*7 < int64(n) {
		groups *= 2
	}
	return 2*head + groups*group
}
