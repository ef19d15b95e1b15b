package upstream

import (
	"sync/atomic"

	"legate/decision"
)

// counters are what an upstream counts. Only connecting and closing touch them.
type counters struct {
	live    atomic.Int64 // connecting, in use or idle
	opened  atomic.Uint64
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
	case decision.TLSFailed:
		c.badTLS.Add(1)
	default:
		c.failure.Add(1)
	}
}

// Stats are an upstream's connections at one moment.
type Stats struct {
	Active int64 // connecting or carrying an exchange
	Idle   int64 // resting in the pool
	Opened uint64

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
