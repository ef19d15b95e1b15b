package authn

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"legate/config"
	"legate/decision"
	"legate/e2e/redistest"
)

// A follower is what one gateway knows of revocations.
type follower struct {
	*Revocations
	feed *RedisFeed
	log  *syncedBuffer
}

type syncedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncedBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncedBuffer) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), text)
}

// newFollower follows what others revoke until the test ends.
func newFollower(t *testing.T, client redis.UniversalClient) *follower {
	t.Helper()
	return newFollowerAt(t, client, time.Now)
}

func newFollowerAt(t *testing.T, client redis.UniversalClient, clock func() time.Time) *follower {
	t.Helper()
	r := &follower{log: &syncedBuffer{}}
	r.feed = NewRedisFeed(client, clock, slog.New(slog.NewTextHandler(r.log, nil)))
	r.Revocations = NewRevocations(r.feed)
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { r.feed.Follow(ctx, r.Revocations) })
	t.Cleanup(func() {
		cancel()
		began := time.Now()
		if following.Wait(); time.Since(began) > hearAgain/2 {
			t.Errorf("it took %v to end", time.Since(began))
		}
	})
	return r
}

func (r *follower) knows(t *testing.T, id string) {
	t.Helper()
	redistest.Eventually(t, "it is known that "+id+" was revoked", func() bool { return r.Has(id) })
}

func (r *follower) revoke(t *testing.T, id string) error {
	t.Helper()
	return r.Revoke(t.Context(), id, time.Now().Add(time.Hour), time.Now())
}

// What one gateway revokes all know, those that come later too; in a cluster as well.
func TestRevocationsAreShared(t *testing.T) {
	single, nodes := redistest.Start(t), redistest.StartCluster(t, 3)
	for name, open := range map[string]func() redis.UniversalClient{
		"single": func() redis.UniversalClient { return redisAt(t, single) },
		"cluster": func() redis.UniversalClient {
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr}, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true})
			t.Cleanup(func() { c.Close() })
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newFollower(t, open()), newFollower(t, open())
			for i := range 50 {
				from, to := a, b
				if i%2 == 1 {
					from, to = b, a
				}
				id := fmt.Sprint("token", i)
				if err := from.revoke(t, id); err != nil {
					t.Fatal(err)
				}
				to.knows(t, id)
			}
			late := newFollower(t, open())
			for i := range 50 {
				late.knows(t, fmt.Sprint("token", i))
			}
			if late.Has("another") {
				t.Error("what nobody revoked is revoked")
			}
		})
	}
}

// What is revoked while the Redis is gone counts here at once, whoever revokes is told that
// others do not know, and they do as soon as it is back. What it has lost it is told again.
func TestRevocationsWhileRedisIsGone(t *testing.T) {
	for _, how := range []string{"killed", "paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			a, b := newFollower(t, redisAt(t, server)), newFollower(t, redisAt(t, server))
			if err := a.revoke(t, "before"); err != nil {
				t.Fatal(err)
			}
			b.knows(t, "before")
			if how == "killed" {
				server.Kill()
			} else {
				server.Signal(syscall.SIGSTOP)
			}
			began := time.Now()
			err := a.revoke(t, "meanwhile")
			if took := time.Since(began); err == nil || took > 2*publishTime {
				t.Errorf("revoking says %v after %v", err, took)
			}
			if !a.Has("meanwhile") || !a.Has("before") || b.Has("meanwhile") {
				t.Error("it is not known here alone")
			}
			lost := "revocations of other gateways are not heard of"
			redistest.Eventually(t, "it is told", func() bool { return a.log.count(lost) == 1 && b.log.count(lost) == 1 })
			if how == "killed" {
				server.Restart(t)
			} else {
				server.Signal(syscall.SIGCONT)
			}
			b.knows(t, "meanwhile")
			redistest.Eventually(t, "it is told that it is back", func() bool { return a.log.count("heard of again") == 1 && b.log.count("heard of again") == 1 })
			late := newFollower(t, redisAt(t, server))
			late.knows(t, "before")
			late.knows(t, "meanwhile")
			if n := a.log.count(lost); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// What was said while nobody listened is not missed.
func TestRevocationsThatWereMissed(t *testing.T) {
	server := redistest.Start(t)
	a, b := newFollower(t, redisAt(t, server)), newFollower(t, redisAt(t, server))
	for i := range 20 {
		server.Do(t, "CLIENT", "KILL", "TYPE", "pubsub")
		id := fmt.Sprint("token", i)
		if err := a.revoke(t, id); err != nil {
			t.Fatal(err)
		}
		b.knows(t, id)
	}
	// Said to nobody at all, as by a failover that loses messages.
	server.Do(t, "ZADD", revokedKey, time.Now().Add(time.Hour).UnixMilli(), "unsaid")
	server.Do(t, "INCR", revokedNumber)
	b.knows(t, "unsaid")
	server.Do(t, "PUBLISH", revokedChannel, "what is this")
	if err := a.revoke(t, "after"); err != nil {
		t.Fatal(err)
	}
	b.knows(t, "after")
}

// Redis keeps what has not lapsed, and for no longer.
func TestRevocationsLapseInRedis(t *testing.T) {
	server := redistest.Start(t)
	feed := NewRedisFeed(redisAt(t, server), time.Now, slog.New(slog.DiscardHandler))
	now := time.Now()
	for id, until := range map[string]time.Time{"lapsed": now.Add(-time.Second), "short": now.Add(time.Minute), "long": now.Add(time.Hour)} {
		if err := feed.Publish(t.Context(), id, until); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.Publish(t.Context(), "last", now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := server.Do(t, "ZRANGE", revokedKey, 0, -1); got != "[last short long]" {
		t.Errorf("kept are %s", got)
	}
	if ttl := server.Do(t, "TTL", revokedKey); ttl != "3599" && ttl != "3600" {
		t.Errorf("all of it goes after %s s", ttl)
	}
}

// A token that was revoked at one gateway is refused at another that has verified it before.
func TestTokenRevokedElsewhere(t *testing.T) {
	now := noon
	server := redistest.Start(t)
	a, b := newFollower(t, redisAt(t, server)), newFollower(t, redisAt(t, server))
	d := testDeps(t, &now)
	d.Revocations = b.Revocations
	m := minter(t, d, mintFilter(func(f *config.MintFilter) { f.Credentials.Issuers = []config.TrustedIssuer{{Issuer: f.Issuer}} }))
	minted := call(now, alice(now, ""))
	m.Mint(minted)
	token := bearerOf(t, minted)
	shown := func() decision.Reason {
		c := call(now, nil, "Authorization", "Bearer "+token)
		if m.Filter(c) == Allow {
			return decision.None
		}
		return c.Reply.Reason
	}
	if got := shown(); got != decision.None {
		t.Fatalf("refused: %v", got)
	}
	jti, _ := part(t, token, 1)["jti"].(string)
	if err := a.revoke(t, jti); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "it is refused", func() bool { return shown() == decision.TokenRevoked })
}
