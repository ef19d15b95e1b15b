package telemetry

import (
	"sync/atomic"
	"time"
)

// meshMetrics say who the gateway is in the mesh, where it asks anybody.
type meshMetrics struct {
	said, failed Counter
	last         atomic.Pointer[meshIdentity] // nil where nobody was asked yet
}

// A meshIdentity is who the gateway is in the mesh, "" for nobody yet.
type meshIdentity struct {
	id    string
	until time.Time
}

// Identified says that the mesh knows the gateway as id until a time, "" for nobody yet. Where
// err is not nil that was known before, as nothing newer could be learned.
func (m *Metrics) Identified(id string, until time.Time, err error) {
	if err != nil {
		m.mesh.failed.Add()
	} else {
		m.mesh.said.Add()
	}
	m.mesh.last.Store(&meshIdentity{id, until})
}

func (m *meshMetrics) collect(out sink) {
	last := m.last.Load()
	if last == nil {
		return
	}
	out.counter(workloadDesc, m.said.Value(), "success")
	out.counter(workloadDesc, m.failed.Value(), "failure")
	if last.id != "" {
		out.gauge(svidExpiryDesc, time.Until(last.until).Seconds(), last.id)
	}
}
