package e2e

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// A zone is a DNS server that knows what the test tells it.
type zone struct {
	addr string

	mu      sync.Mutex
	a       map[string]netip.Addr
	failing bool
}

func newZone(t testing.TB) *zone {
	t.Helper()
	z := &zone{a: map[string]netip.Addr{}}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	z.addr = pc.LocalAddr().String()
	started := make(chan struct{})
	s := &dns.Server{PacketConn: pc, Handler: z, NotifyStartedFunc: func() { close(started) }}
	go func() { _ = s.ActivateAndServe() }() // ends with Shutdown
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
	return z
}

func (z *zone) set(name string, addr netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.a[name] = addr
}

func (z *zone) fail(on bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.failing = on
}

// ServeDNS answers one question.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	addr, ok := z.a[q.Question[0].Name]
	switch {
	case z.failing:
		m.Rcode = dns.RcodeServerFailure
	case !ok:
		m.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
			A:   addr.AsSlice(),
		}}
	}
	_ = w.WriteMsg(m) // the gateway asks again
}

func hostOf(addr string) netip.Addr { return netip.MustParseAddrPort(addr).Addr() }

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
