package limiter

import "time"

// A slide is a counter of what passed in the time before any moment: a list of when, and
// how many at once.
type slide struct {
	passed []passage // the oldest first
	count  int64     // in all of passed
	ends   int64     // when the last of passed counts no more, in Unix nanoseconds
}

type passage struct {
	at    int64 // Unix nanoseconds
	count int64
}

// maxPassages bounds what is remembered of one counter. Where more may pass, moments are
// told apart less finely, so that each counts a little longer than it should and never
// shorter.
const maxPassages = 1024

// grain is how finely w tells moments apart: whole milliseconds.
func (w *Window) grain() int64 {
	if w.Rate*w.Burst <= maxPassages {
		return int64(time.Millisecond)
	}
	const ms = int64(time.Millisecond)
	return (int64(w.Unit)*w.Burst/maxPassages + ms - 1) / ms * ms
}

// take lets one more pass if there is room.
func (l *slide) take(t *Take, now int64, peek bool) {
	w := &t.Window
	length, grain, most := int64(w.Unit)*w.Burst, w.grain(), w.Rate*w.Burst
	l.forget(now - length)
	*t = Take{Key: t.Key, Name: t.Name, Window: t.Window}
	if l.count >= most {
		t.Over = true
		t.RetryAfter = time.Duration(length)
		if len(l.passed) > 0 {
			t.RetryAfter = time.Duration(l.passed[0].at + length - now)
		}
		return
	}
	t.Remaining = most - l.count - 1
	if peek {
		return
	}
	at := (now + grain - 1) / grain * grain // the end of the moment, so that it leaves late
	if n := len(l.passed); n > 0 && l.passed[n-1].at >= at {
		l.passed[n-1].count++
	} else {
		l.passed = append(l.passed, passage{at, 1})
	}
	l.count++
	l.ends = at + length
}

// forget drops what passed at or before the moment.
func (l *slide) forget(until int64) {
	n := 0
	for n < len(l.passed) && l.passed[n].at <= until {
		l.count -= l.passed[n].count
		n++
	}
	if n > 0 {
		l.passed = l.passed[:copy(l.passed, l.passed[n:])]
	}
}
