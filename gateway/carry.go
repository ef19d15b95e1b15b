package gateway

import (
	"reflect"
	"slices"
	"unique"

	"legate/config"
	"legate/limiter"
	"legate/routes"
	"legate/upstream"
)

// Where a World differs from the last in nothing but Mappings, most routes are carried
// over as they are, with their stages. What a stage holds beside its route has then to be
// carried over too, and what the whole gathers from its routes is gathered from carried
// ones as well: carry does both. Tests compare the result with one made of nothing.

// A base is what a Snapshot was made of beside its World, and what the next may use again.
type base struct {
	closed  bool         // see compiler.closed
	revived bool         // see rateLimits.revived
	dropped []config.Ref // by their certificates
	files   bool         // texts were read from files, and may be others by now
	named   uint64       // the state of files that objects name
	judged  []*judged    // of the World's Mappings as they came, by their places
}

// A judged is a Mapping with whose service something is wrong.
type judged struct {
	problems []config.Problem
	dropped  bool
}

// A pool is an upstream as a route uses it, and what bounds it.
type pool struct {
	upstream   *upstream.Upstream
	cluster    unique.Handle[upstream.Spec] // has the thresholds
	thresholds *limiter.Thresholds
}

// sameButMappings reports whether w is the World that s was made of, but for Mappings, and
// for where Services have their endpoints, which is of no concern to who compiles. named is
// the state of the files that objects name.
func (s *Snapshot) sameButMappings(w *config.World, named uint64) bool {
	if s.table == nil || s.base.files || s.base.named != named {
		return false
	}
	return reflect.DeepEqual(withoutMappings(s.wish), withoutMappings(*w))
}

func withoutMappings(w config.World) config.World {
	w.Mappings, w.Services, w.Endpoints, w.EndpointSlices, w.Problems = nil, nil, nil, nil, nil
	return w
}

// trace returns where old has each of the World's Mappings, -1 for nowhere; nil if nothing
// can be carried over.
func (c *compiler) trace(old *Snapshot) []int {
	if !c.same {
		return nil
	}
	from, _, ok := config.Trace(old.wish.Mappings, c.world.Mappings)
	if !ok {
		return nil
	}
	return from
}

// settleBase looks at what follows from a World and is not written in it.
func (c *compiler) settleBase(old *Snapshot) {
	b := &c.next.base
	b.closed, b.revived = c.closed, c.next.limits.revived
	c.same = c.same && b.closed == old.base.closed && b.revived == old.base.revived && slices.Equal(b.dropped, old.base.dropped)
	if c.same {
		c.next.grpcStats, c.next.limits = old.grpcStats, old.limits
	}
}

// readyRoute returns what was made of rt.
func readyRoute(rt *routes.Route) *Route {
	return rt.Ready.(*Route) //nolint:forcetypeassert // nothing else is made of routes
}

// make makes rt ready.
func (c *compiler) make(rt *routes.Route) {
	r, before := &Route{}, len(c.problems)
	rt.Ready = r
	c.route(r, rt)
	r.problems = slices.Clone(c.problems[before:])
}

// carry has r serve as it did.
func (c *compiler) carry(r *Route) {
	for i := range r.pools {
		p := &r.pools[i]
		c.next.thresholds.Keep(p.cluster, p.thresholds)
		c.next.upstreams.Keep(p.upstream)
	}
	if r.breaker != nil {
		c.next.breakers.Keep(r.breakerKey, r.breaker)
	}
	c.problems = append(c.problems, r.problems...)
	if r.limit != nil {
		c.carryLimit(r.limit)
	}
}

// pool returns the upstream of spec, and what bounds it.
func (c *compiler) pool(spec upstream.Spec) pool {
	p := pool{cluster: unique.Make(spec.Cluster())}
	p.thresholds = c.thresholdsOf(p.cluster, &spec)
	p.upstream = c.next.upstreams.Get(spec)
	return p
}

// use is pool for what r uses.
func (c *compiler) use(r *Route, spec upstream.Spec) pool {
	p := c.pool(spec)
	r.pools = append(r.pools, p)
	return p
}

// thresholdsOf returns what the upstreams of a cluster may be asked to bear, as it stands.
func (c *compiler) thresholdsOf(cluster unique.Handle[upstream.Spec], spec *upstream.Spec) *limiter.Thresholds {
	return c.next.thresholds.Get(cluster, func() *limiter.Thresholds { return limiter.New(spec.Breakers.Of(spec.Priority)) })
}
