package limiter

import "legate/config"

// A Set is the thresholds of one configuration, by what shares them. It is built by
// one goroutine and not changed afterwards.
type Set[K comparable] struct {
	prev  *Set[K] // where to take from; nil once ready
	byKey map[K]*Thresholds
}

// NewSet begins a set that takes over from prev what it has in common with it, as it
// stands. prev may be nil, and does not change.
func NewSet[K comparable](prev *Set[K]) *Set[K] {
	size := 0
	if prev != nil {
		size = len(prev.byKey) // a map that grows hashes every key again
	}
	return &Set[K]{prev: prev, byKey: make(map[K]*Thresholds, size)}
}

// Get returns the thresholds of key, which the limits must be a part of.
func (s *Set[K]) Get(key K, limits config.Limits) *Thresholds {
	if t := s.byKey[key]; t != nil {
		return t
	}
	var t *Thresholds
	if s.prev != nil {
		t = s.prev.byKey[key]
	}
	if t == nil {
		t = New(limits)
	}
	s.byKey[key] = t
	return t
}

// Keep takes t over from the previous set, as Get would for its key.
func (s *Set[K]) Keep(key K, t *Thresholds) { s.byKey[key] = t }

// Ready lets go of the previous set.
func (s *Set[K]) Ready() { s.prev = nil }
