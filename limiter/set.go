package limiter

import "iter"

// A Set is what one configuration has of something that lives longer, such as thresholds,
// by what shares it. It is built by one goroutine and not changed afterwards.
type Set[K comparable, V any] struct {
	prev  *Set[K, V] // where to take from; nil once ready
	byKey map[K]*V
}

// NewSet begins a set that takes over from prev what it has in common with it, as it
// stands. prev may be nil, and does not change.
func NewSet[K comparable, V any](prev *Set[K, V]) *Set[K, V] {
	size := 0
	if prev != nil {
		size = len(prev.byKey) // a map that grows hashes every key again
	}
	return &Set[K, V]{prev: prev, byKey: make(map[K]*V, size)}
}

// Get returns what key has: what it had, or what begin makes.
func (s *Set[K, V]) Get(key K, begin func() *V) *V {
	if v := s.byKey[key]; v != nil {
		return v
	}
	var v *V
	if s.prev != nil {
		v = s.prev.byKey[key]
	}
	if v == nil {
		v = begin()
	}
	s.byKey[key] = v
	return v
}

// Keep takes v over from the previous set, as Get would for its key.
func (s *Set[K, V]) Keep(key K, v *V) { s.byKey[key] = v }

// Ready lets go of the previous set.
func (s *Set[K, V]) Ready() { s.prev = nil }

// All returns everything, in no order.
func (s *Set[K, V]) All() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		if s == nil {
			return
		}
		for _, v := range s.byKey {
			if !yield(v) {
				return
			}
		}
	}
}
