package upstream

import (
	"sync/atomic"
	"time"
)

// timingBounds are the upper ends of the buckets of a Timing.
var timingBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 5 * time.Second, 30 * time.Second, 5 * time.Minute, 30 * time.Minute, time.Hour,
}

// A Timing is how long something took, by buckets: how many were at most each of Bounds,
// and the sum of all.
type Timing struct {
	Bounds []time.Duration
	AtMost []uint64 // cumulative
	Count  uint64
	Sum    time.Duration
}

// Add adds another's.
func (t *Timing) Add(o Timing) {
	if t.AtMost == nil {
		t.Bounds, t.AtMost = timingBounds[:], make([]uint64, len(timingBounds))
	}
	for i := range o.AtMost {
		t.AtMost[i] += o.AtMost[i]
	}
	t.Count += o.Count
	t.Sum += o.Sum
}

// timing counts durations. Its zero value is empty.
type timing struct {
	buckets [len(timingBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (t *timing) observe(d time.Duration) {
	i := 0
	for i < len(timingBounds) && d > timingBounds[i] {
		i++
	}
	t.buckets[i].Add(1)
	t.sum.Add(int64(max(d, 0)))
}

func (t *timing) snapshot() Timing {
	s := Timing{Bounds: timingBounds[:], AtMost: make([]uint64, len(timingBounds)), Sum: time.Duration(t.sum.Load())}
	for i := range t.buckets {
		s.Count += t.buckets[i].Load()
		if i < len(timingBounds) {
			s.AtMost[i] = s.Count
		}
	}
	return s
}
