package telemetry

import (
	"fmt"
	"strconv"
)

// externalOutcomes are what External filters are told, as Ambassador names it.
var externalOutcomes = [...]string{"allowed", "denied", "error", "handler_error"}

// externalMetrics count what all External filters together are told.
type externalMetrics struct {
	outcomes [len(externalOutcomes)]Counter
	statuses [600]Counter
	other    Counter // where a status makes no sense
}

// External returns the counter of one outcome: "allowed", "denied", "error" or
// "handler_error". Budget: 0 allocs.
func (m *Metrics) External(outcome string) *Counter {
	for i, o := range externalOutcomes {
		if o == outcome {
			return &m.external.outcomes[i]
		}
	}
	panic("BUG: External filters have no outcome " + outcome)
}

// ExternalStatus returns the counter of answers with a status. Budget: 0 allocs.
func (m *Metrics) ExternalStatus(status int) *Counter {
	if status < 0 || status >= len(m.external.statuses) {
		return &m.external.other
	}
	return &m.external.statuses[status]
}

// externalName is a metric under the name that Ambassador gives it.
func externalName(name, help string, labels ...string) *family {
	return newFamily("ambassador_edge_stack_external_"+name, help, labels...)
}

var (
	externalDescs = [len(externalOutcomes)]*family{
		externalName("filter_allowed", "Requests that an External filter let pass."),
		externalName("filter_denied", "Requests that an External filter refused."),
		externalName("filter_error", "Requests about which an External filter could not be asked."),
		externalName("handler_error", "External filters that cannot be used."),
	}
	externalClassDesc  = externalName("filter_rq_class", "Answers of External filters by the class of their status.", "class")
	externalStatusDesc = externalName("filter_rq_status", "Answers of External filters by their status.", "status")
)

// collectExternal shows what External filters were told, once there is something.
func (c collector) collectExternal(out sink) {
	x := &c.m.external
	for i := range x.outcomes {
		if n := x.outcomes[i].Value(); n > 0 {
			out.counter(externalDescs[i], n)
		}
	}
	var classes [6]uint64
	for status := range x.statuses {
		if n := x.statuses[status].Value(); n > 0 {
			classes[status/100] += n
			out.counter(externalStatusDesc, n, strconv.Itoa(status))
		}
	}
	for class, n := range classes {
		if n > 0 {
			out.counter(externalClassDesc, n, fmt.Sprintf("%dxx", class))
		}
	}
}
