package h2

import (
	"os"
	"time"

	"legate/wire"
)

// A bell lets one goroutine wait until it is rung, or for some time. A ring that nobody
// waits for is kept for who comes next; so waking in vain is to be expected.
type bell struct {
	rung  chan struct{}
	timer *time.Timer
}

func newBell() bell { return bell{rung: make(chan struct{}, 1)} }

// ring wakes who waits. It never blocks.
func (b *bell) ring() {
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// hush forgets a ring that is kept.
func (b *bell) hush() {
	select {
	case <-b.rung:
	default:
	}
}

// wait returns true when the bell rang and false after d; d 0 is for ever.
// Budget: 0 allocs once the bell has a timer.
func (b *bell) wait(d time.Duration) bool {
	if d <= 0 {
		<-b.rung
		return true
	}
	if b.timer == nil {
		b.timer = time.NewTimer(d)
	} else {
		b.timer.Reset(d)
	}
	select {
	case <-b.rung:
		b.timer.Stop()
		return true
	case <-b.timer.C:
		return false
	}
}

// tickEvery is how often a tick is asked while somebody waits.
const tickEvery = time.Second

// await waits for the bell until by, zero for ever, and asks tick, which may be nil,
// about once a second whether to go on. It returns nil when the bell rang.
func (b *bell) await(now func() time.Time, by *time.Time, tick wire.Tick) error {
	for {
		d := time.Duration(0)
		if !by.IsZero() {
			if d = by.Sub(now()); d <= 0 {
				return os.ErrDeadlineExceeded
			}
		}
		if tick != nil && (d == 0 || d > tickEvery) {
			d = tickEvery
		}
		if b.wait(d) {
			return nil
		}
		if tick == nil {
			continue
		}
		until, ok := tick(*by)
		if !ok {
			return wire.ErrAbandoned
		}
		*by = until
	}
}
