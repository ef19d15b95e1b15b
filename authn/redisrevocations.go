package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A RedisFeed shares revocations by a Redis: a set of all that have not lapsed, a number
// that grows with each, and a channel on which gateways hear of them at once. Both keys are
// in one part of a cluster.
type RedisFeed struct {
	client redis.UniversalClient
	clock  func() time.Time
	log    *slog.Logger
	last   int64 // number of the last one that was heard of; Follow's
}

const (
	revokedKey     = "{legate.revoked}"
	revokedNumber  = "{legate.revoked}.number"
	revokedChannel = "legate.revoked"

	// publishTime is how long it may take to tell others.
	publishTime = time.Second
	// hearAgain is how long nothing is heard until it is asked whether there was something.
	hearAgain = time.Second
	// followAgain is after which time a Redis that was gone is looked for again.
	followAgain = 250 * time.Millisecond
	// revokedPage is how many are read at once.
	revokedPage = 10_000
)

// publishScript takes up one id and tells of it. ARGV: the id, when it lapses and the
// present, in Unix milliseconds, the channel, and how many are kept.
var publishScript = redis.NewScript(`
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[5] - 1)
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[1], last[2]) end
local number = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[4], number .. ' ' .. ARGV[2] .. ' ' .. ARGV[1])
return number
`)

// NewRedisFeed returns a feed. client is the caller's, who closes it after Follow has ended.
func NewRedisFeed(client redis.UniversalClient, clock func() time.Time, log *slog.Logger) *RedisFeed {
	return &RedisFeed{client: client, clock: clock, log: log}
}

// Publish tells the others, within a second or not at all.
func (f *RedisFeed) Publish(ctx context.Context, id string, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	err := publishScript.Run(ctx, f.client, []string{revokedKey, revokedNumber},
		id, until.UnixMilli()+1, f.clock().UnixMilli(), revokedChannel, maxRevocations).Err()
	if err != nil {
		return fmt.Errorf("share a revocation: %w", err)
	}
	return nil
}

// Follow notes in r what other gateways revoke, until ctx is done. While the Redis is gone
// nothing is heard; once it is back, everything that was missed is taken up, and what it has
// lost, or was never told, it is told again.
func (f *RedisFeed) Follow(ctx context.Context, r *Revocations) {
	lost := false
	heard := func() {
		if lost {
			f.log.Info("revocations of other gateways are heard of again")
		}
		lost = false
	}
	for ctx.Err() == nil {
		err := f.listen(ctx, r, heard)
		if ctx.Err() != nil {
			return
		}
		if !lost {
			f.log.Warn("revocations of other gateways are not heard of", "error", err)
		}
		lost = true
		select {
		case <-time.After(followAgain):
		case <-ctx.Done():
		}
	}
}

// listen hears what is published until something fails. It calls heard once all that was
// missed is taken up.
func (f *RedisFeed) listen(ctx context.Context, r *Revocations, heard func()) error {
	channel := f.client.Subscribe(ctx, revokedChannel)
	defer func() { _ = channel.Close() }()                              // it is left for good
	defer context.AfterFunc(ctx, func() { _ = channel.Close() })()      // or else it listens on for a while
	if _, err := channel.ReceiveTimeout(ctx, publishTime); err != nil { // that it listens
		return err
	}
	if err := f.catchUp(ctx, r); err != nil {
		return err
	}
	heard()
	for {
		message, err := channel.ReceiveTimeout(ctx, hearAgain)
		var slow net.Error
		switch {
		case err == nil:
			if f.hear(message, r) {
				continue
			}
		case ctx.Err() != nil || !errors.As(err, &slow) || !slow.Timeout():
			return err
		}
		if err := f.missed(ctx, r); err != nil {
			return err
		}
	}
}

// hear takes up one message, unless it tells that one before it was missed.
func (f *RedisFeed) hear(message any, r *Revocations) bool {
	m, ok := message.(*redis.Message)
	if !ok {
		return true // that it listens
	}
	number, rest, _ := strings.Cut(m.Payload, " ")
	until, id, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	lapses, err2 := strconv.ParseInt(until, 10, 64)
	if err != nil || err2 != nil {
		return false
	}
	r.Note(id, time.UnixMilli(lapses), f.clock())
	if n != f.last+1 {
		return n == f.last // of the time when all was read
	}
	f.last = n
	return true
}

// missed catches up where more was revoked than was heard of, or Redis has begun anew.
func (f *RedisFeed) missed(ctx context.Context, r *Revocations) error {
	number, err := f.number(ctx)
	if err != nil || number == f.last {
		return err
	}
	return f.catchUp(ctx, r)
}

// number returns how many were revoked since Redis began.
func (f *RedisFeed) number(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	n, err := f.client.Get(ctx, revokedNumber).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, err
}

// catchUp takes up all that Redis has, and gives it what it does not have.
func (f *RedisFeed) catchUp(ctx context.Context, r *Revocations) error {
	number, err := f.number(ctx) // first: what comes later is heard of
	if err != nil {
		return err
	}
	now := f.clock()
	ours := r.all(now)
	for offset := int64(0); ; offset += revokedPage {
		page, err := f.page(ctx, now, offset)
		if err != nil {
			return err
		}
		for _, z := range page {
			id, _ := z.Member.(string)
			delete(ours, id)
			r.Note(id, time.UnixMilli(int64(z.Score)), now)
		}
		if len(page) < revokedPage {
			break
		}
	}
	f.last = number
	for id, until := range ours {
		if err := f.Publish(ctx, id, until); err != nil {
			return err
		}
	}
	return nil
}

// page reads some of what has not lapsed.
func (f *RedisFeed) page(ctx context.Context, now time.Time, offset int64) ([]redis.Z, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*publishTime)
	defer cancel()
	return f.client.ZRangeByScoreWithScores(ctx, revokedKey, &redis.ZRangeBy{
		Min: "(" + strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf", Offset: offset, Count: revokedPage,
	}).Result()
}
