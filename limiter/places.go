package limiter

import (
	"container/list"
	"sync"
)

// places are a limited number, for which one can stand in line. Who comes later does
// not overtake.
type places struct {
	limit int64

	mu        sync.Mutex
	now       int64
	line      list.List // of chan struct{}, who has waited longest first
	overflows uint64
}

// take counts one more: if there is a place and nobody waits for it, or because it
// must be.
func (p *places) take(must bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !must && (p.now >= p.limit || p.line.Len() > 0) {
		p.overflows++
		return false
	}
	p.now++
	return true
}

// giveUp counts one less, or passes the place on.
func (p *places) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass()
}

// pass is giveUp for who holds mu.
func (p *places) pass() {
	first := p.line.Front()
	if first == nil || p.now > p.limit { // some had to be beyond the limit
		p.now--
		return
	}
	p.line.Remove(first).(chan struct{}) <- struct{}{} //nolint:forcetypeassert // nothing else is put in
}

// stand stands in line for a place.
func (p *places) stand() (place <-chan struct{}, leave func()) {
	ch := make(chan struct{}, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now < p.limit && p.line.Len() == 0 {
		p.now++
		ch <- struct{}{}
		return ch, func() { p.leave(ch, nil) }
	}
	at := p.line.PushBack(ch)
	return ch, func() { p.leave(ch, at) }
}

// leave ends the standing of who stood at a place in line, or had none to stand.
func (p *places) leave(ch chan struct{}, at *list.Element) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-ch: // granted, and not received
		p.pass()
	default:
		if at != nil {
			p.line.Remove(at) // nothing, if it was received
		}
	}
}

func (p *places) state() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{Limit: p.limit, Now: p.now, Overflows: p.overflows}
}
