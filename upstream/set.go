package upstream

import (
	"context"
	"unique"

	"legate/config"
)

// A Set is the upstreams of one configuration, one for each Spec. It is built by one
// goroutine and not changed after Start.
type Set struct {
	resolver *Resolver
	budget   func(Spec) Budget
	world    *config.World // where Services' endpoints are; nil once started
	prev     *Set          // where to take from; nil once started
	bySpec   map[unique.Handle[Spec]]*Upstream
	list     []*Upstream // in the order first asked for
}

// NewSet begins a set for w that takes over from prev what it has in common with it.
// prev may be nil. budget says what bounds an upstream, and may be nil too. Nothing
// starts, and prev does not change.
func NewSet(r *Resolver, w *config.World, prev *Set, budget func(Spec) Budget) *Set {
	size := 0
	if prev != nil {
		size = len(prev.list)
	}
	return &Set{resolver: r, world: w, prev: prev, budget: budget, bySpec: make(map[unique.Handle[Spec]]*Upstream, size), list: make([]*Upstream, 0, size)}
}

// Get returns the upstream of spec: this set's, the previous one's with its
// connections and counters, or a new one.
func (s *Set) Get(spec Spec) *Upstream {
	key := unique.Make(spec)
	if u := s.bySpec[key]; u != nil {
		return u
	}
	var u *Upstream
	if s.prev != nil {
		u = s.prev.bySpec[key]
	}
	if u == nil {
		u = New(spec, s.resolver)
		u.key = key
		if s.budget != nil {
			u.budget = s.budget(spec)
		}
	}
	s.add(u)
	return u
}

// Keep takes u over from the previous set, as Get would for its Spec.
func (s *Set) Keep(u *Upstream) {
	if s.bySpec[u.key] == nil {
		s.add(u)
	}
}

func (s *Set) add(u *Upstream) {
	s.bySpec[u.key] = u
	s.list = append(s.list, u)
}

// All returns the set's upstreams in the order they were first asked for.
func (s *Set) All() []*Upstream { return s.list }

// Start starts the upstreams that are new, and tells those of Kubernetes' endpoints
// which they are now. It does not block.
func (s *Set) Start() {
	var d *directory
	var zone string
	for _, u := range s.list {
		u.Start()
		if u.spec.Source != FromEndpoints || !u.placed() {
			continue
		}
		if d == nil {
			d, zone = newDirectory(s.world), s.resolver.zone(s.world)
		}
		from := ""
		if u.spec.zoned() {
			from = zone
		}
		u.place(d.find(u.spec.Host, u.spec.Port, u.spec.Family, s.resolver.opts.namespace(), from))
	}
	s.prev, s.world = nil, nil
}

// Ready waits until something is known about every upstream's endpoints, or for the
// end of ctx.
func (s *Set) Ready(ctx context.Context) error {
	for _, u := range s.list {
		if err := u.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Retire retires the upstreams that next does not have; all of them if next is nil.
func (s *Set) Retire(next *Set) {
	stays := map[*Upstream]bool{}
	if next != nil {
		stays = make(map[*Upstream]bool, len(next.list))
		for _, u := range next.list {
			stays[u] = true
		}
	}
	for _, u := range s.list {
		if !stays[u] {
			u.Retire()
		}
	}
}
