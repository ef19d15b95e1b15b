package authn

import (
	"crypto/sha256"
	"maps"
	"sync"
	"time"
)

// exchanges are questions to a token endpoint that several requests have at once, of which
// one asks for all. What came of it is known for a while: a refresh token is good for one
// use, and requests under way still have the old one. The zero value knows none.
type exchanges[T any] struct {
	mu   sync.Mutex
	list map[[sha256.Size]byte]*exchange[T]
	many int // at which lapsed ones are looked for
}

// An exchange is one question, and once done is closed what came of it.
type exchange[T any] struct {
	done  chan struct{}
	got   T
	err   error
	until time.Time // it is known so long
}

// maxExchanges bounds the memory that answers take.
const maxExchanges = 1 << 16

// do returns what ask came back with for what key stands for, now or not long ago. It waits
// so long at most: the question outlives those who have it, as what was spent on it would
// be lost. known says how long an answer is; a failure is known to those only who wait for
// it.
func (e *exchanges[T]) do(key [sha256.Size]byte, now time.Time, wait time.Duration, ask func() (T, error), known func(T) time.Time) (got T, err error) {
	e.mu.Lock()
	x := e.list[key]
	if x == nil || !x.until.IsZero() && !now.Before(x.until) {
		x = &exchange[T]{done: make(chan struct{})}
		e.add(key, x, now)
		go e.run(key, x, ask, known)
	}
	e.mu.Unlock()
	limit := time.NewTimer(wait)
	defer limit.Stop()
	select {
	case <-x.done:
		return x.got, x.err
	case <-limit.C:
		return got, errWaiting
	}
}

// forget has the next one who has the question for key ask again.
func (e *exchanges[T]) forget(key [sha256.Size]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.list[key]; x != nil && !x.until.IsZero() {
		delete(e.list, key)
	}
}

// run asks, and tells who waits.
func (e *exchanges[T]) run(key [sha256.Size]byte, x *exchange[T], ask func() (T, error), known func(T) time.Time) {
	got, err := ask()
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.got, x.err = got, err; err == nil {
		x.until = known(got)
	} else if e.list[key] == x {
		delete(e.list, key)
	}
	close(x.done)
}

// add takes x up. The caller holds mu.
func (e *exchanges[T]) add(key [sha256.Size]byte, x *exchange[T], now time.Time) {
	if e.list == nil {
		e.list = map[[sha256.Size]byte]*exchange[T]{}
	}
	if len(e.list) >= max(e.many, 1<<8) {
		maps.DeleteFunc(e.list, func(_ [sha256.Size]byte, x *exchange[T]) bool { return !x.until.IsZero() && !now.Before(x.until) })
		e.many = 2 * len(e.list)
	}
	if len(e.list) >= maxExchanges {
		for other := range e.list { // any of them
			delete(e.list, other)
			break
		}
	}
	e.list[key] = x
}
