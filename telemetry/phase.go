package telemetry

// A Phase is where a gateway stands in its life. None comes back.
type Phase uint32

// The phases, in their order.
const (
	Starting Phase = iota // no whole configuration serves yet
	Serving
	Leaving  // it has been told to end: not ready, and serving as before until others know
	Draining // it accepts nothing more; what is in flight ends
	Cut      // what was in flight took too long
)

// Phases are all of them.
var Phases = [...]Phase{Starting, Serving, Leaving, Draining, Cut}

func (p Phase) String() string {
	return [...]string{"starting", "serving", "leaving", "draining", "cut"}[p]
}

// Enter goes on to p, and reports whether the phase was an earlier one.
func (m *Metrics) Enter(p Phase) bool {
	for {
		was := m.phase.Load()
		if uint32(p) <= was {
			return false
		}
		if m.phase.CompareAndSwap(was, uint32(p)) {
			return true
		}
	}
}

// Phase returns the phase that was entered last.
func (m *Metrics) Phase() Phase { return Phase(m.phase.Load()) }

// leaves reports whether the gateway has been told to end.
func (m *Metrics) leaves() bool { return m.Phase() >= Leaving }

// collectPhase tells of the phase.
func (m *Metrics) collectPhase(out sink) {
	now := m.Phase()
	for _, p := range Phases {
		is := 0.0
		if p == now {
			is = 1
		}
		out.gauge(phaseDesc, is, p.String())
	}
	draining := 0.0
	if m.leaves() {
		draining = 1
	}
	out.gauge(drainingDesc, draining)
}
