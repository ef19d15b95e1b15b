package main

import (
	"log/slog"

	goredis "github.com/redis/go-redis/v9"

	"legate/authn"
	"legate/redis"
)

// Shared is what all replicas have in common.
type shared struct {
	client goredis.UniversalClient // for whatever may wait as long as its context says
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
	return &shared{client: s.Open(), log: log}
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

// close ends all connections.
func (s *shared) close() {
	if s == nil {
		return
	}
	if err := s.client.Close(); err != nil {
		s.log.Warn("redis was not left well", "error", err)
	}
}
