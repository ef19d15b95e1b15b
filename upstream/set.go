package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	list     []*Upstream                       // in the order first asked for
	renewed  []renewal                         // to be done by Start
	kin      map[unique.Handle[Spec]]*Upstream // those of prev whose certificates may be renewed; nil before one is looked for
}

// A renewal is what an upstream will be known by, and speak TLS by.
type renewal struct {
	upstream *Upstream
	key      unique.Handle[Spec]
	tls      *tls.Config
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
// connections and counters, or a new one. One of the previous that differs in nothing but
// certificates of its TLSContext goes on with the new ones from Start on.
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
		u = s.relative(spec, key)
	}
	if u == nil {
		u = New(spec, s.resolver)
		u.key = key
		if s.budget != nil {
			u.budget = s.budget(spec)
		}
	}
	s.add(u, key)
	return u
}

// relative returns the upstream of the previous set that becomes spec's by new certificates,
// and notes that it does; nil for none.
func (s *Set) relative(spec Spec, key unique.Handle[Spec]) *Upstream {
	common, ok := spec.kin()
	if !ok || s.prev == nil {
		return nil
	}
	if s.kin == nil {
		s.kin = map[unique.Handle[Spec]]*Upstream{}
		for _, u := range s.prev.list {
			if k, ok := u.key.Value().kin(); ok {
				s.kin[unique.Make(k)] = u
			}
		}
	}
	u := s.kin[unique.Make(common)]
	if u == nil || s.bySpec[u.key] == u {
		return nil // or this set has it already as it was
	}
	s.renewed = append(s.renewed, renewal{u, key, spec.TLS.config(s.resolver.opts.Workload, s.resolver.now)})
	return u
}

// Keep takes u over from the previous set, as Get would for its Spec.
func (s *Set) Keep(u *Upstream) {
	if s.bySpec[u.key] == nil {
		s.add(u, u.key)
	}
}

func (s *Set) add(u *Upstream, key unique.Handle[Spec]) {
	s.bySpec[key] = u
	s.list = append(s.list, u)
}

// All returns the set's upstreams in the order they were first asked for.
func (s *Set) All() []*Upstream { return s.list }

// ClientCertificates returns what TLSContexts show to upstreams, by the full name of the
// TLSContext.
func (s *Set) ClientCertificates() map[string]*x509.Certificate {
	shown := map[string]*x509.Certificate{}
	for _, u := range s.list {
		if conf := u.tls.Load(); conf != nil && len(conf.Certificates) > 0 && u.spec.TLS.Context != "" {
			shown[u.spec.TLS.Context] = conf.Certificates[0].Leaf
		}
	}
	return shown
}

// Start starts the upstreams that are new, renews those whose certificates were, and tells those of Kubernetes' endpoints
// which they are now. It does not block.
func (s *Set) Start() {
	for _, r := range s.renewed {
		r.upstream.renew(r.key, r.tls)
	}
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
	s.prev, s.world, s.kin, s.renewed = nil, nil, nil, nil
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
