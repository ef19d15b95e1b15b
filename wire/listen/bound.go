package listen

import "sync/atomic"

// A Bound is how many connections several Listeners may have together, as they have the
// process' file descriptors together.
type Bound struct {
	most  int64
	count atomic.Int64
}

// NewBound returns one of at most that many connections.
func NewBound(most int) *Bound { return &Bound{most: int64(most)} }

// enter counts a connection, or reports that it is one too many. nil takes any number.
func (b *Bound) enter() bool {
	if b != nil && b.count.Add(1) > b.most {
		b.count.Add(-1)
		return false
	}
	return true
}

func (b *Bound) leave() {
	if b != nil {
		b.count.Add(-1)
	}
}
