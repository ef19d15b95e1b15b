package upstream

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A nameServer answers on loopback, over UDP and TCP, what zone says.
type nameServer struct {
	addr string

	mu    sync.Mutex
	zone  map[string][]string // "name. TYPE" to records; CNAMEs are under "name. CNAME"
	rcode map[string]int      // "name." to what is answered instead
	asked []string            // "udp name. TYPE"
}

func startNameServer(t *testing.T, zone map[string][]string) *nameServer {
	t.Helper()
	s := &nameServer{zone: zone, rcode: map[string]int{}}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.addr = tcp.Addr().String()
	for _, server := range []*dns.Server{
		{Listener: tcp, Handler: s.handler("tcp")},
		{PacketConn: udp, Handler: s.handler("udp")},
	} {
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		done := make(chan error, 1)
		go func() { done <- server.ActivateAndServe() }()
		<-up
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return s
}

func (s *nameServer) handler(network string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		m := new(dns.Msg)
		m.SetReply(q)
		name, qtype := q.Question[0].Name, dns.TypeToString[q.Question[0].Qtype]
		s.asked = append(s.asked, network+" "+name+" "+qtype)
		if rcode, ok := s.rcode[name]; ok {
			m.Rcode = rcode
			_ = w.WriteMsg(m)
			return
		}
		s.fill(m, name, qtype)
		if network == "udp" {
			size := dns.MinMsgSize
			if o := q.IsEdns0(); o != nil {
				size = int(o.UDPSize())
			}
			m.Truncate(size)
		}
		_ = w.WriteMsg(m)
	}
}

// fill answers with records and, as a recursive server does, what aliases lead to.
func (s *nameServer) fill(m *dns.Msg, name, qtype string) {
	m.Rcode = dns.RcodeNameError
	for range 16 {
		for key := range s.zone {
			if strings.HasPrefix(key, name+" ") {
				m.Rcode = dns.RcodeSuccess
			}
		}
		for _, text := range slices.Concat(s.zone[name+" "+qtype], s.zone[name+" CNAME"]) {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		alias := s.zone[name+" CNAME"]
		if len(alias) == 0 {
			return
		}
		name = strings.Fields(alias[0])[4]
	}
}

func (s *nameServer) set(key string, records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone[key] = records
}

func (s *nameServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func newTestResolver(t testing.TB, opts Options) *Resolver {
	t.Helper()
	if opts.HostsFile == "" {
		opts.HostsFile = filepath.Join(t.TempDir(), "none")
	}
	r, err := NewResolver(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// addrs renders an answer: addresses, "gone" or "failed".
func (a answer) String() string {
	switch {
	case a.gone:
		return "gone"
	case a.err != nil:
		return "failed"
	}
	var list []string
	for _, addr := range a.addrs {
		list = append(list, addr.String())
	}
	return strings.Join(list, " ")
}

func a(name string, ttl int, addr string) string {
	return fmt.Sprintf("%s %d IN A %s", name, ttl, addr)
}

func TestLookup(t *testing.T) {
	const (
		foo   = "foo.ambassador.svc.cluster.local."
		other = "foo.other.svc.cluster.local."
	)
	many := make([]string, 200)
	for i := range many {
		many[i] = a("many.ext.com.", 30, fmt.Sprintf("10.1.0.%d", i+1))
	}
	s := startNameServer(t, map[string][]string{
		foo + " A":              {a(foo, 30, "10.0.0.2"), a(foo, 30, "10.0.0.1")},
		other + " A":            {a(other, 30, "10.0.0.3")},
		"api.ext.com. A":        {a("api.ext.com.", 30, "10.0.0.4")},
		"two.ext.com. A":        {a("two.ext.com.", 30, "10.0.0.5")},
		"two.ext.com. AAAA":     {"two.ext.com. 30 IN AAAA 2001:db8::5"},
		"six.ext.com. AAAA":     {"six.ext.com. 30 IN AAAA 2001:db8::6"},
		"many.ext.com. A":       many,
		"alias.ext.com. CNAME":  {"alias.ext.com. 20 IN CNAME middle.ext.com."},
		"middle.ext.com. CNAME": {"middle.ext.com. 5 IN CNAME API.ext.com."},
		"API.ext.com. A":        {a("api.ext.com.", 30, "10.0.0.4")},
		"broken.ext.com. CNAME": {"broken.ext.com. 20 IN CNAME nowhere.ext.com."},
		"loop.ext.com. CNAME":   {"loop.ext.com. 20 IN CNAME loop2.ext.com."},
		"loop2.ext.com. CNAME":  {"loop2.ext.com. 20 IN CNAME loop.ext.com."},
		"empty.ext.com. TXT":    {"empty.ext.com. 20 IN TXT x"},
		"a.b.c.d.e.ext.com. A":  {a("a.b.c.d.e.ext.com.", 30, "10.0.0.7")},
		"shadow.ext.com. A":     {a("shadow.ext.com.", 30, "10.0.0.8")},
	})
	s.rcode["bad.ext.com."] = dns.RcodeServerFailure
	s.rcode["shadow.ext.com.svc.cluster.local."] = dns.RcodeRefused
	r := newTestResolver(t, Options{DNS: s.addr, Namespace: "ambassador"})
	for _, row := range []struct {
		name   string
		host   string
		family Family
		want   string
		asked  []string // nil: not looked at
	}{
		{"own namespace", "foo", IPv4, "10.0.0.1 10.0.0.2", []string{"udp " + foo + " A"}},
		{"other namespace", "foo.other", IPv4, "10.0.0.3",
			[]string{"udp foo.other.ambassador.svc.cluster.local. A", "udp " + other + " A"}},
		{"with svc", "foo.other.svc", IPv4, "10.0.0.3", nil},
		{"whole name", "foo.other.svc.cluster.local", IPv4, "10.0.0.3", nil},
		{"final dot", "foo.other.svc.cluster.local.", IPv4, "10.0.0.3", []string{"udp " + other + " A"}},
		{"outside", "api.ext.com", IPv4, "10.0.0.4", []string{
			"udp api.ext.com.ambassador.svc.cluster.local. A", "udp api.ext.com.svc.cluster.local. A",
			"udp api.ext.com.cluster.local. A", "udp api.ext.com. A"}},
		{"ndots reached", "a.b.c.d.e.ext.com", IPv4, "10.0.0.7", []string{"udp a.b.c.d.e.ext.com. A"}},
		{"v4 only", "two.ext.com.", IPv4, "10.0.0.5", []string{"udp two.ext.com. A"}},
		{"v6 only", "two.ext.com.", IPv6, "2001:db8::5", []string{"udp two.ext.com. AAAA"}},
		{"v6 preferred", "two.ext.com.", PreferIPv6, "2001:db8::5", []string{"udp two.ext.com. AAAA"}},
		{"v6 preferred, none there", "api.ext.com.", PreferIPv6, "10.0.0.4", []string{"udp api.ext.com. AAAA", "udp api.ext.com. A"}},
		{"no v6 address", "api.ext.com.", IPv6, "gone", nil},
		{"no v4 address", "six.ext.com.", IPv4, "gone", nil},
		{"truncated", "many.ext.com.", IPv4, "", []string{"udp many.ext.com. A", "tcp many.ext.com. A"}},
		{"aliases", "alias.ext.com.", IPv4, "10.0.0.4", nil},
		{"alias to nothing", "broken.ext.com.", IPv4, "gone", nil},
		{"alias loop", "loop.ext.com.", IPv4, "gone", nil},
		{"no such name", "nowhere.ext.com", IPv4, "gone", nil},
		{"no address", "empty.ext.com", IPv4, "gone", nil},
		{"server failure", "bad.ext.com", IPv4, "failed", nil},
		{"a domain that fails", "shadow.ext.com", IPv4, "10.0.0.8", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.questions()
			got := r.lookup(t.Context(), row.host, row.family)
			if row.name == "truncated" {
				if len(got.addrs) != len(many) {
					t.Errorf("got %d addresses (%v), want %d", len(got.addrs), got.err, len(many))
				}
			} else if got.String() != row.want {
				t.Errorf("got %v (%v), want %v", got, got.err, row.want)
			}
			if asked := s.questions(); row.asked != nil && !slices.Equal(asked, row.asked) {
				t.Errorf("asked %q, want %q", asked, row.asked)
			}
			if row.name == "a domain that fails" && got.doubt == nil {
				t.Error("the failure of the other domain is not told")
			}
			if row.name == "aliases" && got.ttl != 5*time.Second {
				t.Errorf("got TTL %v, want the least of the chain, 5s", got.ttl)
			}
		})
	}
}

// A server that gives only the alias leaves the rest of the chain to us.
func TestLookupChasesAliases(t *testing.T) {
	s := startNameServer(t, map[string][]string{})
	s.set("www.ext.com. A", "www.ext.com. 20 IN CNAME api.ext.com.")
	s.set("api.ext.com. A", a("api.ext.com.", 9, "10.0.0.1"))
	r := newTestResolver(t, Options{DNS: s.addr})
	if got := r.lookup(t.Context(), "www.ext.com.", IPv4); got.String() != "10.0.0.1" || got.ttl != 9*time.Second {
		t.Errorf("got %v for %v (%v), want 10.0.0.1 for 9s", got, got.ttl, got.err)
	}
}

func TestSystemResolver(t *testing.T) {
	s := startNameServer(t, map[string][]string{
		"foo.corp. A": {a("foo.corp.", 30, "10.0.0.1")},
		"x.y. A":      {a("x.y.", 30, "10.0.0.2")},
	})
	conf := parseResolvConf([]byte("nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch corp lab\noptions ndots:2 timeout:1 attempts:3\n"))
	want := system{servers: []string{"192.0.2.1:53", "192.0.2.2:53"}, search: []string{"corp", "lab"}, ndots: 2, timeout: time.Second, attempts: 3}
	if fmt.Sprint(conf) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", conf, want)
	}
	if got := conf.candidates("x.y"); !slices.Equal(got, []string{"x.y.corp.", "x.y.lab.", "x.y."}) {
		t.Errorf("below ndots: got %q", got)
	}
	if got := conf.candidates("x.y.z"); !slices.Equal(got, []string{"x.y.z.", "x.y.z.corp.", "x.y.z.lab."}) {
		t.Errorf("ndots reached: got %q", got)
	}
	if got := parseResolvConf(nil).servers; !slices.Equal(got, []string{"127.0.0.1:53"}) {
		t.Errorf("empty resolv.conf: got %q", got)
	}

	// The first server is dead: nobody listens there, so the second is asked.
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	r := newTestResolver(t, Options{})
	r.system = func(time.Time) system {
		return system{servers: []string{dead.LocalAddr().String(), s.addr}, search: []string{"corp"}, ndots: 1, timeout: time.Second, attempts: 1}
	}
	if got := r.lookup(t.Context(), "foo", IPv4); got.String() != "10.0.0.1" {
		t.Errorf("got %v (%v), want the second server's answer", got, got.err)
	}
}

func TestLookupIsCancelled(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := newTestResolver(t, Options{DNS: silent.LocalAddr().String()})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if got := r.lookup(ctx, "foo", IPv4); got.String() != "failed" {
		t.Errorf("got %v (%v), want a failure", got, got.err)
	}
}

func TestHostsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 Db.Local db # primary\n10.0.0.2 db\n2001:db8::1 db\nnonsense x\n")
	s := startNameServer(t, map[string][]string{})
	now := time.Unix(1000, 0)
	r := newTestResolver(t, Options{DNS: s.addr, HostsFile: file, Now: func() time.Time { return now }})
	for _, row := range []struct {
		host   string
		family Family
		want   string
	}{
		{"localhost", IPv4, "127.0.0.1"},
		{"localhost", IPv6, "::1"},
		{"localhost", PreferIPv6, "127.0.0.1"},
		{"db", IPv4, "10.0.0.1 10.0.0.2"},
		{"db", PreferIPv6, "2001:db8::1"},
		{"db.local", PreferIPv6, "10.0.0.1"},
		{"db.local.", IPv4, "10.0.0.1"},
		{"ip6-localhost", IPv4, "gone"},
		{"x", IPv4, "gone"},
	} {
		if got := r.lookup(t.Context(), row.host, row.family); got.String() != row.want {
			t.Errorf("%s (%d): got %v, want %v", row.host, row.family, got, row.want)
		}
	}
	write("10.0.0.9 db\n")
	if got := r.lookup(t.Context(), "db", IPv4); got.String() != "10.0.0.1 10.0.0.2" {
		t.Errorf("at once: got %v, want the file not read again", got)
	}
	now = now.Add(lookAgain)
	if got := r.lookup(t.Context(), "db", IPv4); got.String() != "10.0.0.9" {
		t.Errorf("later: got %v, want the change seen", got)
	}
	if got := r.lookup(t.Context(), "localhost", IPv4); got.String() != "127.0.0.1" {
		t.Errorf("localhost: got %v, want it without the file's help", got)
	}
}
