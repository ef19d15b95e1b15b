package certs

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"legate/e2e/redistest"
)

// All replicas have the same keys. Each seals for a day and opens for two more, those before and
// after, and is gone from Redis then.
func TestTicketKeys(t *testing.T) {
	s := redistest.Start(t)
	client := goredis.NewUniversalClient(&goredis.UniversalOptions{Addrs: []string{s.Addr}, Protocol: 2})
	t.Cleanup(func() { _ = client.Close() })
	keys := func(at time.Time) []TicketKey {
		t.Helper()
		k, err := ticketKeys(t.Context(), client, at)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	now := time.Now()
	today, again, tomorrow := keys(now), keys(now), keys(now.Add(24*time.Hour))
	if !slices.Equal(today, again) {
		t.Error("two replicas have other keys")
	}
	if len(today) != 3 || today[0] == today[1] || today[0] == today[2] || today[0] == (TicketKey{}) {
		t.Errorf("keys are not different ones: %d", len(today))
	}
	if tomorrow[0] != today[2] || tomorrow[1] != today[0] {
		t.Error("tomorrow's replicas do not open what today's have sealed")
	}
	for _, name := range client.Keys(t.Context(), ticketPrefix+"*").Val() {
		if left := client.TTL(t.Context(), name).Val(); left <= 0 || left > 4*24*time.Hour {
			t.Errorf("%s lasts for %v", name, left)
		}
	}
	s.Kill()
	if _, err := ticketKeys(t.Context(), client, now); err == nil {
		t.Error("keys without a Redis")
	}
}

// Whoever follows gets the keys, and ends when it is told to.
func TestFollowTickets(t *testing.T) {
	s := redistest.Start(t)
	client := goredis.NewUniversalClient(&goredis.UniversalOptions{Addrs: []string{s.Addr}, Protocol: 2})
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan []TicketKey, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		FollowTickets(ctx, client, slog.New(slog.DiscardHandler), func(keys []TicketKey) { got <- keys })
	}()
	want, err := ticketKeys(t.Context(), client, time.Now())
	if keys := <-got; err != nil || !slices.Equal(keys, want) {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	cancel()
	<-ended
}
