package authn

import (
	"crypto/sha256"
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
// and a look. Failures are not remembered. It is bounded by the memory that it takes; the
// ones not asked for since the last round go first. nil remembers nothing.
type Cache struct {
	shards       [cacheShards]cacheShard
	limit        int64 // of one shard
	hits, misses atomic.Uint64
}

type cacheShard struct {
	mu      sync.RWMutex
	entries map[cacheKey]*cacheEntry
	size    int64
	// The entries in the order in which they are looked at when there is too much.
	first, last *cacheEntry
	_           [64]byte // shards are locked by different cores
}

type cacheEntry struct {
	Verified
	key     cacheKey
	expires time.Time
	cost    int64
	used    atomic.Bool // since it was last looked at
	next    *cacheEntry
}

// NewCache returns a cache that takes about so many bytes at most; 0 for the default, less
// than 0 for none.
func NewCache(bytes int64) *Cache {
	if bytes == 0 {
		bytes = DefaultCacheBytes
	}
	c := &Cache{limit: bytes / cacheShards}
	for i := range c.shards {
		c.shards[i].entries = map[cacheKey]*cacheEntry{}
	}
	return c
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
	e := &cacheEntry{Verified: v, key: *k, expires: expires, cost: cost(&v)}
	if e.cost > c.limit/4 {
		return &e.Verified // one shard is not for one entry
	}
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.entries[*k]; there != nil && now.Before(there.expires) {
		return &there.Verified // of two requests at once: both share what hangs on the identity
	}
	s.entries[*k] = e
	s.size += e.cost
	s.queue(e)
	s.evict(c.limit, now)
	return &e.Verified
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

// evict drops entries until the shard is within limit. One that was used since it was
// last looked at gets another round.
func (s *cacheShard) evict(limit int64, now time.Time) {
	for s.size > limit && s.first != nil {
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

// What things take, roughly: an entry with its key in the map, which is grown twice over,
// an identity with its token and what hangs on it, and a value of decoded JSON.
const (
	entryCost = 900
	valueCost = 64
)

// cost is about how many bytes v takes.
func cost(v *Verified) int64 {
	n := int64(entryCost)
	for _, l := range v.Lines {
		n += int64(len(l.Value)) + valueCost
	}
	for _, t := range []*Token{v.Identity.Token, v.Identity.IDToken} {
		if t != nil {
			n += int64(len(t.Raw)+len(t.Signature)) + weigh(t.Header) + weigh(t.Claims)
		}
	}
	return n
}

// weigh is about how many bytes a value of decoded JSON takes.
func weigh(value any) int64 {
	n := int64(valueCost)
	switch v := value.(type) {
	case string:
		n += int64(len(v))
	case []any:
		for _, item := range v {
			n += weigh(item)
		}
	case map[string]any:
		n += 4 * valueCost
		for name, item := range v {
			n += int64(len(name)) + weigh(item)
		}
	}
	return n
}
