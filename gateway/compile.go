package gateway

import (
	"cmp"
	"slices"
	"strconv"
	"time"
	"unique"

	"legate/config"
	"legate/limiter"
	"legate/routes"
	"legate/upstream"
)

// A compiler holds what is needed while a Snapshot is made. It starts nothing and
// changes nothing that serves, so giving up needs no undoing.
type compiler struct {
	g               *Gateway
	world           *config.World
	module          *config.Module // nil for none
	reader          *upstream.Specs
	specs           map[*config.Mapping]*upstream.Spec
	closed          bool // there were Hosts, and all were dropped: none may be assumed
	implicit        bool // there are no Listeners: two are assumed
	groups          []*routes.TCPGroup
	tcpSpecs        map[string]upstream.Spec // by the TCPMapping's full name
	gzipper         *gzipper                 // nil for none
	moduleOverrides []override
	reached         map[*limiter.Limit]bool  // by the labels of some route
	asked           *config.RateLimitService // instead of counting; nil for none
	problems        []config.Problem
	next            *Snapshot
	same            bool // nothing is new but Mappings: what the last snapshot made of others is used again
}

// compile makes a World ready. Live parts that old has with equal settings are
// carried over.
func (g *Gateway) compile(w config.World, old *Snapshot) *Snapshot {
	next := &Snapshot{Gen: old.Gen + 1, wish: w}
	next.base.named = g.namedChanges()
	c := &compiler{g: g, world: &w, problems: withRoom(w.Problems, len(old.Problems)), next: next, same: old.sameButMappings(&w, next.base.named), reached: map[*limiter.Limit]bool{}}
	c.implicit, c.closed = len(w.Listeners) == 0, len(w.Hosts) == 0 && w.LostHosts()
	w = withImplicitListeners(w)
	if len(w.Modules) > 0 {
		c.module = &w.Modules[0]
	}
	c.next.edge = compileEdge(c.module)
	c.logFormat()
	c.script(old)
	c.next.grpcStats = compileGRPCStats(c.module, c.g.metrics)
	c.reader = upstream.NewSpecs(c.module, c.world, g.opts.Upstream)
	c.tcpMappings()
	c.certificates()
	c.upstreamSpecs(old)
	c.rateLimits()
	c.settleBase(old)
	c.table(old)
	c.routes(old)
	c.limitsReached()
	c.tcpRoutes()
	c.tracing(old)
	c.logServices(old)
	c.listeners()
	c.next.world = w
	config.SortProblems(c.problems)
	c.next.Problems = c.problems
	return c.next
}

// withRoom returns a copy of problems that can grow as large as the last configuration's were.
func withRoom(problems []config.Problem, last int) []config.Problem {
	return append(make([]config.Problem, 0, max(len(problems), last+last/8)), problems...)
}

// namedChanges tells states of the files apart that objects name.
func (g *Gateway) namedChanges() uint64 {
	if g.opts.Upstream.Files == nil {
		return 0
	}
	return g.opts.Upstream.Files.Changes()
}

// certificates asks for the TLS table and takes away the Hosts and TCPMappings whose
// certificate is unusable: they would answer in the clear.
func (c *compiler) certificates() {
	if c.g.opts.Certificates == nil {
		return
	}
	table, dropped, problems := c.g.opts.Certificates(c.world)
	c.next.TLS, c.next.base.dropped = table, dropped
	c.problems = append(c.problems, problems...)
	if len(dropped) == 0 {
		return
	}
	had := len(c.world.Hosts) > 0
	c.world.Hosts = slices.DeleteFunc(slices.Clone(c.world.Hosts), func(h config.Host) bool { return isAmong(dropped, &h.Meta) })
	c.closed = c.closed || had && len(c.world.Hosts) == 0
	for _, g := range c.groups {
		g.Members = slices.DeleteFunc(g.Members, func(m routes.TCPMember) bool { return isAmong(dropped, &m.Mapping.Meta) })
	}
}

// isAmong reports whether refs name the object of m.
func isAmong(refs []config.Ref, m *config.Meta) bool {
	return slices.ContainsFunc(refs, func(r config.Ref) bool { return r.Kind == m.Kind && m.Is(r.Namespace, r.Name) })
}

// upstreamSpecs reads every Mapping's service and leaves out Mappings that cannot
// serve because of it.
func (c *compiler) upstreamSpecs(old *Snapshot) {
	all := c.world.Mappings
	from := c.trace(old)
	c.next.base.judged = make([]*judged, len(all))
	c.specs = map[*config.Mapping]*upstream.Spec{}
	kept := make([]*config.Mapping, 0, len(all))
	for i, m := range all {
		var j *judged
		switch {
		case m.HostRedirect:
		case from != nil && from[i] >= 0 && m.TLS == "": // the first that names a TLSContext has the problems of that
			j = old.base.judged[from[i]]
		default:
			j = c.judge(m)
		}
		c.next.base.judged[i] = j
		if j != nil {
			c.problems = append(c.problems, j.problems...)
		}
		if j == nil || !j.dropped {
			kept = append(kept, m)
		}
	}
	c.world.Mappings = kept
}

// judge reads m's service; nil means that nothing is wrong with it.
func (c *compiler) judge(m *config.Mapping) *judged {
	spec, problems := c.reader.Of(m)
	c.specs[m] = &spec
	if len(problems) == 0 {
		return nil
	}
	return &judged{problems, slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Effect == config.ObjectDropped })}
}

// specOf returns what m's service is.
func (c *compiler) specOf(m *config.Mapping) upstream.Spec {
	if spec := c.specs[m]; spec != nil {
		return *spec
	}
	spec, _ := c.reader.Of(m) // what is wrong with it has been told
	return spec
}

func (c *compiler) table(old *Snapshot) {
	if c.same {
		if table, problems, ok := old.table.Rebuild(c.world.Mappings); ok {
			c.next.table = table
			c.problems = append(c.problems, problems...)
			return
		}
	}
	opts := c.g.opts.Routes
	opts.NoImplicitHost = c.closed
	table, problems := routes.Build(c.world, opts)
	c.next.table = table
	c.problems = append(c.problems, problems...)
}

// routes makes every route of the table ready.
func (c *compiler) routes(old *Snapshot) {
	c.next.thresholds = limiter.NewSet(old.thresholds)
	c.next.breakers = limiter.NewSet(old.breakers)
	c.next.upstreams = upstream.NewSet(c.g.resolver, c.world, old.upstreams, func(s upstream.Spec) upstream.Budget { return c.thresholdsOf(unique.Make(s.Cluster()), &s) })
	c.moduleOverrides = c.compileOverrides(&c.defaults().Meta, c.defaults().ErrorResponseOverrides)
	c.authn(old)
	c.rateLimitService(old)
	c.next.routes = make([]*Route, len(c.next.table.Routes))
	for i, rt := range c.next.table.Routes {
		if rt.Ready == nil {
			c.make(rt)
		} else {
			c.carry(readyRoute(rt))
		}
		c.next.routes[i] = readyRoute(rt)
	}
	c.next.none = Route{Route: noRoute, metrics: c.g.metrics.Route("none"), overrides: c.moduleOverrides}
}

// defaultIdle is how long a request may rest if nobody says otherwise.
const defaultIdle = 5 * time.Minute

// noRoute stands in where nothing matches, so that a request always has a route.
var noRoute = &routes.Route{}

func (c *compiler) route(r *Route, rt *routes.Route) {
	m := rt.Mapping
	r.Route = rt
	r.name = rt.Name
	r.metrics = c.g.metrics.Route(rt.Name)
	r.timeout = milliseconds(3000, m.TimeoutMS, c.defaults().ClusterRequestTimeoutMS)
	r.idle = milliseconds(int(defaultIdle.Milliseconds()), m.IdleTimeoutMS, nil)
	r.overrides = c.overrides(m)
	if len(rt.Upgrades) > 0 {
		r.metrics.AllowsUpgrades()
	}
	if rt.Kind == routes.Forward {
		spec := c.specOf(m)
		spec.Priority = rt.Priority
		p := c.use(r, spec)
		r.upstream, r.thresholds = p.upstream, p.thresholds
		r.breaker = c.breakerOf(r, &spec)
		r.retry = newRetry(cmp.Or(rt.Retry, c.defaults().Retry), r.thresholds, r.breaker)
		r.upstreamName = r.upstream.Name()
		r.upstreamMetrics = c.g.metrics.Upstream(r.upstreamName)
		r.hostRewrite = hostRewrite(m, &spec)
		if spec.Host != "" && c.linkerd(m) {
			r.linkerd = []byte(spec.Address())
		}
		if spec.Balance == config.RingHash || spec.Balance == config.Maglev {
			r.affinity = newAffinity(cmp.Or(rt.LoadBalancer, c.defaults().LoadBalancer))
		}
	}
	expected := r.timeout
	if r.retry != nil && r.retry.perTry > 0 {
		expected = r.retry.perTry
	}
	if expected > 0 {
		r.timeoutMS = strconv.AppendInt(nil, expected.Milliseconds(), 10)
	}
	r.service = c.serviceOf(r)
	r.chain = c.chain(r)
}

// defaults returns the Module, an empty one if there is none.
func (c *compiler) defaults() *config.Module {
	if c.module == nil {
		return &config.Module{}
	}
	return c.module
}

// linkerd reports whether the upstream is told by a field of Linkerd's which service
// is meant.
func (c *compiler) linkerd(m *config.Mapping) bool {
	if m.AddLinkerdHeaders != nil {
		return *m.AddLinkerdHeaders
	}
	return c.defaults().AddLinkerdHeaders
}

// milliseconds returns the first value that was given, or def.
func milliseconds(def int, values ...*int) time.Duration {
	for _, v := range values {
		if v != nil {
			return time.Duration(max(*v, 0)) * time.Millisecond
		}
	}
	return time.Duration(def) * time.Millisecond
}

// hostRewrite is the authority that the upstream receives instead of the client's. Of
// endpoints that are no names there is none to tell.
func hostRewrite(m *config.Mapping, spec *upstream.Spec) []byte {
	switch {
	case m.HostRewrite != "":
		return []byte(m.HostRewrite)
	case m.AutoHostRewrite && spec.Named():
		return []byte(spec.Host)
	}
	return nil
}

// answer is the stage that ends the walk.
func (c *compiler) answer(r *Route) Stage {
	if r.Kind == routes.Redirect {
		return redirect{route: r}
	}
	return &proxy{route: r}
}

// metricNames lists what must stay in the metrics.
func (s *Snapshot) metricNames() (routeNames, upstreamNames []string) {
	routeNames = append(routeNames, "none")
	for _, r := range s.routes {
		routeNames = append(routeNames, r.name)
	}
	for _, u := range s.upstreams.All() {
		upstreamNames = append(upstreamNames, u.Name())
	}
	return routeNames, upstreamNames
}
