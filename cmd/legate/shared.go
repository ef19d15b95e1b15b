package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"legate/authn"
	"legate/limiter"
	"legate/redis"
)

// Shared is what all replicas have in common.
type shared struct {
	client goredis.UniversalClient // for whatever may wait as long as its context says
	limits *limiter.Redis          // with clients of its own, as it may not wait for others

	revoked   *authn.Revocations
	feed      *authn.RedisFeed
	stop      context.CancelFunc
	following sync.WaitGroup

	opened []goredis.UniversalClient
	log    *slog.Logger
}

// openShared opens the Redis of s, or returns nil where there is none. That it is there is
// nobody's condition for serving.
func openShared(s *redis.Shared, log *slog.Logger) *shared {
	if s == nil {
		return nil
	}
	redis.Log(log)
	log.Info("state is shared with other replicas", "redis", &s.Settings)
	all := &shared{log: log}
	all.client = all.open(&s.Settings)
	all.feed = authn.NewRedisFeed(all.client, time.Now, log)
	all.revoked = authn.NewRevocations(all.feed)
	var ctx context.Context
	ctx, all.stop = context.WithCancel(context.Background())
	all.following.Go(func() { all.feed.Follow(ctx, all.revoked) })
	limits := limiter.RedisOptions{Main: all.pool(&s.Settings), LocalCache: s.LocalCache, Jitter: s.Jitter, Clock: time.Now, Log: log}
	if s.PerSecond != nil {
		log.Info("limits of every second are counted elsewhere", "redis", s.PerSecond)
		second := all.pool(s.PerSecond)
		limits.PerSecond = &second
	}
	all.limits = limiter.NewRedis(&limits)
	return all
}

func (s *shared) open(at *redis.Settings) goredis.UniversalClient {
	client := at.Open()
	s.opened = append(s.opened, client)
	return client
}

// pool opens a Redis for limits.
func (s *shared) pool(at *redis.Settings) limiter.RedisPool {
	return limiter.RedisPool{Client: s.open(at), Window: at.PipelineWindow, Limit: at.PipelineLimit, Ping: at.PingInterval}
}

// redis returns the client for what is shared, or nil where every replica is alone.
func (s *shared) redis() goredis.UniversalClient {
	if s == nil {
		return nil
	}
	return s.client
}

// sessions returns what keeps those of OAuth2 Filters, or nil where browsers do.
func (s *shared) sessions() authn.SessionStore {
	if s == nil {
		return nil
	}
	return authn.NewRedisSessions(s.redis())
}

// revocations returns those that all replicas share, or nil where every replica has its own.
func (s *shared) revocations() *authn.Revocations {
	if s == nil {
		return nil
	}
	return s.revoked
}

// store returns where rate limits count, or nil where every replica counts for itself.
func (s *shared) store() limiter.Store {
	if s == nil {
		return nil
	}
	return s.limits
}

// close ends all connections.
func (s *shared) close() {
	if s == nil {
		return
	}
	s.stop()
	s.following.Wait()
	s.limits.Close()
	for _, client := range s.opened {
		if err := client.Close(); err != nil {
			s.log.Warn("redis was not left well", "error", err)
		}
	}
}
