package upstream

import (
	"errors"
	"time"
)

// lookEvery is how often who waits looks whether anybody waits for the request itself.
const lookEvery = 100 * time.Millisecond

var errNobody = errors.New("the client left while its request waited for a connection")

// A wait ends when its time is over, or when nobody waits for the request any more. As long
// as neither has come its timer fires now and then, and goesOn says so.
type wait struct {
	*time.Timer
	up   *Upstream
	by   time.Time
	gone func() bool // see Choice
	left bool        // it has ended because of that
}

// newWait begins to wait until by. Whoever waits stops it.
func (u *Upstream) newWait(by time.Time, gone func() bool) *wait {
	w := &wait{up: u, by: by, gone: gone}
	w.Timer = time.NewTimer(w.next())
	return w
}

// next is when to look again.
func (w *wait) next() time.Duration {
	left := w.by.Sub(w.up.now())
	if w.gone != nil {
		left = min(left, lookEvery)
	}
	return left
}

// goesOn is asked when the timer has fired.
func (w *wait) goesOn() bool {
	w.left = w.gone != nil && w.gone()
	if w.left || !w.up.now().Before(w.by) {
		return false
	}
	w.Reset(w.next())
	return true
}

// why returns why the wait has ended: otherwise is said of its time.
func (w *wait) why(otherwise error) error {
	if w.left {
		return errNobody
	}
	return otherwise
}
