package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"legate/config"
)

// endpointsNamed makes endpoints that lead nowhere, 10.0.0.1 and up.
func endpointsNamed(n int) []*endpoint {
	u := &Upstream{}
	var list []*endpoint
	for i := range n {
		list = append(list, newEndpoint(u, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i + 1)}), 80)))
	}
	return list
}

var everyPolicy = map[string]config.BalancePolicy{
	"round_robin": config.RoundRobin, "least_request": config.LeastRequest, "ring_hash": config.RingHash, "maglev": config.Maglev,
}

// Another endpoint is another one, however many requests take their turns meanwhile.
func TestAvoidedByTurns(t *testing.T) {
	list := endpointsNamed(2)
	b := newBalancer(config.RoundRobin, list, new(atomic.Uint64))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			avoid := list[i%2].text
			for range 50_000 {
				if b.pick(Choice{Avoid: avoid}).text == avoid {
					t.Errorf("%s was taken all the same", avoid)
					return
				}
			}
		})
	}
	all.Wait()
}

// Every policy gives every endpoint about its share: of many different hashes, and of
// requests without one.
func TestBalancersShare(t *testing.T) {
	for name, policy := range everyPolicy {
		for _, n := range []int{1, 2, 3, 10, 100} {
			for _, hashed := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/hashed=%v", name, n, hashed), func(t *testing.T) {
					list := endpointsNamed(n)
					b := newBalancer(policy, list, new(atomic.Uint64))
					count := map[*endpoint]int{}
					const each = 2000
					for i := range each * n {
						c := Choice{}
						if hashed {
							c.Hash = Hash(strconv.AppendInt(nil, int64(i), 10))
						}
						count[b.pick(c)]++
					}
					within := 0.15
					if policy == config.RingHash && hashed { // arcs differ by about 1/√ringPoints
						within = 4 / math.Sqrt(ringPoints)
					}
					for _, e := range list {
						if share := float64(count[e]) / each; share < 1-within || share > 1+within {
							t.Errorf("%s got %.2f of its share, want within %.2f of it", e.text, share, within)
						}
					}
				})
			}
		}
	}
}

// An endpoint that leaves hands over its own requests and, but for a few with maglev,
// nobody else's.
func TestBalancersAreStable(t *testing.T) {
	for _, row := range []struct {
		policy config.BalancePolicy
		others float64 // the share of the other endpoints' requests that may move
	}{
		{config.RingHash, 0},
		{config.Maglev, 0.10},
	} {
		for _, n := range []int{3, 10, 50} {
			list := endpointsNamed(n)
			before := newBalancer(row.policy, list, nil)
			gone := list[n/2]
			after := newBalancer(row.policy, slices.DeleteFunc(slices.Clone(list), func(e *endpoint) bool { return e == gone }), nil)
			const requests = 20_000
			var its, moved int
			for i := range requests {
				c := Choice{Hash: Hash(strconv.AppendInt(nil, int64(i), 10))}
				was, is := before.pick(c), after.pick(c)
				switch {
				case was == gone:
					its++
				case was != is:
					moved++
				}
			}
			if share := float64(its) * float64(n) / requests; share < 0.5 || share > 1.6 {
				t.Errorf("policy %d, %d endpoints: the one that left had %d of %d requests", row.policy, n, its, requests)
			}
			if share := float64(moved) / requests; share > row.others {
				t.Errorf("policy %d, %d endpoints: %.3f of the requests of others moved, want at most %.3f", row.policy, n, share, row.others)
			}
		}
	}
}

// The same key gets the same endpoint, also from a gateway that was told of the
// endpoints in another order.
func TestHashesAgree(t *testing.T) {
	for _, policy := range []config.BalancePolicy{config.RingHash, config.Maglev} {
		a := fakeUpstream(t, Spec{Balance: policy}, Options{}, "10.0.0.1", "10.0.0.2", "10.0.0.3")
		b := fakeUpstream(t, Spec{Balance: policy}, Options{}, "10.0.0.1", "10.0.0.2", "10.0.0.3")
		for i := range 1000 {
			c := Choice{Hash: Hash(strconv.AppendInt(nil, int64(i), 10))}
			if x, y := a.ends.Load().balance.pick(c), b.ends.Load().balance.pick(c); x.text != y.text {
				t.Fatalf("policy %d: %d got %s and %s", policy, i, x.text, y.text)
			}
		}
	}
}

// Who tries again gets another endpoint, whatever the policy.
func TestBalancersAvoid(t *testing.T) {
	for name, policy := range everyPolicy {
		list := endpointsNamed(3)
		b := newBalancer(policy, list, new(atomic.Uint64))
		for i := range 1000 {
			c := Choice{Hash: uint64(i)}
			first := b.pick(c)
			c.Avoid = first.text
			if again := b.pick(c); again == first {
				t.Fatalf("%s: %s again", name, first.text)
			}
		}
		if alone := newBalancer(policy, list[:1], new(atomic.Uint64)); alone.pick(Choice{Avoid: list[0].text}) != list[0] {
			t.Errorf("%s: a single endpoint is not used twice", name)
		}
	}
}

// Of two endpoints drawn the less busy one is taken, so that one which is slow fills
// up no further than the others.
func TestLeastRequestEvensOut(t *testing.T) {
	list := endpointsNamed(5)
	b := newBalancer(config.LeastRequest, list, nil)
	list[2].live.Store(100) // slow: nothing comes back
	var open []*endpoint
	for range 400 {
		e := b.pick(Choice{})
		if e == list[2] {
			t.Fatal("the busiest endpoint was taken")
		}
		e.live.Add(1)
		if open = append(open, e); len(open) > 40 {
			i := rand.IntN(len(open))
			open[i].live.Add(-1)
			open = slices.Delete(open, i, i+1)
		}
	}
	for i, e := range list {
		if n := e.live.Load(); i != 2 && (n < 4 || n > 16) {
			t.Errorf("endpoint %d has %d requests of 40", i, n)
		}
	}
}

func TestAllocsBalancers(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, policy := range everyPolicy {
		list := endpointsNamed(10)
		b := newBalancer(policy, list, new(atomic.Uint64))
		key := []byte("client-17")
		var e *endpoint
		n := testing.AllocsPerRun(1000, func() {
			e = b.pick(Choice{Hash: Hash(key)})
			e = b.pick(Choice{Avoid: e.text})
			e = b.pick(Choice{Hash: Hash(key), Avoid: e.text})
		})
		if n != 0 {
			t.Errorf("%s: got %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkBalancers(b *testing.B) {
	for name, policy := range everyPolicy {
		b.Run(name, func(b *testing.B) {
			bal := newBalancer(policy, endpointsNamed(10), new(atomic.Uint64))
			for i := range b.N {
				bal.pick(Choice{Hash: uint64(i) * 0x9e3779b97f4a7c15})
			}
		})
	}
}
