package authn

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Revocations are the ids of tokens that are not to be believed any more, until they would
// have lapsed anyway. Other gateways' come by a RevocationFeed. A nil one has none.
type Revocations struct {
	some atomic.Bool // the common request looks no further

	mu   sync.RWMutex
	ids  map[string]time.Time // when the token lapses
	many int                  // ids at which lapsed ones are looked for
	feed RevocationFeed
}

// A RevocationFeed shares revocations among gateways.
type RevocationFeed interface {
	// Publish tells the others. An error says that they may not know.
	Publish(ctx context.Context, id string, until time.Time) error
}

// maxRevocations bounds the memory that revocations take. Nobody revokes so many within
// the life of a token.
const maxRevocations = 1 << 20

// NewRevocations returns none. feed may be nil.
func NewRevocations(feed RevocationFeed) *Revocations {
	return &Revocations{ids: map[string]time.Time{}, feed: feed}
}

// Has reports whether the token of that id was revoked. Budget: 0 allocs.
func (r *Revocations) Has(id string) bool {
	if r == nil || !r.some.Load() {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, revoked := r.ids[id]
	return revoked
}

// Revoke refuses the token of that id from now on, here at once, and has the others told.
func (r *Revocations) Revoke(ctx context.Context, id string, until, now time.Time) error {
	r.Note(id, until, now)
	if r.feed == nil {
		return nil
	}
	return r.feed.Publish(ctx, id, until)
}

// all returns what is not to be believed at now, and when each lapses.
func (r *Revocations) all(now time.Time) map[string]time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make(map[string]time.Time, len(r.ids))
	for id, until := range r.ids {
		if now.Before(until) {
			list[id] = until
		}
	}
	return list
}

// Note takes up a revocation, of whichever gateway, and forgets those that have lapsed.
func (r *Revocations) Note(id string, until, now time.Time) {
	if id == "" || !now.Before(until) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ids) >= r.many {
		maps.DeleteFunc(r.ids, func(_ string, lapses time.Time) bool { return !now.Before(lapses) })
		r.many = max(1<<10, 2*len(r.ids))
	}
	if len(r.ids) >= maxRevocations {
		for other := range r.ids { // any of them
			delete(r.ids, other)
			break
		}
	}
	r.ids[id] = until
	r.some.Store(true)
}
