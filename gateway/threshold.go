package gateway

import (
	"fmt"

	"legate/decision"
	"legate/limiter"
	"legate/routes"
)

// A threshold is the stage that keeps an upstream from more requests at once than its
// circuit_breakers allow.
type threshold struct {
	requests *limiter.Threshold
	by       string
}

// threshold returns nil for a route without an upstream.
func (c *compiler) threshold(r *Route) Stage {
	if r.Kind != routes.Forward {
		return nil
	}
	return &threshold{&r.thresholds.Requests, r.By}
}

// Enter counts the request, unless there are too many. Budget: 0 allocs.
func (t *threshold) Enter(x *Exchange) Verdict {
	if x.Dry {
		return t.peek(x)
	}
	if x.admitted = t.requests.Enter(); !x.admitted {
		return x.stop(decision.Break, decision.UpstreamOverflow, t.by, nil)
	}
	return Continue
}

// peek says what Enter would, and counts nothing.
func (t *threshold) peek(x *Exchange) Verdict {
	if s := t.requests.State(); s.Now >= s.Limit {
		return x.stop(decision.Break, decision.UpstreamOverflow, t.by, nil)
	}
	return Continue
}

// explain tells how much room there is.
func (t *threshold) explain(*Exchange) []string {
	s := t.requests.State()
	return []string{fmt.Sprintf("requests in flight: %d of %d", s.Now, s.Limit)}
}

// Finish counts it no more. Budget: 0 allocs.
func (t *threshold) Finish(x *Exchange) {
	x.tried()
	if x.admitted {
		x.admitted = false
		t.requests.Leave()
	}
}
