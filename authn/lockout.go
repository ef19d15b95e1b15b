package authn

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// A lockout remembers whose passwords were wrong, by the user and by the address, and for
// how long no further one is looked at: after a few, ever longer.
type lockout struct {
	mu        sync.Mutex
	users     map[userKey]*strikes
	addresses map[netip.Prefix]*strikes
}

// A userKey stands for a name: whoever fails chooses that, and how long it is.
type userKey [sha256.Size]byte

func keyOfUser(name string) userKey { return sha256.Sum256([]byte(name)) }

// strikes are failures that follow one another.
type strikes struct {
	count int
	until time.Time // no password is looked at before
	last  time.Time
}

// How failures are answered. An address may be many people's.
const (
	freeForUser    = 5
	freeForAddress = 20
	firstPause     = time.Second // doubled by every further failure
	longestPause   = 15 * time.Minute
	forgiven       = time.Hour // after the last failure
	maxStrikes     = 100_000   // users, and addresses, that are remembered
)

func newLockout() *lockout {
	return &lockout{users: map[userKey]*strikes{}, addresses: map[netip.Prefix]*strikes{}}
}

// network is what counts as one address: of IPv6, one customer's network.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address is known
	}
	return p
}

// locked returns for how long still no password is looked at, 0 for not at all.
func (l *lockout) locked(user string, client netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.users[keyOfUser(user)].pause(now), l.addresses[network(client)].pause(now))
}

func (s *strikes) pause(now time.Time) time.Duration {
	if s == nil {
		return 0
	}
	return max(0, s.until.Sub(now))
}

// failed notes a password that was wrong.
func (l *lockout) failed(user string, client netip.Addr, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	strike(l.users, keyOfUser(user), freeForUser, now)
	strike(l.addresses, network(client), freeForAddress, now)
}

// passed forgets a user's failures. The address's stay: who knows one password may still
// be guessing others'.
func (l *lockout) passed(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.users, keyOfUser(user))
}

func strike[K comparable](all map[K]*strikes, k K, free int, now time.Time) {
	s := all[k]
	if s == nil || now.Sub(s.last) > forgiven {
		if len(all) >= maxStrikes {
			forgive(all, now)
		}
		s = &strikes{}
		all[k] = s
	}
	s.count++
	s.last = now
	if over := s.count - free; over >= 0 {
		pause := longestPause
		if over < 16 {
			pause = min(firstPause<<over, longestPause)
		}
		s.until = now.Add(pause)
	}
}

// forgive makes room: for who has not failed lately, or else for anybody.
func forgive[K comparable](all map[K]*strikes, now time.Time) {
	for k, s := range all {
		if now.Sub(s.last) > forgiven || len(all) >= maxStrikes && s.pause(now) == 0 {
			delete(all, k)
		}
	}
	for k := range all {
		if len(all) < maxStrikes {
			return
		}
		delete(all, k)
	}
}
