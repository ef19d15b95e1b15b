package telemetry

import (
	"maps"
	"sync"
)

// Reported are things that collectors elsewhere are told.
type Reported uint8

// The things.
const (
	Spans      Reported = iota // to a TracingService
	LogEntries                 // to a LogService
)

var reportedDescs = [...]*family{
	Spans:      describe("trace_spans_total", "Spans meant for a TracingService, by what became of them.", "service", "outcome"),
	LogEntries: describe("log_service_entries_total", "Entries meant for a LogService, by what became of them.", "service", "outcome"),
}

// reportedMetrics count what became of what collectors were to be told.
type reportedMetrics struct {
	mu       sync.Mutex
	counters map[reportedKey]*Counter
}

type reportedKey struct {
	what             Reported
	service, outcome string
}

// Reported returns the counter of what was meant for a collector and had one outcome.
func (m *Metrics) Reported(what Reported, service, outcome string) *Counter {
	r := &m.reported
	r.mu.Lock()
	defer r.mu.Unlock()
	key := reportedKey{what, service, outcome}
	c := r.counters[key]
	if c == nil {
		c = &Counter{}
		if r.counters == nil {
			r.counters = map[reportedKey]*Counter{}
		}
		r.counters[key] = c
	}
	return c
}

func (r *reportedMetrics) collect(out sink) {
	r.mu.Lock()
	counters := maps.Clone(r.counters)
	r.mu.Unlock()
	for key, c := range counters {
		out.counter(reportedDescs[key.what], c.Value(), key.service, key.outcome)
	}
}
