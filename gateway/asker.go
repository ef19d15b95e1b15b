package gateway

import (
	"errors"

	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/telemetry"
	"legate/upstream"
	"legate/wire"
)

// An asker asks a service on the gateway's own behalf. It implements wire.Asker.
type asker struct {
	upstream *upstream.Upstream
	requests *limiter.Threshold
	metrics  *telemetry.UpstreamMetrics
	gateway  *Gateway
}

var errServiceBusy = errors.New("as many questions are on their way to the service as its circuit_breakers allow")

// asker returns what asks the service of spec.
func (c *compiler) asker(spec upstream.Spec) wire.Asker {
	p := c.pool(spec)
	return &asker{upstream: p.upstream, requests: &p.thresholds.Requests, metrics: c.g.metrics.Upstream(p.upstream.Name()), gateway: c.g}
}

// authService implements authn.Deps.AuthService.
func (c *compiler) authService(a *config.AuthService) (to wire.Asker, address string, problems []config.Problem) {
	spec, problems := c.reader.OfAuthService(a)
	return c.asker(spec), spec.Address(), problems
}

// externalFilter implements authn.Deps.External.
func (c *compiler) externalFilter(m *config.Meta, a *config.ExternalAuth) (to wire.Asker, address string, problems []config.Problem) {
	spec, problems := c.reader.OfExternal(m, a)
	return c.asker(spec), spec.Address(), problems
}

// Ask sends q and waits for the whole answer. Budget: 0 allocs when a connection rests in
// the pool and the body is short.
func (a *asker) Ask(q *wire.Question) error {
	if !a.requests.Enter() {
		return errServiceBusy
	}
	start := a.gateway.clock()
	err := a.upstream.Ask(q)
	a.requests.Leave()
	switch {
	case err == nil:
		a.metrics.Observe(q.Answer.Status, a.gateway.clock().Sub(start), false)
	case wire.OutcomeOf(err) == wire.Timeout:
		a.metrics.Failed(decision.UpstreamTimeout, false)
	default:
		a.metrics.Failed(decision.UpstreamResetBeforeHead, false)
	}
	return err
}
