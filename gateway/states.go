package gateway

import (
	"legate/limiter"
	"legate/telemetry"
)

// upstreamStates returns how things stand with the current upstreams, by their names
// in metrics, which several may share.
func (g *Gateway) upstreamStates() map[string]*telemetry.UpstreamState {
	states := map[string]*telemetry.UpstreamState{}
	s := g.snap.Load()
	if s.upstreams == nil {
		return states
	}
	type budget struct {
		name string
		*limiter.Thresholds
	}
	counted := map[budget]bool{}
	for _, u := range s.upstreams.All() {
		st := states[u.Name()]
		if st == nil {
			st = &telemetry.UpstreamState{Overflows: map[string]uint64{}}
			states[u.Name()] = st
		}
		conns := u.Stats()
		st.Healthy += conns.Healthy
		st.Unhealthy += conns.Unhealthy
		t, _ := u.Budget().(*limiter.Thresholds)
		if counted[budget{u.Name(), t}] {
			continue // several pools share it
		}
		counted[budget{u.Name(), t}] = true
		t.States(func(name string, now limiter.State) { st.Overflows[name] += now.Overflows })
	}
	return states
}
