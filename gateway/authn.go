package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"net"
	"strconv"
	"time"

	"legate/authn"
	"legate/config"
	"legate/decision"
	"legate/routes"
	"legate/telemetry"
)

// authnMetrics are the counters of package authn.
type authnMetrics struct{ *telemetry.Metrics }

func (m authnMetrics) Verified(filter, outcome string) authn.Counter {
	return m.TokensVerified(filter, outcome)
}

func (m authnMetrics) Refreshed(issuer, outcome string) authn.Counter {
	return m.KeysRefreshed(issuer, outcome)
}

func (m authnMetrics) Minted(filter string) authn.Counter { return m.TokensMinted(filter) }

func (m authnMetrics) Outcome(outcome string) authn.Counter { return m.External(outcome) }

func (m authnMetrics) Status(status int) authn.Counter { return m.ExternalStatus(status) }

// authnDeps are what package authn asks of the gateway.
func (g *Gateway) authnDeps() *authn.Deps {
	cache := authn.NewCache(g.opts.TokenCache)
	g.metrics.WatchTokens(cache.Counts)
	g.metrics.WatchSigningKeys(func() (time.Duration, bool) { return g.snap.Load().authn.SigningKeyAge(g.clock()) })
	return &authn.Deps{
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return g.resolver.Connect(ctx, network, addr)
		},
		Clock: g.clock, Log: g.log, Metrics: authnMetrics{g.metrics}, Audit: g.opts.Audit, Random: rand.Reader,
		Cache: cache, Offenders: authn.NewOffenders(g.opts.TokenFailures, g.clock()), SigningKeys: g.opts.SigningKeys, Cluster: g.opts.Cluster, Namespace: g.opts.Upstream.Namespace,
		Patience: g.opts.Patience, Sessions: g.opts.Sessions, Revocations: g.opts.Revocations,
	}
}

// authn makes what decides about who asks.
func (c *compiler) authn(old *Snapshot) {
	deps := *c.g.deps
	deps.AuthService, deps.External = c.authService, c.externalFilter
	var problems []config.Problem
	c.next.authn, problems = authn.New(c.world, old.authn, &deps)
	c.next.endpoints = c.next.authn.Endpoints()
	c.problems = append(c.problems, problems...)
}

// A policies stage asks the Filters of whichever FilterPolicy decides about a request. As
// the stages that follow it asks the request's snapshot for them: a route may be carried
// over to the next, with its stages.
type policies struct{}

// policies returns nil for a route that no FilterPolicy decides about.
func (c *compiler) policies(r *Route) Stage {
	if !c.g.filters(c.next.authn) || r.Kind != routes.Forward || r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth {
		return nil
	}
	return policies{}
}

// Enter decides. Budget: 0 allocs for credentials seen before.
func (policies) Enter(x *Exchange) Verdict {
	if x.Snap.authn.Filter(x.seen()) == authn.Deny {
		return x.take(decision.Authn)
	}
	return Continue
}

// explain tells which rule decided, and what each Filter had to say.
func (policies) explain(x *Exchange) []string {
	if len(x.call.Notes) == 0 {
		return []string{"no rule matches"}
	}
	return x.call.Notes
}

// A tokens stage judges requests by the Mapping's jwt.
type tokens struct{}

// tokens returns nil for a route whose Mapping asks for nothing.
func (c *compiler) tokens(r *Route) Stage {
	if c.next.authn.Requirement(r.Mapping) == nil || r.Kind != routes.Forward {
		return nil
	}
	return tokens{}
}

// Enter judges. Budget: 0 allocs for credentials seen before.
func (tokens) Enter(x *Exchange) Verdict {
	if x.Snap.authn.Requirement(x.Route.Mapping).Filter(x.seen()) == authn.Deny {
		return x.take(decision.Authn)
	}
	return Continue
}

// A minting stage gives requests the token that was decided for them.
type minting struct{}

// mint returns nil where no tokens are made.
func (c *compiler) mint(r *Route) Stage {
	if !c.next.authn.Mints() || r.Kind != routes.Forward {
		return nil
	}
	return minting{}
}

// Enter mints, for the service of the route that it is by now. Budget: 0 allocs for a token
// that was made before.
func (minting) Enter(x *Exchange) Verdict {
	if m := x.call.Minter; m != nil && m.Mint(x.seen()) == authn.Deny {
		return x.take(decision.Mint)
	}
	return Continue
}

// explain tells what would be minted.
func (minting) explain(x *Exchange) []string {
	if m := x.call.Minter; m != nil {
		return m.Explain(x.seen())
	}
	return []string{"no filter mints a token for this request"}
}

// KeySet renders the public keys that services verify minted tokens with (RFC 7517).
func (g *Gateway) KeySet() []byte { return g.snap.Load().authn.KeySet() }

// seen shows the request to those who decide about it, the same view to all of them.
// Budget: 0 allocs.
func (x *Exchange) seen() *authn.Call {
	if x.call.Head == nil {
		x.fillCall()
	}
	x.call.Service = x.Route.service
	return &x.call
}

// filters reports whether FilterPolicies have something to say.
func (g *Gateway) filters(set *authn.Set) bool {
	return set.Decides() && (!g.opts.OnlyAsk || set.AuthService() == nil)
}

// routeless lets FilterPolicies and AuthServices decide about a request that no Mapping is
// for: whether there is one is told to those only who may ask. By what they change about the
// request there may be one, whose stages behind the choice of a route follow.
func (x *Exchange) routeless() Verdict {
	set := x.Snap.authn
	if x.gateway.filters(set) && set.Filter(x.seen()) == authn.Deny {
		return x.take(decision.Authn)
	}
	if ask := set.AuthService(); ask != nil && ask.Filter(x.seen()) == authn.Deny {
		return x.take(decision.Authn)
	}
	if x.strays() {
		return x.routeAnew()
	}
	return x.stop(decision.Match, decision.NoRoute, "", nil)
}

// serviceOf returns what who decides about r's requests is told of r.
func (c *compiler) serviceOf(r *Route) *authn.Service {
	m := r.Mapping
	s := &authn.Service{ContextExtensions: m.AuthContextExtensions, FoldsCase: !r.CaseSensitive}
	if cors := cmp.Or(m.CORS, c.defaults().CORS); cors != nil {
		s.Origins = cors.Origins
	}
	if r.Kind != routes.Forward {
		return s
	}
	spec := c.specOf(m)
	s.Name = authn.ServiceName(m.Service, m.Namespace, cmp.Or(c.g.opts.Upstream.ClusterDomain, "cluster.local"))
	s.Host, s.Port = spec.Host, strconv.Itoa(int(spec.Port))
	return s
}
