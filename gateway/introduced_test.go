package gateway

import (
	"testing"
	"time"
)

// One line in a while, however many events there are, and none of them goes uncounted.
func TestSometimes(t *testing.T) {
	var s sometimes
	begin := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		after  time.Duration
		passes bool
		others uint64
	}{
		{0, true, 0},
		{0, false, 0},
		{time.Second, false, 0},
		{sayEvery - 1, false, 0},
		{sayEvery, true, 3},
		{sayEvery + 1, false, 0},
		{3 * sayEvery, true, 1},
		{5 * sayEvery, true, 0},
	} {
		if others, ok := s.pass(begin.Add(c.after)); ok != c.passes || others != c.others {
			t.Errorf("after %v: %v, %d others; want %v, %d", c.after, ok, others, c.passes, c.others)
		}
	}
}
