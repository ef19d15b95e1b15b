package telemetry

import (
	"sync/atomic"
	"time"

	"legate/decision"
)

// An UpstreamMetrics counts what was asked of one upstream.
type UpstreamMetrics struct {
	asked     [2]asked                                              // by requests from inside, and from outside
	failures  [2]atomic.Pointer[[decision.NumReasons]atomic.Uint64] // before the answer's head, and after it
	stood     statusCodes                                           // of our own answers where the upstream gave none
	retries   atomic.Uint64
	recovered atomic.Uint64 // requests that a later try helped
}

// asked is what came of requests that were answered.
type asked struct {
	codes   statusCodes
	latency atomic.Pointer[histogram]
}

// Observe counts an answer of the upstream whose head came after d, to a request from
// outside or not. Budget: 0 allocs but for the first.
func (u *UpstreamMetrics) Observe(status int, d time.Duration, external bool) {
	a := &u.asked[side(external)]
	a.codes.add(status)
	lazily(&a.latency).observe(d)
}

// Failed counts a try that came to nothing for reason, or an answer that broke off
// after its head. Budget: 0 allocs but for the first.
func (u *UpstreamMetrics) Failed(reason decision.Reason, afterHead bool) {
	lazily(&u.failures[side(afterHead)])[reason].Add(1)
}

// Stood counts an answer of our own, given in the place of the upstream's.
// Budget: 0 allocs but for the first.
func (u *UpstreamMetrics) Stood(status int) { u.stood.add(status) }

// Retry counts a request sent once more. Budget: 0 allocs.
func (u *UpstreamMetrics) Retry() { u.retries.Add(1) }

// Recovered counts a request that was sent more than once, and answered well.
// Budget: 0 allocs.
func (u *UpstreamMetrics) Recovered() { u.recovered.Add(1) }

// side is 1 for yes.
func side(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// failed returns how often there were those reasons, before the head (0) or after it.
func (u *UpstreamMetrics) failed(when int, reasons ...decision.Reason) (n uint64) {
	counts := u.failures[when].Load()
	if counts == nil {
		return 0
	}
	for _, r := range reasons {
		n += counts[r].Load()
	}
	return n
}

// unsent are the reasons for which a request never left.
var unsent = map[decision.Reason]bool{
	decision.NoEndpoints: true, decision.DialRefused: true, decision.DialTimeout: true, decision.DialFailed: true, decision.TLSFailed: true,
	decision.UpstreamNotAllowed: true, decision.SVIDMissing: true, decision.UpstreamOverflow: true, decision.UpstreamNotHTTP2: true,
}

// unanswered returns how many requests were sent and got no answer.
func (u *UpstreamMetrics) unanswered() (n uint64) {
	if counts := u.failures[0].Load(); counts != nil {
		for r := range counts {
			if !unsent[decision.Reason(r)] {
				n += counts[r].Load()
			}
		}
	}
	return n
}

// A statusCodes counts by status. Until the first it takes a pointer, and then as much
// as the statuses that occur.
type statusCodes struct {
	tens atomic.Pointer[[50]atomic.Pointer[[10]atomic.Uint64]]
}

// add counts a status; one that HTTP does not have is left out. Budget: 0 allocs but for
// the first of ten.
func (c *statusCodes) add(status int) {
	if i := status - 100; i >= 0 && i < 500 {
		lazily(&lazily(&c.tens)[i/10])[i%10].Add(1)
	}
}

// each calls yield for every status that occurred.
func (c *statusCodes) each(yield func(status int, n uint64)) {
	tens := c.tens.Load()
	if tens == nil {
		return
	}
	for i := range tens {
		ones := tens[i].Load()
		if ones == nil {
			continue
		}
		for j := range ones {
			if n := ones[j].Load(); n > 0 {
				yield(100+10*i+j, n)
			}
		}
	}
}

// A ConnCount is how many connections to an upstream carry requests and how many rest.
type ConnCount struct{ Active, Idle int64 }

// An UpstreamState is how things stand with an upstream when somebody asks.
type UpstreamState struct {
	ConnCount
	Healthy, Unhealthy int64             // endpoints
	Overflows          map[string]uint64 // how often a limit was met, by its name
	Requests, Waiting  int64             // that go on, and that wait for a connection
	Breaker            BreakerState
	Open               map[string]bool // limits by "default" or "high" and their names: whether nothing more is let through

	Opened, OpenedHTTP2, Closed     uint64 // connections
	ConnectFailed, ConnectTimeout   uint64 // those that did not come about; for lack of time
	Connecting, Lasting             Timing // of connections
	BytesIn, BytesOut               int64
	Waited                          uint64 // requests that found no connection at rest
	Panics                          uint64 // requests sent anywhere, as most endpoints fail
	Changes, Updates, MissedUpdates uint64 // of the set of endpoints; looks for it

	ChecksPassed, ChecksFailed, ChecksUnreachable uint64 // health checks by result
}

// A BreakerState is how things stand with an upstream's failure_breaker.
type BreakerState struct {
	There  bool   // there is one
	State  int    // 0 closed, 1 half-open, 2 open
	Opened uint64 // how often, ever
}

// A Timing is how long something took, by buckets: how many were at most each of Bounds,
// and the sum of all.
type Timing struct {
	Bounds []time.Duration
	AtMost []uint64 // cumulative
	Count  uint64
	Sum    time.Duration
}
