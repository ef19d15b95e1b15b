package acme

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"legate/e2e/redistest"
)

func TestRedis(t *testing.T) {
	s := redistest.Start(t)
	client := goredis.NewUniversalClient(&goredis.UniversalOptions{Addrs: []string{s.Addr}, Protocol: 2})
	t.Cleanup(func() { _ = client.Close() })
	r := NewRedis(client, slog.New(slog.DiscardHandler))
	checkStorage(t, r)

	// The lock of one who died ends by itself, and who took it then keeps it.
	if err := r.Lock(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if left := s.Do(t, "PTTL", redisLock+"job"); left == "-1" {
		t.Error("a lock lasts for ever")
	}
	// Who did not hear that it has a lock, and asks once more, has it.
	mine, others := r.taker("other job", "mine"), r.taker("other job", "another's")
	for _, row := range []struct {
		take func(context.Context) (bool, error)
		want bool
	}{{mine, true}, {mine, true}, {others, false}} {
		if got, err := row.take(t.Context()); got != row.want || err != nil {
			t.Errorf("got the lock: %v, want %v; %v", got, row.want, err)
		}
	}
	s.Do(t, "SET", redisLock+"job", "somebody else's")
	if err := r.Unlock(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if got := s.Do(t, "GET", redisLock+"job"); got != "somebody else's" {
		t.Errorf("the lock of somebody else was given back: %q", got)
	}

	// What a Redis that is gone does not have is not taken for missing.
	s.Kill()
	begun := time.Now()
	if _, err := r.Load(t.Context(), "a/c"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load from a Redis that is gone: %v", err)
	}
	if time.Since(begun) > 20*time.Second {
		t.Errorf("took %v", time.Since(begun))
	}
}
