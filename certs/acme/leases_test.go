package acme

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A slowRegister takes locks a second after it is asked to.
type slowRegister struct {
	mu     sync.Mutex
	holder string // a token; "" for nobody
}

func (r *slowRegister) taker(_, token string) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) {
		time.Sleep(time.Second)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.holder == "" {
			r.holder = token
		}
		return r.holder == token, nil
	}
}

func (r *slowRegister) release(_ context.Context, _, token string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holder == token {
		r.holder = ""
	}
	return nil
}

// A lock that is given back while it is extended stays so: it is not taken once more, for nobody.
func TestLockIsGivenBackForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowRegister{}
		l := newLeases(r, slog.New(slog.DiscardHandler))
		if err := l.Lock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lockLife/3 + time.Second/2)
		if err := l.Unlock(t.Context(), "job"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lockLife)
		if r.holder != "" {
			t.Error("somebody has it")
		}
		if l.Unlock(t.Context(), "job") == nil {
			t.Error("it is given back twice")
		}
	})
}
