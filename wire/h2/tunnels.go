package h2

import (
	"sync"

	"legate/wire"
)

// A tunnels are the streams of a connection that have become tunnels.
type tunnels struct {
	mu   sync.Mutex
	open map[*wire.Tunnel]struct{}
	last func() // called when the last has ended; nil as long as they may go on
}

func (ts *tunnels) add(t *wire.Tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.open == nil {
		ts.open = map[*wire.Tunnel]struct{}{}
	}
	ts.open[t] = struct{}{}
}

func (ts *tunnels) remove(t *wire.Tunnel) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.open, t)
	if len(ts.open) == 0 && ts.last != nil {
		ts.last()
	}
}

// stop ends all tunnels in order, if their sides let it, and has last called afterwards:
// at once, if there are none.
func (ts *tunnels) stop(last func()) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.open) == 0 {
		last()
		return
	}
	ts.last = last
	for t := range ts.open {
		t.Stop()
	}
}
