package redis

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// shown writes settings down as rows of a table have them: what is not the default.
func shown(s *Shared) string {
	if s == nil {
		return "nothing"
	}
	text := one(&s.Settings)
	if s.PerSecond != nil {
		text += " | " + one(s.PerSecond)
	}
	if s.LocalCache != 0 {
		text += fmt.Sprintf(" cache=%d", s.LocalCache)
	}
	if s.Jitter.Seconds() != 300 {
		text += fmt.Sprintf(" jitter=%v", s.Jitter)
	}
	return text
}

func one(s *Settings) string {
	text := s.String()
	add := func(name string, value, otherwise any) {
		if value != otherwise {
			text += fmt.Sprintf(" %s=%v", name, value)
		}
	}
	add("network", s.Network, "tcp")
	add("db", s.DB, 0)
	add("user", s.Username, "")
	add("password", s.Password, "")
	add("insecure", s.Insecure, false)
	add("pool", s.PoolSize, 10)
	add("ping", s.PingInterval.String(), "10s")
	add("timeout", s.Timeout.String(), "0s")
	add("window", s.PipelineWindow.String(), "0s")
	add("limit", s.PipelineLimit, 0)
	return text
}

// env reads "A=b C=d".
func env(text string) func(string) string {
	all := map[string]string{}
	for pair := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(pair, "=")
		all[name] = value
	}
	return func(name string) string { return all[name] }
}

func TestRead(t *testing.T) {
	for _, row := range []struct{ url, env, want string }{
		{"", "REDIS_TYPE=nonsense", "nothing"},
		{"redis:6379", "", "SINGLE redis:6379"},
		{"redis", "", "SINGLE redis:6379"},
		{"redis://redis.legate:6380/3", "", "SINGLE redis.legate:6380 db=3"},
		{"[::1]:6380", "", "SINGLE [::1]:6380"},
		{"::1", "", "SINGLE [::1]:6379"},
		{"rediss://:p%40ss@redis", "", "SINGLE redis:6379 over TLS password=p@ss"},
		{"redis://al:p@s@redis", "", "SINGLE redis:6379 user=al password=p@s"},
		{"redis", "REDIS_USERNAME=al REDIS_PASSWORD=secret", "SINGLE redis:6379 user=al password=secret"},
		{"redis", "REDIS_AUTH=secret", "SINGLE redis:6379 password=secret"},
		{"redis", "REDIS_AUTH=secret REDIS_PASSWORD=secret", "SINGLE redis:6379 password=secret"},
		{"redis://:secret@redis", "REDIS_PASSWORD=secret", "SINGLE redis:6379 password=secret"},
		{"redis", "REDIS_TLS_ENABLED=true REDIS_TLS_INSECURE=TRUE", "SINGLE redis:6379 over TLS insecure=true"},
		{"/run/redis.sock", "REDIS_SOCKET_TYPE=unix", "SINGLE /run/redis.sock network=unix"},
		{"unix:///run/redis.sock", "", "SINGLE /run/redis.sock network=unix"},
		{"unix://:secret@/run/redis.sock", "", "SINGLE /run/redis.sock network=unix password=secret"},
		{"mymaster,a,b:26380", "REDIS_TYPE=SENTINEL", "SENTINEL mymaster at a:26379,b:26380"},
		{"a:7000, b:7001,c", "REDIS_TYPE=cluster", "CLUSTER a:7000,b:7001,c:6379"},
		{"a:7000", "REDIS_TYPE=CLUSTER", "CLUSTER a:7000"},
		{"redis", "REDIS_POOL_SIZE=3 REDIS_PING_INTERVAL=1s REDIS_TIMEOUT=250ms REDIS_PIPELINE_WINDOW=150us REDIS_PIPELINE_LIMIT=8",
			"SINGLE redis:6379 pool=3 ping=1s timeout=250ms window=150µs limit=8"},
		{"redis", "REDIS_SURGE_POOL_SIZE=x REDIS_SURGE_LIMIT_INTERVAL=y", "SINGLE redis:6379"},
		{"redis", "REDIS_PERSECOND=true REDIS_PERSECOND_URL=rediss://b REDIS_PERSECOND_POOL_SIZE=2", "SINGLE redis:6379 | SINGLE b:6379 over TLS pool=2"},
		{"redis", "REDIS_PERSECOND=false REDIS_PERSECOND_URL=b", "SINGLE redis:6379"},
		{"redis", "LOCAL_CACHE_SIZE_IN_BYTES=4096 EXPIRATION_JITTER_MAX_SECONDS=0", "SINGLE redis:6379 cache=4096 jitter=0s"},
	} {
		got, err := Read(row.url, env(row.env))
		if err != nil || shown(got) != row.want {
			t.Errorf("%q with %q:\n got %s, %v\nwant %s", row.url, row.env, shown(got), err, row.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, row := range []struct{ url, env, want string }{
		{"http://redis", "", "--redis or REDIS_URL: must be a redis://, a rediss:// or a unix:// URL, or HOST:PORT"},
		{"redis:0", "", "--redis or REDIS_URL: must have addresses as HOST:PORT"},
		{"redis:port", "", "--redis or REDIS_URL: must have addresses as HOST:PORT"},
		{"redis://", "", "--redis or REDIS_URL: must have addresses as HOST:PORT"},
		{"redis://redis/first", "", "--redis or REDIS_URL: the database must be a number"},
		{"redis://redis?db=1", "", "--redis or REDIS_URL: must end with the database: what is behind ? and # means nothing here"},
		{"al:secret@redis", "", "--redis or REDIS_URL: must begin with redis:// where it has a user or a password"},
		{"redis://:%zz@redis", "", "--redis or REDIS_URL: the user or the password is not percent-encoded well"},
		{"redis://:secret@redis", "REDIS_PASSWORD=other", "REDIS_PASSWORD: must be the same as the one of the URL"},
		{"redis://al@redis", "", "REDIS_PASSWORD: must be set where there is a user"},
		{"redis", "REDIS_PASSWORD=secret REDIS_AUTH=other", "REDIS_AUTH: must be the same as REDIS_PASSWORD"},
		{"redis", "REDIS_TYPE=RING", `REDIS_TYPE: must be SINGLE, SENTINEL or CLUSTER, got "RING"`},
		{"redis", "REDIS_SOCKET_TYPE=udp", `REDIS_SOCKET_TYPE: must be tcp or unix, got "udp"`},
		{"redis.sock", "REDIS_SOCKET_TYPE=unix", "--redis or REDIS_URL: must be the whole path of a socket where it is of the type unix"},
		{"/redis.sock", "REDIS_SOCKET_TYPE=unix REDIS_TLS_ENABLED=1", "REDIS_TLS_ENABLED: must be false where the socket is of the type unix"},
		{"/redis.sock", "REDIS_SOCKET_TYPE=unix REDIS_TYPE=CLUSTER", "REDIS_SOCKET_TYPE: must be tcp where REDIS_TYPE is CLUSTER"},
		{"a,b", "", "REDIS_TYPE: must be SENTINEL or CLUSTER where the URL has several addresses"},
		{"mymaster", "REDIS_TYPE=SENTINEL", "--redis or REDIS_URL: must be a master's name and the addresses of Sentinels, as in mymaster,HOST:PORT"},
		{"redis://a/1", "REDIS_TYPE=CLUSTER", "--redis or REDIS_URL: must have no database where REDIS_TYPE is CLUSTER"},
		{"redis", "REDIS_TLS_ENABLED=maybe", `REDIS_TLS_ENABLED: must be true or false, got "maybe"`},
		{"redis", "REDIS_POOL_SIZE=0", `REDIS_POOL_SIZE: must be a number from 1 on, got "0"`},
		{"redis", "REDIS_TIMEOUT=5", `REDIS_TIMEOUT: must be a time as in 10s, got "5"`},
		{"redis", "REDIS_PING_INTERVAL=-1s", `REDIS_PING_INTERVAL: must be a time as in 10s, got "-1s"`},
		{"redis", "REDIS_PERSECOND=true", "REDIS_PERSECOND_URL: must be set where REDIS_PERSECOND is true"},
		{"redis", "REDIS_PERSECOND=true REDIS_PERSECOND_URL=a,b", "REDIS_PERSECOND_TYPE: must be SENTINEL or CLUSTER where the URL has several addresses"},
		{"redis", "LOCAL_CACHE_SIZE_IN_BYTES=1k", `LOCAL_CACHE_SIZE_IN_BYTES: must be a number from 0 on, got "1k"`},
	} {
		_, err := Read(row.url, env(row.env))
		if err == nil || err.Error() != row.want {
			t.Errorf("%q with %q:\n got %v\nwant %s", row.url, row.env, err, row.want)
		}
	}
}

// No password is written, neither where it is right nor where it is not.
func TestPasswordsStayUnwritten(t *testing.T) {
	for _, url := range []string{"redis://:hunter2@redis", "redis://al:hunter2@redis:x", "rediss://:hunter2", "al:hunter2@redis", "redis:/al:hunter2@redis", "redis://:hunter2@a,b:0", "redis://:hunter2%zz@redis", "redis://al:x/hunter2", "unix://:hunter2"} {
		s, err := Read(url, env("REDIS_TYPE=CLUSTER"))
		var b bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&b, nil))
		if err != nil {
			log.Error("cannot start", "error", err)
		} else {
			log.Info("shared", "redis", &s.Settings, "text", s.String())
		}
		if strings.Contains(b.String(), "hunter2") {
			t.Errorf("%s: %s", url, b.String())
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"redis:6379", "redis://a:b@c:1,d/2", "unix:///x", "m,a,b", "[::1]"} {
		f.Add(seed, "SENTINEL")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, url, kind string) {
		s, err := Read(url, func(name string) string {
			if name == "REDIS_TYPE" {
				return kind
			}
			return ""
		})
		if err != nil || s == nil {
			return
		}
		if len(s.Addrs) == 0 || s.Topology == Single && len(s.Addrs) != 1 || (s.Topology == Sentinel) != (s.Master != "") {
			t.Errorf("%q, %q: %s", url, kind, s)
		}
	})
}
