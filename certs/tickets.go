package certs

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// A TicketKey seals the tickets by which clients resume TLS sessions (RFC 8446 §4.6.1).
type TicketKey = [32]byte

const (
	ticketLife   = 24 * time.Hour   // how long a key seals
	ticketLook   = 10 * time.Minute // how often it is looked whether another one does
	ticketRetry  = 5 * time.Second  // how soon after that failed
	ticketWait   = 2 * time.Second  // for Redis
	ticketPrefix = "legate:tickets:"
)

// FollowTickets has replicas seal with the same keys, so that a session begun at one is resumed
// at any. It calls set with the keys, the one that seals first, whenever they change, until ctx
// is done. Each key seals for a day. The next one is there before it is needed, as clocks
// differ, and the last one opens for a day more; then it is gone from Redis as well, and
// with it whatever could be learned from tickets. Before Redis has answered, and where it is
// gone for long, every replica goes on with the keys that it has.
func FollowTickets(ctx context.Context, client redis.UniversalClient, log *slog.Logger, set func([]TicketKey)) {
	var last []TicketKey
	for told := false; ; {
		keys, err := ticketKeys(ctx, client, time.Now())
		wait := ticketLook
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = ticketRetry
			if !told {
				log.Warn("sessions are not resumed at other replicas for now", "error", err)
			}
		case !slices.Equal(keys, last):
			set(keys)
			last = keys
		}
		told = err != nil
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ticketKeys returns today's key, the one before, and the one after. What is not there yet
// is made by whoever comes first.
func ticketKeys(ctx context.Context, client redis.UniversalClient, now time.Time) ([]TicketKey, error) {
	ctx, cancel := context.WithTimeout(ctx, ticketWait)
	defer cancel()
	day := now.Unix() / int64(ticketLife/time.Second)
	var keys []TicketKey
	for _, d := range []int64{day, day - 1, day + 1} {
		name := ticketPrefix + strconv.FormatInt(d, 10)
		until := time.Unix((d+2)*int64(ticketLife/time.Second), 0)
		fresh := make([]byte, len(TicketKey{}))
		_, _ = rand.Read(fresh)                                                                                                        // it never fails
		if err := client.SetArgs(ctx, name, fresh, redis.SetArgs{Mode: "NX", ExpireAt: until}).Err(); err != nil && err != redis.Nil { //nolint:errorlint // because Nil is never wrapped
			return nil, fmt.Errorf("make ticket key: %w", err)
		}
		text, err := client.Get(ctx, name).Bytes()
		if err != nil {
			return nil, fmt.Errorf("get ticket key: %w", err)
		}
		if len(text) != len(TicketKey{}) {
			return nil, fmt.Errorf("get ticket key: %s in Redis is not of this gateway", name)
		}
		keys = append(keys, TicketKey(text))
	}
	return keys, nil
}
