package gateway

import (
	"legate/config"
	"legate/limiter"
	"legate/telemetry"
	"legate/upstream"
)

// upstreamStates returns how things stand with the current upstreams, by their names
// in metrics, which several may share.
func (g *Gateway) upstreamStates() map[string]*telemetry.UpstreamState {
	s := g.snap.Load()
	if s.upstreams == nil {
		return nil
	}
	all := s.upstreams.All()
	states := make(map[string]*telemetry.UpstreamState, len(all))
	type budget struct {
		name string
		*limiter.Thresholds
	}
	counted := make(map[budget]bool, len(all))
	breakers := s.breakerStates()
	for _, u := range all {
		st := states[u.Name()]
		if st == nil {
			st = &telemetry.UpstreamState{Overflows: make(map[string]uint64, len(openNames[0])), Open: make(map[string]bool, len(openNames[0]))}
			states[u.Name()] = st
			if b, ok := breakers[u.Name()]; ok {
				st.Breaker = telemetry.BreakerState{There: true, State: int(b.State), Opened: b.Opened}
			}
		}
		conns := u.Stats()
		addStats(st, &conns)
		t, _ := u.Budget().(*limiter.Thresholds)
		if t == nil {
			continue // nothing bounds it
		}
		if counted[budget{u.Name(), t}] {
			continue // several pools share it
		}
		counted[budget{u.Name(), t}] = true
		names := openNames[0]
		if u.Spec().Priority == config.HighPriority {
			names = openNames[1]
		}
		t.States(func(name string, now limiter.State) {
			st.Overflows[name] += now.Overflows
			open := names[name]
			st.Open[open] = st.Open[open] || now.Now >= now.Limit
			switch name {
			case "max_requests":
				st.Requests += now.Now
			case "max_pending_requests":
				st.Waiting += now.Now
			}
		})
	}
	return states
}

// openNames are the names of limits by which they are told to be met: of the default
// priority, and of the high one.
var openNames = func() (names [2]map[string]string) {
	for i, priority := range []string{"default ", "high "} {
		names[i] = map[string]string{}
		limiter.New(config.DefaultLimits).States(func(name string, _ limiter.State) { names[i][name] = priority + name })
	}
	return names
}()

// addStats adds what is known of one pool.
func addStats(st *telemetry.UpstreamState, s *upstream.Stats) {
	st.Active += s.Active
	st.Idle += s.Idle
	st.Healthy += s.Healthy
	st.Unhealthy += s.Unhealthy
	st.Opened += s.Opened
	if s.HTTP2 {
		st.OpenedHTTP2 += s.Opened
	}
	st.Closed += s.Closed
	st.ConnectFailed += s.ConnectFailures()
	st.ConnectTimeout += s.Timeout
	addTiming(&st.Connecting, &s.Connecting)
	addTiming(&st.Lasting, &s.Lasting)
	st.BytesIn += s.BytesIn
	st.BytesOut += s.BytesOut
	st.Waited += s.Waited
	st.Panics += s.Panics
	st.Changes += s.Changes
	st.Updates += s.Updates
	st.MissedUpdates += s.Missed
	st.ChecksPassed += s.ChecksPassed
	st.ChecksFailed += s.ChecksFailed
	st.ChecksUnreachable += s.ChecksUnreachable
}

func addTiming(sum *telemetry.Timing, more *upstream.Timing) {
	if more.AtMost == nil {
		return
	}
	all := upstream.Timing(*sum)
	all.Add(*more)
	*sum = telemetry.Timing(all)
}
