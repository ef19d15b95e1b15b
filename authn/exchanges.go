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
type exchanges struct {
	mu   sync.Mutex
	list map[[sha256.Size]byte]*exchange
	many int // at which lapsed ones are looked for
}

// An exchange is one question, and once done is closed what came of it.
type exchange struct {
	done  chan struct{}
	got   *granted
	err   error
	until time.Time // it is known so long
}

// maxExchanges bounds the memory that answers take.
const maxExchanges = 1 << 16

// do returns what ask came back with for what key stands for, now or not long ago. known
// says how long an answer is; a failure is known to those only who wait for it.
func (e *exchanges) do(key [sha256.Size]byte, now time.Time, ask func() (*granted, error), known func(g *granted) time.Time) (*granted, error) {
	e.mu.Lock()
	x := e.list[key]
	if x == nil || !x.until.IsZero() && !now.Before(x.until) {
		x = &exchange{done: make(chan struct{})}
		e.add(key, x, now)
		e.mu.Unlock()
		got, err := ask()
		e.mu.Lock()
		if x.got, x.err = got, err; err == nil {
			x.until = known(got)
		} else if e.list[key] == x {
			delete(e.list, key)
		}
		close(x.done)
	}
	e.mu.Unlock()
	<-x.done
	return x.got, x.err
}

// add takes x up. The caller holds mu.
func (e *exchanges) add(key [sha256.Size]byte, x *exchange, now time.Time) {
	if e.list == nil {
		e.list = map[[sha256.Size]byte]*exchange{}
	}
	if len(e.list) >= max(e.many, 1<<8) {
		maps.DeleteFunc(e.list, func(_ [sha256.Size]byte, x *exchange) bool { return !x.until.IsZero() && !now.Before(x.until) })
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
