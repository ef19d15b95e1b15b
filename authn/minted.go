package authn

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"legate/wire"
)

// A mintedToken is a token that was made for an identity, ready to be sent. It is not
// changed.
type mintedToken struct {
	profile  *profile
	client   netip.Addr // that is written into it; zero for none
	key      string     // that signed it
	jti      string
	line     wire.Add // the Authorization field that carries it
	renew    time.Time
	expires  time.Time
	renewing atomic.Bool // somebody makes the next one
}

// maxMinted bounds how many tokens are kept with one identity: a user has to do with few
// services at a time.
const maxMinted = 16

// A mintedSlot keeps the tokens that were made for an identity, the latest last.
type mintedSlot struct {
	list atomic.Pointer[[]*mintedToken]
}

// find returns the token that was made for p and client, nil for none.
// Budget: 0 allocs.
func (s *mintedSlot) find(p *profile, client netip.Addr) *mintedToken {
	list := s.list.Load()
	if list == nil {
		return nil
	}
	for _, t := range *list {
		if (t.profile == p || t.profile.id == p.id) && t.client == client {
			return t
		}
	}
	return nil
}

// weight is how many bytes t takes.
func (t *mintedToken) weight() int64 { return mintedCost + room(len(t.line.Value)) + room(len(t.jti)) }

func weightOf[T interface{ weight() int64 }](list []T) (n int64) {
	for _, t := range list {
		n += t.weight()
	}
	return n
}

// put keeps t in the place of the one that it renews, and returns how many bytes more than
// before that takes.
func (s *mintedSlot) put(t *mintedToken, now time.Time) (grown int64) {
	for {
		old := s.list.Load()
		var next []*mintedToken
		grown = 0
		if old != nil {
			grown = -weightOf(*old)
			next = slices.DeleteFunc(slices.Clone(*old), func(o *mintedToken) bool {
				return !now.Before(o.expires) || o.profile.id == t.profile.id && o.client == t.client
			})
		}
		if len(next) >= maxMinted {
			next = slices.Delete(next, 0, len(next)-maxMinted+1)
		}
		next = append(next, t)
		if s.list.CompareAndSwap(old, &next) {
			return grown + weightOf(next)
		}
	}
}
