package gateway

import (
	"cmp"
	"fmt"
	"time"
	"unique"

	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/routes"
	"legate/upstream"
)

// A breakerKey is what shares a breaker.
type breakerKey struct {
	service  unique.Handle[upstream.Spec]
	settings config.FailureBreaker
}

// breakerOf returns the breaker of r's upstream, as it stands; nil for none.
func (c *compiler) breakerOf(r *Route, spec *upstream.Spec) *limiter.Breaker {
	settings := cmp.Or(r.Mapping.FailureBreaker, c.defaults().FailureBreaker)
	if !settings.On() {
		return nil
	}
	r.breakerKey = breakerKey{unique.Make(spec.Service()), *settings}
	return c.next.breakers.Get(r.breakerKey, func() *limiter.Breaker {
		return limiter.NewBreaker(spec.Name(), *settings, c.g.clock, c.g.breakerChanged)
	})
}

// breakerChanged tells operators that an upstream is left alone, or is no more.
func (g *Gateway) breakerChanged(t limiter.Transition) {
	level := g.log.Info
	if t.To == limiter.Open {
		level = g.log.Warn
	}
	level("breaker changed", "upstream", t.Name, "from", t.From.String(), "to", t.To.String(), "cause", t.Cause)
}

// A breaker is the stage that leaves an upstream alone which fails its requests.
type breaker struct {
	breaker  *limiter.Breaker
	failures config.StatusSet
	by       string
}

// breaker returns nil for a route whose upstream has none.
func (c *compiler) breaker(r *Route) Stage {
	if r.breaker == nil || r.Kind != routes.Forward {
		return nil
	}
	return &breaker{r.breaker, r.breakerKey.settings.Statuses, r.By}
}

// Enter refuses the request as long as the breaker is open. Budget: 0 allocs.
func (b *breaker) Enter(x *Exchange) Verdict {
	if x.Dry {
		if v := b.breaker.View(); v.Refuses() {
			return b.refuse(x, v.Wait)
		}
		return Continue
	}
	pass, wait, ok := b.breaker.Enter()
	if !ok {
		return b.refuse(x, wait)
	}
	x.pass, x.passed, x.called = pass, true, 0
	return Continue
}

// refuse tells the client when the upstream will be tried again.
func (b *breaker) refuse(x *Exchange, wait time.Duration) Verdict {
	x.Decision.RetryAfter = max(wait, time.Second)
	x.tellRetryAfter(int64((x.Decision.RetryAfter + time.Second - 1) / time.Second))
	return x.stop(decision.Break, decision.BreakerOpen, b.by, nil)
}

// Respond judges a probe by the head of its answer where nothing bounds how long the rest
// takes.
func (b *breaker) Respond(x *Exchange) {
	switch {
	case !x.pass.Probe:
	case x.Route.timeout == 0 || x.link != nil && x.Resp.Status == 101:
		if x.link != nil {
			x.noteCall()
		}
		b.settle(x)
	default:
		b.breaker.Answered(x.pass)
	}
}

// tellWhole has a probe whose request is whole keep its place as long as its answer does not
// come, if that may not take for ever. The goroutine that carries a request's body may call it.
func (x *Exchange) tellWhole() {
	if x.pass.Probe && (x.Route.timeout > 0 || x.Route.idle > 0) {
		x.Route.breaker.Whole(x.pass)
	}
}

// Finish tells what became of the request. Budget: 0 allocs.
func (b *breaker) Finish(x *Exchange) { b.settle(x) }

func (b *breaker) settle(x *Exchange) {
	if x.passed {
		x.passed = false
		b.breaker.Done(x.pass, b.outcome(x))
	}
}

// outcome is what x says of how the upstream is: of its last try, where there were
// several.
func (b *breaker) outcome(x *Exchange) limiter.Outcome {
	d := &x.Decision
	switch {
	case d.Steps[decision.Proxy] != decision.None && isBreakdown(d.Steps[decision.Proxy]):
		return limiter.Failure
	case x.headAfter > 0 && (b.failures.Has(x.Resp.Status) || x.called > 0 && b.failures.Has(x.called)):
		return limiter.Failure
	case x.headAfter > 0:
		return limiter.Success
	}
	return limiter.Unsaid
}

// noteCall notes how a call of gRPC ended, by its trailer or by a head that is all of it,
// before both are gone with the connection. Budget: 0 allocs.
func (x *Exchange) noteCall() {
	if !x.passed || !isGRPC(&x.Resp) {
		return
	}
	code, ok := x.Resp.Find(fieldGRPCStatus.Name)
	if trailer := x.link.Trailer(); trailer != nil {
		if late, has := trailer.Find(fieldGRPCStatus.Name); has {
			code, ok = late, true
		}
	}
	if ok {
		x.called = httpStatus(code)
	}
}

// isBreakdown reports whether a request came to nothing because the upstream does not
// work as it should.
func isBreakdown(r decision.Reason) bool {
	switch r {
	case decision.DialRefused, decision.DialTimeout, decision.DialFailed, decision.TLSFailed, decision.UpstreamNotAllowed, decision.UpstreamNotHTTP2,
		decision.UpstreamRefusedStream, decision.UpstreamRemoteReset, decision.UpstreamResetBeforeHead, decision.UpstreamResetAfterHead,
		decision.UpstreamTimeout, decision.UpstreamTryTimeout, decision.UpstreamIdle, decision.UpstreamBadAnswer, decision.UpstreamHeaderTooLarge:
		return true
	default:
		return false
	}
}

// explain tells how the breaker stands.
func (b *breaker) explain(*Exchange) []string {
	v := b.breaker.View()
	switch v.State {
	case limiter.Open:
		return []string{fmt.Sprintf("breaker open: tried again in %v", v.Wait.Round(time.Millisecond))}
	case limiter.HalfOpen:
		return []string{fmt.Sprintf("breaker half-open: %d of %d probes on their way, %d came back well", v.Probes, v.MaxProbe, v.Succeeded)}
	default:
		return []string{fmt.Sprintf("breaker closed: %d of %d requests failed, %d in a row", v.Failures, v.Requests, v.InARow)}
	}
}

// breakers returns how the breakers of the current upstreams stand, by their names; of
// several the worst.
func (s *Snapshot) breakerStates() map[string]limiter.BreakerView {
	var states map[string]limiter.BreakerView
	for b := range s.breakers.All() {
		if states == nil {
			states = map[string]limiter.BreakerView{}
		}
		v := b.View()
		before, ok := states[b.Name()]
		if ok {
			v.Opened += before.Opened
			v.State = max(v.State, before.State)
		}
		states[b.Name()] = v
	}
	return states
}
