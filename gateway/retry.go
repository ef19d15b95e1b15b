package gateway

import (
	"math/rand/v2"
	"strconv"
	"time"

	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/wire"
)

// A retry says when a route's requests are sent again.
type retry struct {
	on     config.RetryOn
	times  int
	perTry time.Duration // until an answer's head; 0 for none
	budget *limiter.Threshold

	breaker *limiter.Breaker // of the upstream; nil for none
}

// newRetry returns nil where nothing is sent again and no try has a time of its own.
func newRetry(p *config.RetryPolicy, t *limiter.Thresholds, b *limiter.Breaker) *retry {
	if p == nil || p.Times == 0 && p.PerTryTimeout == 0 {
		return nil
	}
	return &retry{on: p.On, times: p.Times, perTry: p.PerTryTimeout, budget: &t.Retries, breaker: b}
}

// wantsStatus reports whether the answer asks for another try. Budget: 0 allocs.
func (r *retry) wantsStatus(x *Exchange) bool {
	status := x.Resp.Status
	wanted := false
	switch r.on {
	case config.RetryServerErrors:
		wanted = status >= 500
	case config.RetryGatewayErrors:
		wanted = status >= 502 && status <= 504
	case config.RetryConflict:
		wanted = status == 409
	case config.RetryStatusCodes:
		wanted = !x.External && namesStatus(x.Req, status)
	case config.RetryConnectFailure, config.RetryRefusedStream:
	}
	if !wanted {
		return false
	}
	_, limited := x.Resp.Find("x-envoy-ratelimited")
	return !limited
}

// namesStatus reports whether the caller asks for another try after that status.
func namesStatus(req *wire.Head, status int) bool {
	list, ok := req.Find("x-envoy-retriable-status-codes")
	for ok && len(list) > 0 {
		var code []byte
		code, list = wire.NextToken(list)
		if n, err := strconv.Atoi(string(code)); err == nil && n == status {
			return true
		}
	}
	return false
}

// wantsReason reports whether the lack of an answer asks for another try.
// Budget: 0 allocs.
func (r *retry) wantsReason(reason decision.Reason) bool {
	switch reason {
	case decision.DialRefused, decision.DialTimeout, decision.DialFailed, decision.TLSFailed, decision.UpstreamNotAllowed, decision.UpstreamNotHTTP2:
		return r.on == config.RetryServerErrors || r.on == config.RetryGatewayErrors || r.on == config.RetryConnectFailure
	case decision.UpstreamRefusedStream:
		return r.on == config.RetryServerErrors || r.on == config.RetryGatewayErrors || r.on == config.RetryRefusedStream
	case decision.UpstreamResetBeforeHead, decision.UpstreamRemoteReset, decision.UpstreamTryTimeout,
		decision.UpstreamBadAnswer, decision.UpstreamHeaderTooLarge:
		return r.on == config.RetryServerErrors || r.on == config.RetryGatewayErrors
	default:
		return false
	}
}

// admit counts one more try if it may be made: there are some left, the upstream is not
// left alone, not too many are already, and the request can be sent again. That comes last:
// where the rest of a body has to be waited for, the answer that is there is lost.
func (r *retry) admit(x *Exchange) bool {
	if x.tries >= r.times || !r.breaker.Closed() || !r.budget.Enter() {
		return false
	}
	if !x.saveRest() {
		r.budget.Leave()
		return false
	}
	x.retrying = r.budget
	x.tries++
	return true
}

// tried ends a try: its place among those that are sent again is free.
func (x *Exchange) tried() {
	if x.retrying != nil {
		x.retrying.Leave()
		x.retrying = nil
	}
}

// The pause before a try is random, so that requests that failed together do not come
// back together. Its greatest length doubles, up to a limit.
const (
	firstPause   = 25 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

// lookEvery is how often who pauses looks whether its client is still there.
const lookEvery = 50 * time.Millisecond

// pause waits before another try. Stop means that there is no time for it, or that the
// client has left.
func (p *proxy) pause(x *Exchange) Verdict {
	longest := min(firstPause<<min(x.tries, 8)-firstPause, longestPause)
	d := time.Duration(rand.Int64N(int64(longest))) //nolint:gosec // because chance only spreads load
	if !x.choice.By.IsZero() {
		d = min(d, x.choice.By.Sub(x.gateway.clock()))
	}
	for step := min(d, lookEvery); step > 0 && !x.stream.Gone(); step = min(d, lookEvery) {
		x.rest(step)
		d -= step
	}
	switch {
	case x.timeoutPassed():
		return x.stop(decision.Proxy, decision.UpstreamTimeout, p.route.By, nil)
	case x.stream.Gone():
		return x.stop(decision.Proxy, x.gone(), p.route.By, nil)
	}
	return Continue
}

// rest waits. Budget: 0 allocs once the exchange has a timer.
func (x *Exchange) rest(d time.Duration) {
	if x.timer == nil {
		x.timer = time.NewTimer(d)
	} else {
		x.timer.Reset(d)
	}
	<-x.timer.C
}

// discard lets go of an answer that the client will not see. Its connection stays if
// all of it is at hand.
func (x *Exchange) discard() {
	x.Route.upstreamMetrics.Observe(x.Resp.Status, x.headAfter, x.External)
	x.headAfter = 0
	x.stopPump()
	whole := x.Resp.NoBody || x.link.Done()
	if !whole {
		_, whole = x.link.Rest()
	}
	if !whole {
		x.link.Abort()
	}
	x.link.Release()
	x.link = nil
}
