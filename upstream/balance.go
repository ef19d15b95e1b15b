package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"legate/config"
)

// A Choice says which endpoint a request would have. The zero value leaves it to the
// upstream.
type Choice struct {
	// Hash makes requests that have the same get the same endpoint, where the upstream
	// balances by hashes; 0 for none.
	Hash uint64
	// Avoid is the address of the endpoint that an earlier try had: another one is
	// taken if there is another.
	Avoid string
	// By is when the request ends for lack of time; zero for never.
	By time.Time
	// Gone is asked now and then, as long as a connection is waited for, whether nobody waits
	// for the request any more; nil for somebody does.
	Gone func() bool
}

// Hash turns what requests have in common into a Choice's Hash, the same in every
// process. Budget: 0 allocs.
func Hash(b []byte) uint64 {
	return max(xxhash.Sum64(b), 1)
}

// A balancer chooses among the endpoints that it was built for, of which there is at
// least one. It is built off the request path and not changed.
type balancer interface {
	pick(c Choice) *endpoint // Budget: 0 allocs
}

// newBalancer builds the balancer of a policy. turn outlives it.
func newBalancer(policy config.BalancePolicy, list []*endpoint, turn *atomic.Uint64) balancer {
	switch {
	case len(list) == 1:
		return only{list[0]}
	case policy == config.LeastRequest:
		return leastRequest{list}
	case policy == config.RingHash:
		return newRing(list)
	case policy == config.Maglev:
		return newMaglev(list)
	}
	return roundRobin{list, turn}
}

// only is the choice where there is none.
type only struct{ *endpoint }

// pick returns the endpoint. Budget: 0 allocs.
func (o only) pick(Choice) *endpoint { return o.endpoint }

// roundRobin takes one endpoint after the other.
type roundRobin struct {
	list []*endpoint
	turn *atomic.Uint64
}

// pick returns the endpoint whose turn it is. Budget: 0 allocs.
func (r roundRobin) pick(c Choice) *endpoint {
	return another(r.list, int(r.turn.Add(1)%uint64(len(r.list))), c.Avoid) //nolint:gosec // less than the list is long
}

// leastRequest takes, of two endpoints drawn at random, the one that has less to do.
type leastRequest struct{ list []*endpoint }

// pick returns the less busy of two. Budget: 0 allocs.
func (l leastRequest) pick(c Choice) *endpoint {
	i := rand.IntN(len(l.list))     //nolint:gosec // because chance spreads load and keeps no secret
	j := rand.IntN(len(l.list) - 1) //nolint:gosec // as above
	if j >= i {
		j++
	}
	a, b := l.list[i], l.list[j]
	switch c.Avoid {
	case a.text:
		return b
	case b.text:
		return a
	}
	if b.load() < a.load() {
		return b
	}
	return a
}

// another returns the endpoint that comes after list[i], or list[i] if there is no
// other.
func another(list []*endpoint, i int, avoid string) *endpoint {
	if e := list[i]; avoid == "" || e.text != avoid {
		return e
	}
	return list[(i+1)%len(list)]
}

// anyone returns a random endpoint, for requests without a hash. Budget: 0 allocs.
func anyone(list []*endpoint, c Choice) *endpoint {
	return another(list, rand.IntN(len(list)), c.Avoid) //nolint:gosec // because chance spreads load and keeps no secret
}
