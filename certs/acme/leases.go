package acme

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A lock is held for lockLife at a time and extended three times as often, so that one whose
// holder has died is free soon. Who waits asks every lockPoll.
const (
	lockLife = 30 * time.Second
	lockPoll = time.Second
)

// A register says who has which lock, to all replicas.
type register interface {
	// taker returns what takes a lock for token, or extends it, and reports whether token has
	// it then. It is called by one goroutine at a time.
	taker(name, token string) func(ctx context.Context) (bool, error)
	// release gives a lock back if token has it.
	release(ctx context.Context, name, token string) error
}

// leases are the locks that a process has of a register. They implement certmagic.Locker.
type leases struct {
	register register
	log      *slog.Logger

	mu   sync.Mutex
	held map[string]lease
}

// A lease is a lock that is held.
type lease struct {
	token string
	stop  context.CancelFunc
	ended chan struct{} // closed when nothing extends it any more
}

func newLeases(r register, log *slog.Logger) *leases {
	return &leases{register: r, log: log, held: map[string]lease{}}
}

// Lock implements certmagic.Locker: it waits until nobody has the lock.
func (l *leases) Lock(ctx context.Context, name string) error {
	token := rand.Text()
	take := l.register.taker(name, token)
	for {
		got, err := take(ctx)
		if err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		if got {
			break
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	one := lease{token, stop, make(chan struct{})}
	l.mu.Lock()
	l.held[name] = one
	l.mu.Unlock()
	go func() {
		defer close(one.ended)
		l.extend(keep, name, take)
	}()
	return nil
}

// extend keeps a lock for as long as ctx lasts.
func (l *leases) extend(ctx context.Context, name string, take func(context.Context) (bool, error)) {
	tick := time.NewTicker(lockLife / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if got, err := take(ctx); err == nil && !got {
			l.log.Warn("lock of an order was lost", "lock", name)
			return
		}
	}
}

// Unlock implements certmagic.Locker.
func (l *leases) Unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	one, held := l.held[name]
	delete(l.held, name)
	l.mu.Unlock()
	if !held {
		return fmt.Errorf("lock %s is not held", name)
	}
	one.stop()
	<-one.ended // or it might be taken once more, for nobody
	if err := l.register.release(context.WithoutCancel(ctx), name, one.token); err != nil {
		return fmt.Errorf("unlock %s: %w", name, err) // it ends by itself
	}
	return nil
}
