package telemetry

import (
	"sync/atomic"
	"time"

	"legate/decision"
)

// A ListenerMetrics counts the requests that came by one Listener, for those who look at
// them by Envoy's names.
type ListenerMetrics struct {
	began    atomic.Uint64
	http2    atomic.Uint64
	answers  byClass
	latency  atomic.Pointer[histogram]
	reasons  [decision.NumReasons]atomic.Uint64
	scripts  atomic.Uint64
	upgrades atomic.Uint64
	tunnels  Gauge
}

// Begin counts a request that is about to be served. Budget: 0 allocs.
func (l *ListenerMetrics) Begin(http2 bool) {
	l.began.Add(1)
	if http2 {
		l.http2.Add(1)
	}
}

// Observe counts a request that was answered with status after d. Budget: 0 allocs but
// for the first.
func (l *ListenerMetrics) Observe(status int, reason decision.Reason, d time.Duration) {
	l.answers[classOf(status)].Add(1)
	lazily(&l.latency).observe(d)
	if reason != decision.None {
		l.reasons[reason].Add(1)
	}
}

// ScriptFailed counts a script's hook that ended with an error.
func (l *ListenerMetrics) ScriptFailed() { l.scripts.Add(1) }

// Upgraded counts a connection that changes its protocol with n = 1, and its end with
// n = -1.
func (l *ListenerMetrics) Upgraded(n int64) {
	if n > 0 {
		l.upgrades.Add(1)
	}
	l.tunnels.Add(n)
}

func (l *ListenerMetrics) of(reasons ...decision.Reason) (n uint64) {
	for _, r := range reasons {
		n += l.reasons[r].Load()
	}
	return n
}

// A listenerKey is what requests are counted by under Envoy's names.
type listenerKey struct{ prefix, address string }

// Listener returns the counters of the requests that come to address by a Listener of
// that statsPrefix, the same ones every time.
func (m *Metrics) Listener(prefix, address string) *ListenerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := listenerKey{prefix, address}
	l := m.listeners[key]
	if l == nil {
		l = &ListenerMetrics{}
		m.listeners[key] = l
	}
	return l
}

// A PortMetrics counts the connections of one bound address, and those that carry a
// TCPMapping's bytes.
type PortMetrics struct {
	Opened, OpenedTLS, Closed Counter
	Secure                    Gauge   // those over TLS that are open
	HTTP2                     Counter // that came to speak it
	SpeakHTTP2                Gauge   // those that do and are open
	TCP                       Counter // that carry bytes
	CarryTCP                  Gauge   // those that do and are open
	TCPNoRoute, TCPIdle       Counter // without a TCPMapping; ended as nothing moved

	HandshakeFailed, NoCertificate, BadCertificate, NoName Counter // handshakes that came to nothing: all, for lack of a client's certificate, for a bad one, for a name that nobody has

	bytes      func() (in, out int64)
	lasted     atomic.Pointer[histogram]
	prefix     atomic.Pointer[string] // of the Listener that has the port
	tcpIn      atomic.Int64
	tcpOut     atomic.Int64
	carriesTCP atomic.Bool // whether what counts TCP is of interest
}

// Lasted counts the end of a connection that lasted d.
func (p *PortMetrics) Lasted(d time.Duration) {
	p.Closed.Add()
	lazily(&p.lasted).observe(d)
}

// Carried counts the bytes of a TCP connection that has ended, from and to the client.
func (p *PortMetrics) Carried(in, out int64) {
	p.tcpIn.Add(in)
	p.tcpOut.Add(out)
}

// Serves says by which statsPrefix the port's Listener is known, and whether it has
// TCPMappings.
func (p *PortMetrics) Serves(prefix string, tcp bool) {
	p.prefix.Store(&prefix)
	if tcp {
		p.carriesTCP.Store(true)
	}
}

// Port returns the counters of a bound address, the same ones every time. bytes says how
// many went through its sockets since it was bound last.
func (m *Metrics) Port(address string, bytes func() (in, out int64)) *PortMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.ports[address]
	if p == nil {
		p = &PortMetrics{}
		m.ports[address] = p
	}
	p.bytes = bytes
	return p
}
