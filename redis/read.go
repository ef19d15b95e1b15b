package redis

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Read understands url, which is what --redis or REDIS_URL says, and the variables of Edge
// Stack that getenv knows. It returns nil where url is "": then the variables mean nothing.
// An error names what is wrong, and nothing of a URL, as that may be a password.
func Read(url string, getenv func(string) string) (*Shared, error) {
	if url == "" {
		return nil, nil //nolint:nilnil // because there is nothing to share, as is said above
	}
	shared := &Shared{}
	r := reader{getenv: getenv, prefix: "REDIS_", url: "--redis or REDIS_URL"}
	r.settings(url, &shared.Settings)
	if r.flag("PERSECOND") {
		second := reader{getenv: getenv, prefix: "REDIS_PERSECOND_", url: "REDIS_PERSECOND_URL", err: r.err}
		shared.PerSecond = &Settings{}
		if url := getenv("REDIS_PERSECOND_URL"); url != "" {
			second.settings(url, shared.PerSecond)
		} else {
			second.failURL("must be set where REDIS_PERSECOND is true")
		}
		r.err = second.err
	}
	plain := reader{getenv: getenv, err: r.err}
	shared.LocalCache = plain.number("LOCAL_CACHE_SIZE_IN_BYTES", 0, 0)
	shared.Jitter = time.Duration(plain.number("EXPIRATION_JITTER_MAX_SECONDS", 300, 0)) * time.Second
	if plain.err != nil {
		return nil, plain.err
	}
	return shared, nil
}

// A reader reads the variables of one Redis. The first error stays.
type reader struct {
	getenv func(string) string
	prefix string
	url    string // by which names the URL is known
	err    error
}

func (r *reader) fail(name, format string, args ...any) { r.failAt(r.prefix+name, format, args...) }

func (r *reader) failURL(format string, args ...any) { r.failAt(r.url, format, args...) }

func (r *reader) failAt(name, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...))
	}
}

// settings reads everything about one Redis.
func (r *reader) settings(url string, s *Settings) {
	s.Topology = Topology(r.oneOf("TYPE", topologies[:]))
	s.TLS, s.Insecure = r.flag("TLS_ENABLED"), r.flag("TLS_INSECURE")
	s.Network = "tcp"
	if r.oneOf("SOCKET_TYPE", []string{"tcp", "unix"}) == 1 {
		s.Network = "unix"
	}
	s.PoolSize = r.number("POOL_SIZE", 10, 1)
	s.PipelineLimit = r.number("PIPELINE_LIMIT", 0, 0)
	s.PipelineWindow = r.duration("PIPELINE_WINDOW", 0)
	s.PingInterval = r.duration("PING_INTERVAL", 10*time.Second)
	s.Timeout = r.duration("TIMEOUT", 0)
	r.credentials(s)
	r.location(url, s)
	if r.err == nil {
		r.fits(s)
	}
}

// credentials reads the password by both of its names.
func (r *reader) credentials(s *Settings) {
	s.Username, s.Password = r.getenv(r.prefix+"USERNAME"), r.getenv(r.prefix+"PASSWORD")
	older := r.getenv(r.prefix + "AUTH")
	if older != "" && s.Password != "" && older != s.Password {
		r.fail("AUTH", "must be the same as %sPASSWORD", r.prefix)
	}
	s.Password = cmp.Or(s.Password, older)
}

// location reads where the Redis is: scheme://user:password@hosts/db, or Edge Stack's list
// of hosts with their ports, or the path of a socket.
func (r *reader) location(text string, s *Settings) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		scheme, rest = "", text
	}
	switch scheme {
	case "", "redis":
	case "rediss":
		s.TLS = true
	case "unix":
		s.Network = "unix"
	default:
		r.failURL("must be a redis://, a rediss:// or a unix:// URL, or HOST:PORT")
		return
	}
	if isURL {
		if strings.ContainsAny(rest, "?#") {
			r.failURL("must end with the database: what is behind ? and # means nothing here")
			return
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			r.userinfo(rest[:at], s)
			rest = rest[at+1:]
		}
	}
	if strings.Contains(rest, "@") {
		r.failURL("must begin with redis:// where it has a user or a password")
		return
	}
	if s.Network == "unix" {
		s.Addrs = []string{rest}
		return
	}
	hosts, db, _ := strings.Cut(rest, "/")
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			r.failURL("the database must be a number")
		}
		s.DB = int(n)
	}
	r.hosts(strings.Split(hosts, ","), s)
}

// userinfo reads user:password of a URL.
func (r *reader) userinfo(text string, s *Settings) {
	user, password, _ := strings.Cut(text, ":")
	user, err := url.PathUnescape(user)
	if err == nil {
		password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil:
		r.failURL("the user or the password is not percent-encoded well")
	case user != "" && s.Username != "" && user != s.Username:
		r.fail("USERNAME", "must be the same as the one of the URL")
	case password != "" && s.Password != "" && password != s.Password:
		r.fail("PASSWORD", "must be the same as the one of the URL")
	default:
		s.Username, s.Password = cmp.Or(s.Username, user), cmp.Or(s.Password, password)
	}
}

// The ports where there is none.
const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// hosts reads addresses. Before those of Sentinels stands the name of what they watch.
func (r *reader) hosts(list []string, s *Settings) {
	port := redisPort
	if s.Topology == Sentinel {
		s.Master, list, port = strings.TrimSpace(list[0]), list[1:], sentinelPort
		if s.Master == "" || len(list) == 0 {
			r.failURL("must be a master's name and the addresses of Sentinels, as in mymaster,HOST:PORT")
		}
	}
	for _, text := range list {
		addr, err := address(strings.TrimSpace(text), port)
		if err != nil {
			r.failURL("must have addresses as HOST:PORT")
		}
		s.Addrs = append(s.Addrs, addr)
	}
}

// address completes HOST or HOST:PORT.
func address(text, port string) (string, error) {
	if host := strings.Trim(text, "[]"); !strings.Contains(text, ":") || net.ParseIP(host) != nil {
		text = net.JoinHostPort(host, port)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("not an address: %q", text)
	}
	return net.JoinHostPort(host, port), nil
}

// fits finds what cannot be together.
func (r *reader) fits(s *Settings) {
	switch {
	case s.Network == "unix" && !strings.HasPrefix(s.Addrs[0], "/"):
		r.failURL("must be the whole path of a socket where it is of the type unix")
	case s.Network == "unix" && s.Topology != Single:
		r.fail("SOCKET_TYPE", "must be tcp where %sTYPE is %v", r.prefix, s.Topology)
	case s.Network == "unix" && s.TLS:
		r.fail("TLS_ENABLED", "must be false where the socket is of the type unix")
	case s.Topology == Single && len(s.Addrs) > 1:
		r.fail("TYPE", "must be SENTINEL or CLUSTER where the URL has several addresses")
	case s.Topology == Cluster && s.DB != 0:
		r.failURL("must have no database where %sTYPE is CLUSTER", r.prefix)
	case s.Username != "" && s.Password == "":
		r.fail("PASSWORD", "must be set where there is a user")
	}
}

func (r *reader) flag(name string) bool {
	text := r.getenv(r.prefix + name)
	if text == "" {
		return false
	}
	on, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		r.fail(name, "must be true or false, got %q", text)
	}
	return on
}

func (r *reader) number(name string, otherwise, least int) int {
	text := r.getenv(r.prefix + name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > 1<<30 {
		r.fail(name, "must be a number from %d on, got %q", least, text)
	}
	return n
}

func (r *reader) duration(name string, otherwise time.Duration) time.Duration {
	text := r.getenv(r.prefix + name)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		r.fail(name, "must be a time as in 10s, got %q", text)
	}
	return d
}

// oneOf returns which of the words a variable says, in any case; the first where it says none.
func (r *reader) oneOf(name string, words []string) int {
	text := r.getenv(r.prefix + name)
	if text == "" {
		return 0
	}
	for i, word := range words {
		if strings.EqualFold(text, word) {
			return i
		}
	}
	r.fail(name, "must be %s or %s, got %q", strings.Join(words[:len(words)-1], ", "), words[len(words)-1], text)
	return 0
}
