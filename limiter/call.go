package limiter

import (
	"sync"
	"sync/atomic"
	"time"
)

// A call is the questions of one request. Two hold it: who waits for the answers, and the
// lanes until they have answered all. Whoever lets go last gives it back.
type call struct {
	inquiries []inquiry
	left      atomic.Int32 // questions that wait, and one as long as some are to come
	state     atomic.Int32
	holders   atomic.Int32
	done      chan struct{} // one value, once all is answered and if somebody waits
	patience  time.Duration
	timer     *time.Timer
	home      *sync.Pool
}

// The states of a call.
const (
	callWaits int32 = iota
	callAnswered
	callAbandoned // nobody waits any more
)

func newCall(home *sync.Pool) *call {
	c := &call{done: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), home: home}
	c.timer.Stop()
	return c
}

// begin makes c ready for n questions, for which somebody waits so long.
func (c *call) begin(n int, patience time.Duration) {
	if cap(c.inquiries) < n {
		c.inquiries = make([]inquiry, n)
	}
	c.inquiries = c.inquiries[:n]
	c.patience = patience
	c.state.Store(callWaits)
	c.holders.Store(2)
	c.left.Store(1)
}

// wait waits for all answers, as long as there is patience. Those that have come by then have
// ended; others may end any time until the caller lets go. Budget: 0 allocs.
func (c *call) wait() {
	if c.left.Add(-1) == 0 {
		c.finish()
	}
	c.timer.Reset(c.patience)
	defer c.timer.Stop()
	select {
	case <-c.done:
		return
	case <-c.timer.C:
	}
	if !c.state.CompareAndSwap(callWaits, callAbandoned) {
		<-c.done
	}
}

// end notes that q is answered, or why not.
func (q *inquiry) end(err error) {
	q.err = err
	q.ended.Store(true)
	if q.call.left.Add(-1) == 0 {
		q.call.finish()
	}
}

// finish tells who waits.
func (c *call) finish() {
	if c.state.CompareAndSwap(callWaits, callAnswered) {
		c.done <- struct{}{}
	}
	c.release()
}

func (c *call) release() {
	if c.holders.Add(-1) == 0 {
		c.home.Put(c)
	}
}
