package upstream

import (
	"bytes"
	"cmp"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// lookAgain is how long a file that was read is taken to be unchanged.
const lookAgain = 5 * time.Second

// A cachedFile is a file parsed again when it changed.
type cachedFile[T any] struct {
	path  string
	parse func(content []byte) T

	mu      sync.Mutex
	value   T
	checked time.Time
	changed time.Time
	size    int64
	parsed  bool
}

// get returns what the file says at now. One that cannot be read is empty.
func (f *cachedFile[T]) get(now time.Time) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parsed && now.Sub(f.checked) < lookAgain {
		return f.value
	}
	f.checked = now
	info, err := os.Stat(f.path)
	if f.parsed && err == nil && info.ModTime().Equal(f.changed) && info.Size() == f.size {
		return f.value
	}
	var content []byte
	if err == nil {
		f.changed, f.size = info.ModTime(), info.Size()
		content, _ = os.ReadFile(f.path) // unreadable is empty, as for the system's own resolver
	}
	f.value, f.parsed = f.parse(content), true
	return f.value
}

// hosts are the names of an /etc/hosts, in lower case and without a final dot.
type hosts map[string][]netip.Addr

func parseHosts(content []byte) hosts {
	h := hosts{}
	for line := range bytes.Lines(content) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			h[name] = append(h[name], addr.Unmap())
		}
	}
	return h
}

// A system is where and how DNS is asked.
type system struct {
	servers  []string // with port
	search   []string
	ndots    int
	timeout  time.Duration // per question and server
	attempts int           // rounds over the servers
}

func parseResolvConf(content []byte) system {
	conf, err := dns.ClientConfigFromReader(bytes.NewReader(content))
	if err != nil {
		conf = &dns.ClientConfig{Port: "53", Ndots: 1, Timeout: 5, Attempts: 2}
	}
	s := system{
		search:   conf.Search,
		ndots:    conf.Ndots,
		timeout:  time.Duration(conf.Timeout) * time.Second,
		attempts: conf.Attempts,
	}
	for _, server := range conf.Servers {
		s.servers = append(s.servers, net.JoinHostPort(server, conf.Port))
	}
	if len(s.servers) == 0 {
		s.servers = []string{"127.0.0.1:53"} // resolv.conf(5)
	}
	return s
}

// podSystem is what a pod's resolv.conf says, with server in the nameserver's place.
func podSystem(server string, opts *Options) system {
	domain := opts.clusterDomain()
	return system{
		servers:  []string{server},
		search:   []string{opts.namespace() + ".svc." + domain, "svc." + domain, domain},
		ndots:    5,
		timeout:  2 * time.Second,
		attempts: 2,
	}
}

// newFile makes a cachedFile of path, or of otherwise if path is "".
func newFile[T any](path, otherwise string, parse func([]byte) T) *cachedFile[T] {
	return &cachedFile[T]{path: cmp.Or(path, otherwise), parse: parse}
}
