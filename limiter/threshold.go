// Package limiter bounds what upstreams are asked to bear: how much at once by
// Ambassador's circuit_breakers, which trip on numbers, and anything at all by breakers,
// which trip on failures. It knows no request and no connection, and what is beyond a
// limit it counts, and leaves to others.
package limiter

import (
	"sync/atomic"

	"legate/config"
)

// A Threshold is a number that may not pass a limit.
type Threshold struct {
	limit     int64
	now       atomic.Int64
	overflows atomic.Uint64
}

// NewThreshold returns one where nothing goes on.
func NewThreshold(limit int64) *Threshold { return &Threshold{limit: limit} }

// Enter counts one more, or refuses to. Who was let in leaves. Budget: 0 allocs.
func (t *Threshold) Enter() bool {
	for {
		n := t.now.Load()
		if n >= t.limit {
			t.overflows.Add(1)
			return false
		}
		if t.now.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave counts one less. Budget: 0 allocs.
func (t *Threshold) Leave() { t.now.Add(-1) }

// State returns how things stand.
func (t *Threshold) State() State {
	return State{Limit: t.limit, Now: t.now.Load(), Overflows: t.overflows.Load()}
}

// A State is how things stand with one limit.
type State struct {
	Limit, Now int64
	Overflows  uint64 // how often the limit was met
}

// Thresholds are what an upstream is asked to bear at once. Pools that differ in
// nothing that an author of circuit_breakers thinks of share them.
type Thresholds struct {
	Requests Threshold // that go on
	Retries  Threshold // of those, the ones sent again

	pending     Threshold // requests that wait for a connection
	connections places
}

// New returns thresholds where nothing goes on.
func New(l config.Limits) *Thresholds {
	return &Thresholds{
		Requests:    Threshold{limit: l.Requests},
		Retries:     Threshold{limit: l.Retries},
		pending:     Threshold{limit: l.Pending},
		connections: places{limit: l.Connections},
	}
}

// Wait counts a request that waits for a connection, unless too many do. It has waited
// in the end.
func (t *Thresholds) Wait() bool { return t.pending.Enter() }

// Waited ends a Wait.
func (t *Thresholds) Waited() { t.pending.Leave() }

// Connect counts one more connection: if there is a place and nobody has waited for
// it longer, or because it must be.
func (t *Thresholds) Connect(must bool) bool { return t.connections.take(must) }

// Disconnect gives a connection's place to who has waited longest.
func (t *Thresholds) Disconnect() { t.connections.giveUp() }

// Line stands in line for a connection's place. One value comes over place once there
// is one, which is then counted. leave ends the standing, and gives back a place that
// was not received.
func (t *Thresholds) Line() (place <-chan struct{}, leave func()) { return t.connections.stand() }

// The names of the limits, as metrics have them.
var names = [...]string{"max_connections", "max_pending_requests", "max_requests", "max_retries"}

// States returns how things stand with every limit, by its name in circuit_breakers.
func (t *Thresholds) States(each func(name string, s State)) {
	for i, s := range [...]State{t.connections.state(), t.pending.State(), t.Requests.State(), t.Retries.State()} {
		each(names[i], s)
	}
}
