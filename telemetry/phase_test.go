package telemetry

import "testing"

// A life goes on, and never back.
func TestPhases(t *testing.T) {
	m := NewMetrics(Build{})
	for _, step := range []struct {
		to      Phase
		entered bool
		is      string
		leaves  bool
	}{
		{Starting, false, "starting", false},
		{Serving, true, "serving", false},
		{Serving, false, "serving", false},
		{Draining, true, "draining", true},
		{Leaving, false, "draining", true},
		{Cut, true, "cut", true},
		{Serving, false, "cut", true},
	} {
		if entered := m.Enter(step.to); entered != step.entered || m.Phase().String() != step.is || m.leaves() != step.leaves {
			t.Errorf("to %v: entered is %v, phase %v, leaves %v", step.to, entered, m.Phase(), m.leaves())
		}
	}
}
