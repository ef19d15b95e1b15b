package telemetry

import (
	"maps"
	"time"
)

type verifiedKey struct{ filter, outcome string }

type refreshKey struct{ issuer, outcome string }

// tokenMetrics count what happens to credentials. The mutex of Metrics guards the maps.
type tokenMetrics struct {
	verified  map[verifiedKey]*Counter
	refreshed map[refreshKey]*Counter
	minted    map[string]*Counter
	cached    func() (hits, misses uint64) // nil for none
	signing   func() (time.Duration, bool) // nil for none
}

// counterOf returns the counter of key, the same one every time.
func counterOf[K comparable](m *Metrics, all *map[K]*Counter, key K) *Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *all == nil {
		*all = map[K]*Counter{}
	}
	c := (*all)[key]
	if c == nil {
		c = &Counter{}
		(*all)[key] = c
	}
	return c
}

// TokensVerified returns the counter of a filter's tokens that had one outcome.
func (m *Metrics) TokensVerified(filter, outcome string) *Counter {
	return counterOf(m, &m.tokens.verified, verifiedKey{filter, outcome})
}

// KeysRefreshed returns the counter of attempts at an issuer's key set that had one
// outcome.
func (m *Metrics) KeysRefreshed(issuer, outcome string) *Counter {
	return counterOf(m, &m.tokens.refreshed, refreshKey{issuer, outcome})
}

// TokensMinted returns the counter of the tokens that a filter made.
func (m *Metrics) TokensMinted(filter string) *Counter {
	return counterOf(m, &m.tokens.minted, filter)
}

// WatchTokens has cached asked, at every scrape, how often a credential was remembered and
// how often it was not.
func (m *Metrics) WatchTokens(cached func() (hits, misses uint64)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens.cached = cached
}

// WatchSigningKeys has age asked, at every scrape, for how long the oldest of the keys that
// sign has been known; false where none signs.
func (m *Metrics) WatchSigningKeys(age func() (time.Duration, bool)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens.signing = age
}

// collectTokens shows what happened to credentials.
func (c collector) collectTokens(out sink) {
	c.m.mu.Lock()
	t := tokenMetrics{maps.Clone(c.m.tokens.verified), maps.Clone(c.m.tokens.refreshed), maps.Clone(c.m.tokens.minted), c.m.tokens.cached, c.m.tokens.signing}
	c.m.mu.Unlock()
	for k, n := range t.verified {
		out.counter(verifiedDesc, n.Value(), k.filter, k.outcome)
	}
	for k, n := range t.refreshed {
		out.counter(refreshedDesc, n.Value(), k.issuer, k.outcome)
	}
	for filter, n := range t.minted {
		out.counter(mintedDesc, n.Value(), filter)
	}
	if t.cached != nil {
		hits, misses := t.cached()
		out.counter(cacheHitsDesc, hits)
		out.counter(cacheMissesDesc, misses)
	}
	if t.signing != nil {
		if age, ok := t.signing(); ok {
			out.gauge(signingAgeDesc, age.Seconds())
		}
	}
}
