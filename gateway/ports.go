package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"legate/config"
	"legate/telemetry"
	"legate/wire"
	"legate/wire/listen"
	"legate/wire/tcp"
)

// A port is a bound address with the engine behind it. It lives as long as
// configurations have a Listener for it.
type port struct {
	key      string
	addr     string // host:port
	slot     int
	listener *listen.Listener
	engine   *engines
	tcp      *tcp.Server
	accepts  sync.WaitGroup // the goroutine that accepts
	serving  bool
	last     *Snapshot // serves what still comes over a port without a Listener; nil before it has left
	gateway  *Gateway
	metrics  *telemetry.PortMetrics
	meter    wire.Meter
	clear    *telemetry.Gauge
	secure   *telemetry.Gauge
	tunnels  func() *telemetry.Gauge // made with the first: few ports carry any

	introduced *introductions // nil where no PROXY header is read
	refusals   sometimes      // connections that are too many
	deaf       sometimes      // connections that cannot be accepted
}

// bind gives every Listener of s its port: one that is bound already, or a new one.
// A port that cannot be had is a Problem; the others serve.
func (g *Gateway) bind(ctx context.Context, s *Snapshot) {
	s.slots = make([]int, 0, g.slots+len(s.listeners))
	taken := make(map[string]bool, len(s.world.Listeners))
	for i := range s.world.Listeners {
		l := &s.world.Listeners[i]
		if !s.listeners[i].served {
			continue
		}
		if taken[g.address(l)] {
			s.Problems = append(s.Problems, l.Problem("port", "another Listener has this port", config.ObjectDropped))
			continue
		}
		taken[g.address(l)] = true
		p, err := g.port(ctx, l)
		if err != nil {
			problem := l.Problem("port", fmt.Sprintf("cannot listen on port %d: %v", l.Port, err), config.ObjectDropped)
			s.Problems = append(s.Problems, problem)
			s.unbound = append(s.unbound, l)
			continue
		}
		for len(s.slots) <= p.slot {
			s.slots = append(s.slots, -1)
		}
		s.slots[p.slot], s.listeners[i].port = i, p.metrics
	}
	config.SortProblems(s.Problems)
}

// rebindEvery is how often a port is tried that could not be had: whoever has it may
// be the process that this one takes over from.
const rebindEvery = time.Second

// rebindLater has the ports that s could not have tried again, as long as it serves.
func (g *Gateway) rebindLater(ctx context.Context, s *Snapshot) {
	if len(s.unbound) > 0 {
		time.AfterFunc(rebindEvery, func() { g.rebind(ctx, s) })
	}
}

func (g *Gateway) rebind(ctx context.Context, s *Snapshot) {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.leaves() || ctx.Err() != nil || g.snap.Load() != s {
		return
	}
	bound := false
	for _, l := range s.unbound {
		_, err := g.port(ctx, l)
		bound = bound || err == nil
	}
	if bound {
		g.apply(ctx, s.wish, nil)
		return
	}
	g.rebindLater(ctx, s)
}

// address is what l binds.
func (g *Gateway) address(l *config.Listener) string {
	return net.JoinHostPort(cmp.Or(l.Address, g.opts.Bind), strconv.Itoa(l.Port))
}

// port returns the port of l, binding it if it is new.
func (g *Gateway) port(ctx context.Context, l *config.Listener) (*port, error) {
	addr := g.address(l)
	key, proxy := addr, listen.ProxyOff
	if l.Has(config.ProtoTLS) {
		key += "/tls"
	}
	if l.Has(config.ProtoPROXY) {
		key += "/proxy"
		proxy = max(g.opts.ProxyProtocol, listen.ProxyRequired)
	}
	if p := g.ports[key]; p != nil {
		return p, nil
	}
	p := &port{key: key, addr: addr, slot: g.slots, gateway: g}
	name := strconv.Itoa(l.Port)
	if l.Address != "" {
		name = addr
	}
	p.metrics = g.metrics.Port(addr, func() (in, out int64) { return p.meter.In.Load(), p.meter.Out.Load() })
	p.engine = newEngines(g, name, p.metrics)
	p.tcp = tcp.NewServer(g, g.clock)
	p.tunnels = func() *telemetry.Gauge { return g.metrics.Connections(name, "tcp") }
	p.clear, p.secure = g.metrics.Connections(name, "http/1.1"), g.metrics.Connections(name, "tls")
	p.introduced = newIntroductions(g.metrics, name, proxy)
	ln, err := g.listen(ctx, addr, listen.Options{
		Addr: addr, Slot: p.slot, TLS: l.Has(config.ProtoTLS), Proxy: proxy, Trusted: g.opts.ProxyTrust, MaxConnections: listen.DefaultMaxConnections, Bound: g.clients,
		Config: p.config, Challenge: g.opts.ChallengeTLS, Engine: p, Watcher: p, Now: g.clock, Meter: &p.meter, Stamped: g.opts.MaxQueueing > 0,
	})
	if err != nil {
		g.metrics.NotBound()
		return nil, err
	}
	g.metrics.Bound()
	p.listener = ln
	ln.SetTicketKeys(g.tickets)
	g.slots++
	g.ports[key] = p
	return p, nil
}

// SetTicketKeys has every port seal TLS sessions with the first of keys, and open them with all,
// as other replicas do.
func (g *Gateway) SetTicketKeys(keys [][32]byte) {
	g.applying.Lock()
	defer g.applying.Unlock()
	g.tickets = keys
	for _, p := range g.ports {
		p.listener.SetTicketKeys(keys)
	}
}

// listen binds addr. A Listener whose stack changes finds its own port taken by the
// old one, which then has to let go first.
func (g *Gateway) listen(ctx context.Context, addr string, opts listen.Options) (*listen.Listener, error) {
	for _, p := range g.ports {
		if p.addr == addr {
			g.retire(p)
		}
	}
	return listen.Listen(ctx, opts)
}

// current returns the snapshot that serves what comes over a port: for one whose
// Listener has left the configuration the last that had it, as what is on its way
// was sent in good faith. Budget: 0 allocs while the Listener stays.
func (g *Gateway) current(slot int) *Snapshot {
	s := g.snap.Load()
	if s.listener(slot) >= 0 {
		return s
	}
	if p, ok := g.leaving.Load(slot); ok {
		return p.(*port).last //nolint:forcetypeassert // nothing else is stored
	}
	return s
}

// dismiss has the ports that next has no Listener for go on with what serves now.
func (g *Gateway) dismiss(next *Snapshot) {
	for _, p := range g.ports {
		if next.listener(p.slot) < 0 {
			g.leave(p)
		}
	}
}

func (g *Gateway) leave(p *port) {
	if p.last == nil {
		p.last = g.snap.Load()
		g.leaving.Store(p.slot, p)
	}
}

// serve starts the ports that are new and retires those that s has no Listener for.
func (g *Gateway) serve(s *Snapshot) {
	limits := g.limitsOf(s)
	for _, p := range g.ports {
		if s.listener(p.slot) < 0 {
			g.retire(p)
			continue
		}
		p.engine.SetLimits(limits)
		i := s.listener(p.slot)
		p.metrics.Serves(statsPrefix(&s.world.Listeners[i]), s.tcp[i].serves())
		if !p.serving {
			p.serving = true
			p.accepts.Go(p.listener.Serve)
			g.log.Info("listening", "address", p.listener.Addr().String())
		}
	}
}

// retire lets a port go: nothing new is accepted, what is in flight ends well.
func (g *Gateway) retire(p *port) {
	delete(g.ports, p.key)
	g.metrics.Unbound()
	g.leave(p)
	if err := p.listener.Close(); err != nil {
		g.log.Warn("listener did not close", "error", err)
	}
	g.left.Go(func() {
		p.accepts.Wait() // nothing is added to what is drained and awaited
		p.listener.Drain()
		p.engine.Drain()
		p.listener.Wait()
		p.engine.Wait()
		p.tcp.Wait()
		g.leaving.Delete(p.slot)
	})
}

// config chooses a handshake's configuration from the current snapshot.
func (p *port) config(sni string) *tls.Config {
	s := p.gateway.current(p.slot)
	i := s.listener(p.slot)
	if i < 0 {
		return nil
	}
	return s.TLS.Config(i, sni)
}

// Start hands a connection to the engine that the current snapshot has for it.
func (p *port) Start(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func()) {
	s := p.gateway.current(p.slot)
	if i := s.listener(p.slot); i < 0 || !s.tcp[i].takes(s, i, secure) {
		p.engine.Start(raw, secure, peer, ended)
		return
	}
	as, tunnels := p.gauge(secure != nil), p.tunnels()
	as.Add(-1)
	tunnels.Add(1)
	p.metrics.TCP.Add()
	p.metrics.CarryTCP.Add(1)
	p.tcp.Start(raw, secure, peer, func() {
		tunnels.Add(-1)
		p.metrics.CarryTCP.Add(-1)
		as.Add(1) // as Closed will say
		ended()
	})
}

// Opened counts a connection.
func (p *port) Opened(secure bool) {
	p.gauge(secure).Add(1)
	if secure {
		p.metrics.OpenedTLS.Add()
		p.metrics.Secure.Add(1)
	} else {
		p.metrics.Opened.Add()
	}
}

// Closed uncounts it.
func (p *port) Closed(secure bool, lasted time.Duration) {
	p.gauge(secure).Add(-1)
	if secure {
		p.metrics.Secure.Add(-1)
	}
	p.metrics.Lasted(lasted)
}

func (p *port) gauge(secure bool) *telemetry.Gauge {
	if secure {
		return p.secure
	}
	return p.clear
}

// Refused says once in a while that connections are over the limit: whoever opens too many
// is not to fill the log as well.
func (p *port) Refused() {
	if others, ok := p.refusals.pass(p.gateway.clock()); ok {
		p.gateway.log.Warn("connection refused: there are as many as there may be", "listener", p.key, "others", others)
	}
}

// HandshakeFailed is worth a line only to who looks for it, unless it is all that there
// will be of a connection to a TCPMapping's port.
func (p *port) HandshakeFailed(peer *wire.Peer, err error) {
	p.metrics.HandshakeFailed.Add()
	nobody, named := errors.AsType[*listen.NoNameError](err)
	switch {
	case named:
		p.metrics.NoName.Add()
	case wire.NoCertificate(err):
		p.metrics.NoCertificate.Add()
	case wire.BadCertificate(err):
		p.metrics.BadCertificate.Add()
	}
	if named && p.gateway.tcpOnly(p.slot) {
		p.metrics.TCPNoRoute.Add()
		p.gateway.turnAway(peer, nobody.ServerName)
	}
	p.gateway.log.Debug("TLS handshake failed", "listener", p.key, "client_ip", peer.Remote.Addr().String(), "error", err)
}

// AcceptFailed warns once in a while: clients wait.
func (p *port) AcceptFailed(err error) {
	if others, ok := p.deaf.pass(p.gateway.clock()); ok {
		p.gateway.log.Warn("cannot accept connections", "listener", p.key, "error", err, "others", others)
	}
}
