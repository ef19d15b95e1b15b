package limiter

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A windows is counters of the calendar, in cells of open addressing: one that is there is
// found and raised without a lock. Whoever adds one has the lock. Cells that are full are
// followed by others, and what has run out by then is left behind.
type windows struct {
	cells atomic.Pointer[cells]
	_     [56]byte // who adds does not disturb who reads
	mu    sync.Mutex
	used  int // of cells
	_     [48]byte
}

// Cells hold counters where their keys say, or next to it. How many there are is a power of
// two.
type cells []cell

// A cell is one counter; its state is 0 until the key is there. No cell is in two lines of
// the processor's cache.
type cell struct {
	state atomic.Uint64 // when the window ends, in seconds of Unix time, and below that the count
	key   [2]atomic.Uint64
	_     [8]byte
}

const (
	countBits = 32
	maxCount  = math.MaxUint32 - 1
	// moved says that other cells have the counter.
	moved = math.MaxUint64

	fewest = 8
)

// most is how many counters they hold: three for every four of them, so that one that is
// not there is soon told.
func (t cells) most() int { return len(t) / 4 * 3 }

// find returns the cell of a key, nil where there is none. Budget: 0 allocs.
func (t cells) find(k Key) *cell {
	mask := uint64(len(t) - 1) //nolint:gosec // because there are some
	for i := k[1] & mask; ; i = (i + 1) & mask {
		e := &t[i]
		if e.state.Load() == 0 {
			return nil
		}
		if e.key[0].Load() == k[0] && e.key[1].Load() == k[1] {
			return e
		}
	}
}

// add writes a cell for a key that has none. Only one may add at a time.
func (t cells) add(k Key, state uint64) {
	mask := uint64(len(t) - 1) //nolint:gosec // because there are some
	i := k[1] & mask
	for t[i].state.Load() != 0 {
		i = (i + 1) & mask
	}
	t[i].key[0].Store(k[0])
	t[i].key[1].Store(k[1])
	t[i].state.Store(state) // makes it visible
}

// raised is what a state becomes by one more request, for a window of unit seconds that
// ends then. A request that comes late, from the window before, counts in the one that has
// begun; no clock is wrong by more than that without being set.
func raised(state, ends, unit uint64) uint64 {
	was := state >> countBits
	switch n := state & math.MaxUint32; {
	case was != ends && (was < ends || was > ends+unit):
		return ends<<countBits | 1
	case n >= maxCount:
		return state
	default:
		return state + 1
	}
}

// take raises a counter, or with peek only tells what it would be. most bounds how many
// there are. Budget: 0 allocs for a counter that is there.
func (w *windows) take(t *Take, now time.Time, most int, peek bool) {
	unit := uint64(t.Window.Unit / time.Second) //nolint:gosec // because it is some seconds
	ends := uint64(max(t.Window.begin(now), 0)) + unit
	for {
		e := w.find(t.Key)
		if e == nil && (peek || w.add(t.Key, ends<<countBits|1, uint64(max(now.Unix(), 0)), most)) {
			t.settle(1, now)
			return
		}
		if e == nil {
			continue // somebody else was first
		}
		state := e.state.Load()
		for state != moved {
			next := raised(state, ends, unit)
			if peek || e.state.CompareAndSwap(state, next) {
				t.settle(int64(next&math.MaxUint32), now)
				return
			}
			state = e.state.Load()
		}
		w.mu.Lock()   // until the next cells are there
		w.mu.Unlock() //nolint:staticcheck // because waiting is all that is wanted
	}
}

func (w *windows) find(k Key) *cell {
	if t := w.cells.Load(); t != nil {
		return t.find(k)
	}
	return nil
}

// add adds a counter. It returns false if there is one by now.
func (w *windows) add(k Key, state, now uint64, most int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.find(k) != nil {
		return false
	}
	t := w.cells.Load()
	if t == nil || w.used >= min(t.most(), most) {
		t = w.follow(t, now, most)
	}
	t.add(k, state)
	w.used++
	return true
}

// A kept is a counter on its way to other cells.
type kept struct {
	key   Key
	state uint64
}

// follow puts others in the place of t, which may be nil, with room for more. Of
// counters that have not run out those whose window ends first go where there are too many.
func (w *windows) follow(t *cells, now uint64, most int) *cells {
	var live []kept
	if t != nil {
		for i := range *t {
			e := &(*t)[i]
			if e.state.Load() == 0 {
				continue // nobody else adds
			}
			if s := e.state.Swap(moved); s>>countBits > now {
				live = append(live, kept{Key{e.key[0].Load(), e.key[1].Load()}, s})
			}
		}
	}
	if room := max(most/8, 1); len(live) > most-room {
		slices.SortFunc(live, func(a, b kept) int { return cmp.Compare(b.state>>countBits, a.state>>countBits) })
		live = live[:max(most-room, 0)]
	}
	size := fewest
	for size/2 <= len(live) {
		size *= 2
	}
	next := make(cells, size)
	for i := range live {
		next.add(live[i].key, live[i].state)
	}
	w.used = len(live)
	w.cells.Store(&next)
	return &next
}

// counters returns how many there are, those that have run out included.
func (w *windows) counters() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used
}
