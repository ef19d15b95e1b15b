package upstream

import (
	"sync/atomic"
	"time"

	"legate/decision"
	"legate/wire"
)

// counters are what an upstream counts. Only what happens off the common request's path
// touches them: connecting and closing, looking for endpoints and asking how they are.
type counters struct {
	live    atomic.Int64 // connecting, in use or idle
	opened  atomic.Uint64
	closed  atomic.Uint64
	waited  atomic.Uint64 // requests that found no connection at rest
	panics  atomic.Uint64 // requests that were sent anywhere as most endpoints fail
	changes atomic.Uint64 // of the set of endpoints
	updates atomic.Uint64 // looks for endpoints that found some
	missed  atomic.Uint64 // those that did not
	meter   wire.Meter
	checks  checkCounters
	times   atomic.Pointer[connTimes]
	refused atomic.Uint64
	timeout atomic.Uint64
	failure atomic.Uint64
	badTLS  atomic.Uint64
}

func (c *counters) failed(r decision.Reason) {
	switch r {
	case decision.DialRefused:
		c.refused.Add(1)
	case decision.DialTimeout:
		c.timeout.Add(1)
	case decision.TLSFailed, decision.UpstreamNotAllowed:
		c.badTLS.Add(1)
	default:
		c.failure.Add(1)
	}
}

// connTimes are how long connections took to come about, and lasted.
type connTimes struct{ connect, length timing }

// timesOf returns them, made with the first connection.
func (c *counters) timesOf() *connTimes {
	if t := c.times.Load(); t != nil {
		return t
	}
	c.times.CompareAndSwap(nil, new(connTimes))
	return c.times.Load()
}

// connected counts a connection that came about in the time since begun.
func (c *counters) connected(begun, now time.Time) {
	c.opened.Add(1)
	c.timesOf().connect.observe(now.Sub(begun))
}

// ended counts the end of a connection that was made at born.
func (c *counters) ended(born, now time.Time) {
	c.closed.Add(1)
	c.timesOf().length.observe(now.Sub(born))
}

// checkCounters count health checks by their results.
type checkCounters struct{ passed, failed, unreachable atomic.Uint64 }

// Stats are an upstream's connections at one moment.
type Stats struct {
	Active int64 // connecting or carrying an exchange
	Idle   int64 // resting in the pool
	Opened uint64
	Closed uint64
	HTTP2  bool // its connections speak HTTP/2

	Waited, Panics      uint64 // requests without a connection at rest; those sent anywhere, as most endpoints fail
	Changes             uint64 // of the set of endpoints
	Updates, Missed     uint64 // looks for endpoints that found some, and the others
	BytesIn, BytesOut   int64  // through sockets, up to 64 KiB of each open one not yet counted
	Connecting, Lasting Timing // of connections

	ChecksPassed, ChecksFailed, ChecksUnreachable uint64 // health checks by result

	Healthy, Unhealthy int64 // endpoints

	Refused, Timeout, Failed, TLSFailed uint64 // connections that did not come about
}

// ConnectFailures is the sum of the connections that did not come about.
func (s *Stats) ConnectFailures() uint64 { return s.Refused + s.Timeout + s.Failed + s.TLSFailed }

// Stats returns u's connections now.
func (u *Upstream) Stats() Stats {
	s := Stats{
		Opened:    u.stats.opened.Load(),
		Refused:   u.stats.refused.Load(),
		Timeout:   u.stats.timeout.Load(),
		Failed:    u.stats.failure.Load(),
		TLSFailed: u.stats.badTLS.Load(),

		Closed: u.stats.closed.Load(), HTTP2: u.spec.HTTP2,
		Waited: u.stats.waited.Load(), Panics: u.stats.panics.Load(),
		Changes: u.stats.changes.Load(), Updates: u.stats.updates.Load(), Missed: u.stats.missed.Load(),
		BytesIn: u.stats.meter.In.Load(), BytesOut: u.stats.meter.Out.Load(),
		ChecksPassed: u.stats.checks.passed.Load(), ChecksFailed: u.stats.checks.failed.Load(), ChecksUnreachable: u.stats.checks.unreachable.Load(),
	}
	if t := u.stats.times.Load(); t != nil {
		s.Connecting, s.Lasting = t.connect.snapshot(), t.length.snapshot()
	}
	live := u.stats.live.Load()
	for _, e := range u.ends.Load().list {
		s.Idle += int64(e.idleCount())
	}
	for _, e := range u.ends.Load().list {
		if e.failing.Load() == 0 {
			s.Healthy++
		} else {
			s.Unhealthy++
		}
	}
	// A connection may have come to rest between the two looks.
	s.Active = max(live-s.Idle, 0)
	return s
}

// An EndpointState is one endpoint as operators see it.
type EndpointState struct {
	Address string
	Idle    int
	Healthy bool // passes its health checks, if there are any
}

// Endpoints returns u's endpoints and why they are missing or old; nil if they are
// neither.
func (u *Upstream) Endpoints() ([]EndpointState, error) {
	es := u.ends.Load()
	list := make([]EndpointState, len(es.list))
	for i, e := range es.list {
		list[i] = EndpointState{Address: e.text, Idle: e.idleCount(), Healthy: e.failing.Load() == 0}
	}
	return list, es.err
}
