package limiter

import "time"

// A Window says how a limit counts.
type Window struct {
	Rate int64         // that pass in every Unit; 0 for none
	Unit time.Duration // a whole number of seconds
	// Burst is how many units slide together: at most Burst times Rate pass in any of
	// that length. 0 counts in windows that begin by the calendar.
	Burst int64
}

// A Key names one counter: a limit's pattern with the values that a request has in it.
type Key [2]uint64

// A Take is one counter to raise, and what came of it.
type Take struct {
	Key    Key
	Name   []byte // the same as Key in words, for stores that others share; lent until Take returns
	Window Window

	Unknown    bool          // the store could not be asked: nothing else is said
	Local      bool          // Over by what the store had said before: it was not asked
	Over       bool          // more than the limit; the request was counted all the same, unless its window slides
	Remaining  int64         // that would still pass
	RetryAfter time.Duration // until something passes again; 0 where it is not Over
}

// A Store keeps counters. Taking is one atomic step for each of them, so that two gateways
// never both spend the last of a limit.
type Store interface {
	// Take raises the counters of takes at now and writes down what came of it, within
	// patience; 0 is for as long as the store likes. With peek
	// it raises nothing and tells what would. An error says why some of them are Unknown.
	Take(patience time.Duration, takes []Take, now time.Time, peek bool) error
}

// begin returns when the calendar's window of now began, in seconds of Unix time.
func (w *Window) begin(now time.Time) int64 {
	unit := int64(w.Unit / time.Second)
	return now.Unix() / unit * unit
}

// settle writes down what a calendar's window says once count were in it.
func (t *Take) settle(count int64, now time.Time) {
	t.Over = count > t.Window.Rate
	t.Remaining = max(t.Window.Rate-count, 0)
	t.RetryAfter = 0
	if t.Over {
		ends := time.Unix(t.Window.begin(now), 0).Add(t.Window.Unit)
		t.RetryAfter = ends.Sub(now)
	}
}

// RetrySeconds is RetryAfter in seconds as Retry-After counts them, rounded up: nobody comes
// back too early. 0 is for what is not Over.
func (t *Take) RetrySeconds() int64 {
	return int64((t.RetryAfter + time.Second - 1) / time.Second)
}
