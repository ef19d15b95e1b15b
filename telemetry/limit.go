package telemetry

import "sync"

// A LimitMetrics counts what one rate limit said of requests.
type LimitMetrics struct {
	Allowed Counter // within the limit
	Limited Counter // refused
	Logged  Counter // over a limit that only logs
	Near    Counter // within the limit, and near it
	Cached  Counter // refused without asking the store
}

// limits are the counters of all rate limits, by their names.
type limits struct {
	storeErrors Counter

	mu     sync.Mutex
	byName map[string]*LimitMetrics
}

// Limit returns the counters of the rate limit called name, the same ones every time
// until KeepLimits drops them. Meant for when limits are compiled.
func (m *Metrics) Limit(name string) *LimitMetrics {
	l := &m.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.byName[name]
	if c == nil {
		c = &LimitMetrics{}
		if l.byName == nil {
			l.byName = map[string]*LimitMetrics{}
		}
		l.byName[name] = c
	}
	return c
}

// KeepLimits drops the counters of every limit that is not named.
func (m *Metrics) KeepLimits(names []string) {
	m.limits.mu.Lock()
	defer m.limits.mu.Unlock()
	keep(m.limits.byName, names)
}

// LimitStoreFailed counts a request whose limits could not be asked for.
func (m *Metrics) LimitStoreFailed() { m.limits.storeErrors.Add() }

// LimitStoreFailures returns how many there were.
func (m *Metrics) LimitStoreFailures() uint64 { return m.limits.storeErrors.Value() }

var (
	limitsDesc      = describe("ratelimit_total", "Requests that count in a rate limit, by what it said: allowed, limited, or logged where it only logs.", "limit", "outcome")
	storeErrorsDesc = describe("ratelimit_store_errors_total", "Requests whose rate limits could not be asked for in time.")

	// The names of Envoy's own service.
	totalHitsDesc = newFamily("ratelimit_total_hits", "Requests that count in a rate limit.", "limit")
	overLimitDesc = newFamily("ratelimit_over_limit", "Requests over a rate limit.", "limit")
	nearLimitDesc = newFamily("ratelimit_near_limit", "Requests within a rate limit and near it.", "limit")
	overCacheDesc = newFamily("ratelimit_over_limit_with_local_cache", "Requests over a rate limit by what was remembered of its store.", "limit")
)

// collect emits everything.
func (l *limits) collect(out sink) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out.counter(storeErrorsDesc, l.storeErrors.Value())
	for name, c := range l.byName {
		allowed, limited, logged := c.Allowed.Value(), c.Limited.Value(), c.Logged.Value()
		out.counter(limitsDesc, allowed, name, "allowed")
		out.counter(limitsDesc, limited, name, "limited")
		out.counter(limitsDesc, logged, name, "logged")
		out.counter(totalHitsDesc, allowed+limited+logged, name)
		out.counter(overLimitDesc, limited+logged, name)
		out.counter(nearLimitDesc, c.Near.Value(), name)
		out.counter(overCacheDesc, c.Cached.Value(), name)
	}
}
