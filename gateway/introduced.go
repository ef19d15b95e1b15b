package gateway

import (
	"net/netip"
	"sync/atomic"
	"time"

	"legate/telemetry"
	"legate/wire"
	"legate/wire/listen"
)

// introductions are what a port counts, and now and then says, of PROXY headers.
type introductions struct {
	counts [listen.NumProxyOutcomes]*telemetry.Counter
	says   [listen.NumProxyOutcomes]sometimes
}

// newIntroductions counts for a listener whose connections begin with a header; for
// others it is nil.
func newIntroductions(m *telemetry.Metrics, listener string, mode listen.ProxyMode) *introductions {
	if mode == listen.ProxyOff {
		return nil
	}
	in := &introductions{}
	for o := range listen.NumProxyOutcomes {
		in.counts[o] = m.Proxied(listener, o.String())
	}
	return in
}

// What an operator may do about connections that were refused.
var proxyAdvice = [listen.NumProxyOutcomes]string{
	listen.ProxyMissing: "the two sides disagree: turn the PROXY protocol on at the load balancer, or take PROXY out of the Listener's stack; " +
		"--proxy-protocol optional serves both while that is changed",
	listen.ProxyUntrusted: "if it is a load balancer, add its address to --proxy-protocol-trust",
	listen.ProxyMalformed: "see what stands in front of the Listener",
	listen.ProxyTruncated: "see what stands in front of the Listener",
}

// Proxied counts a connection by its PROXY header. Of those that are refused for one
// reason it says so once in a while: a load balancer that is set up wrongly makes
// many.
func (p *port) Proxied(from netip.Addr, outcome listen.ProxyOutcome, err error) {
	p.introduced.counts[outcome].Add()
	if !outcome.Refused() {
		return
	}
	if others, ok := p.introduced.says[outcome].pass(p.gateway.clock()); ok {
		p.gateway.log.Warn("connection closed for its PROXY header", "listener", p.key, "outcome", outcome.String(), "from", from.String(),
			"error", err, "advice", proxyAdvice[outcome], "others", others)
	}
}

// strayProxy says that a connection begins with a PROXY header that nobody reads.
func (g *Gateway) strayProxy(peer *wire.Peer) {
	others, ok := g.strays.pass(g.clock())
	if !ok {
		return
	}
	advice := "the two sides disagree: put PROXY first in the Listener's protocolStack, or turn the PROXY protocol off at the load balancer"
	if peer.Proxy != nil {
		advice = "it is the connection's second: two proxies in front of the Listener each send one"
	}
	g.log.Warn("request refused: a PROXY header is not expected", "port", peer.Local.Port(), "from", peer.Physical.Addr().String(),
		"advice", advice, "others", others)
}

// sayEvery is how often what may happen with every connection is worth a line.
const sayEvery = 10 * time.Second

// A sometimes lets one of many events pass in a while and counts the others.
type sometimes struct {
	next   atomic.Int64 // Unix nanoseconds
	others atomic.Uint64
}

// pass reports whether an event at now is worth a line, and how many were not since
// the last that was.
func (s *sometimes) pass(now time.Time) (others uint64, ok bool) {
	next := s.next.Load()
	if now.UnixNano() < next || !s.next.CompareAndSwap(next, now.Add(sayEvery).UnixNano()) {
		s.others.Add(1)
		return 0, false
	}
	return s.others.Swap(0), true
}
