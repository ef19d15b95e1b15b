package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// defaultTimeout is for who waits without a deadline where REDIS_TIMEOUT says nothing.
const defaultTimeout = 5 * time.Second

// Open returns a client for s, which may be used by several goroutines at once and is
// closed by the caller. It connects when it is asked something: whether the Redis is there
// is no matter yet. A deadline of a context counts, and nothing is sent twice: who wants to
// may ask again.
func (s *Settings) Open() redis.UniversalClient {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	o := &redis.UniversalOptions{
		Addrs: s.Addrs, MasterName: s.Master, DB: s.DB, IsClusterMode: s.Topology == Cluster,
		Username: s.Username, Password: s.Password,
		Dialer:                s.dialer(timeout),
		Protocol:              2, // nothing is pushed to us but what is subscribed to
		DisableIdentity:       true,
		MaxRetries:            -1,
		DialTimeout:           timeout,
		DialerRetries:         1,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              s.PoolSize,
		PipelinePoolSize:      -1, // the pool is what REDIS_POOL_SIZE says, whatever is sent
	}
	return redis.NewUniversalClient(o)
}

// dialer returns what connects to nodes and Sentinels. go-redis's own does not look at the
// context while it shakes hands.
func (s *Settings) dialer(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if !s.TLS {
		return func(ctx context.Context, _, addr string) (net.Conn, error) {
			return d.DialContext(ctx, s.Network, addr)
		}
	}
	secure := &tls.Dialer{NetDialer: d, Config: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: s.Insecure, //nolint:gosec // because REDIS_TLS_INSECURE asks for it
	}}
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		return secure.DialContext(ctx, s.Network, addr)
	}
}

// Log has what go-redis says of its own accord go to log, for who looks for the reason of
// something. It is for the process as a whole, and called before any client is opened.
func Log(log *slog.Logger) { redis.SetLogger(logger{log}) }

type logger struct{ log *slog.Logger }

// Printf is what go-redis calls.
func (l logger) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.Debug("redis client", "says", fmt.Sprintf(format, args...))
	}
}
