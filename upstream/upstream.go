// Package upstream brings requests to services: it turns the service of a Mapping
// into names and settings, names into addresses off the request path, and addresses
// into connections that are pooled, with TLS where it is wanted. It knows no routes
// and reads no messages, and never looks a name up while a request waits, but for
// the very first one.
package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"legate/config"
	"legate/decision"
	"legate/upstream/consul"
	"legate/wire"
)

// An Upstream is a service: its endpoints and the connections to them. It lives as
// long as configurations have its Spec.
type Upstream struct {
	spec     Spec
	key      unique.Handle[Spec] // in a Set
	resolver *Resolver
	now      func() time.Time
	tls      atomic.Pointer[tls.Config] // nil on cleartext
	stats    counters
	budget   Budget
	maxIdle  int
	checks   []config.HealthCheck
	connect  func(c *conn, by time.Time) (decision.Reason, error) // dial, but in tests
	port     uint16

	connectMux func(s *shared, by time.Time) (decision.Reason, error) // dialMux, but in tests

	turn  atomic.Uint64 // round robin
	ends  atomic.Pointer[endpoints]
	known chan struct{} // closed once there is a first answer

	mu      sync.Mutex // guards what follows, and changes of ends
	started bool
	retired bool
	heard   bool // known is closed
	watched *name
	listed  *instances
	janitor *time.Timer
	armed   atomic.Bool
}

// endpoints are what is known of a name at one time.
type endpoints struct {
	list    []*endpoint
	balance balancer // over those of the list that serve; nil where the list is empty
	err     error    // why the list is empty or old
}

const defaultMaxIdle = 1024

// New makes an upstream that does nothing before Start.
func New(spec Spec, r *Resolver) *Upstream {
	u := &Upstream{
		spec:     spec,
		resolver: r,
		now:      r.now,
		maxIdle:  cmp.Or(r.opts.MaxIdle, defaultMaxIdle),
		budget:   unlimited{},
		checks:   spec.Checks.list(),
		known:    make(chan struct{}),
	}
	u.connect, u.connectMux = u.dial, u.dialMux
	if spec.TLS.On {
		u.tls.Store(spec.TLS.config(r.opts.Workload, r.now))
	}
	u.turn.Store(rand.Uint64N(1 << 16)) //nolint:gosec // because it only keeps replicas from starting at the same endpoint
	u.ends.Store(&endpoints{err: errNotStarted})
	return u
}

// Errors of Open beside those of the network.
var (
	errNotStarted = errors.New("not looked up yet")
	errNoHost     = errors.New("the service names no host")
	errTooMany    = errors.New("as many requests as may be wait for a connection")
	errNoPlace    = errors.New("no connection came to rest, and there was no place for one more, in time")
	errMoved      = errors.New("the endpoint went while the request waited for a connection")
	errNoAnswer   = errors.New("DNS has not answered in time")
)

// An EndpointError is why no connection to an endpoint came about.
type EndpointError struct {
	Endpoint string // its address
	err      error
}

func (e *EndpointError) Error() string { return e.err.Error() }
func (e *EndpointError) Unwrap() error { return e.err }

// Spec returns what u was made from.
func (u *Upstream) Spec() *Spec { return &u.spec }

// Budget returns what bounds u.
func (u *Upstream) Budget() Budget { return u.budget }

// Name returns the name u has in metrics and logs.
func (u *Upstream) Name() string { return u.spec.Name() }

// Start begins to look for endpoints. It does not block. Starting twice is once.
func (u *Upstream) Start() {
	u.mu.Lock()
	if u.started || u.retired {
		u.mu.Unlock()
		return
	}
	u.started = true
	u.mu.Unlock()
	if u.spec.Host == "" {
		u.update(nil, errNoHost)
		return
	}
	if u.placed() {
		return
	}
	host, port, overridden := u.resolver.opts.override(u.spec.Host, u.spec.Port)
	if u.spec.Source == FromConsul && !overridden {
		in := u.resolver.follow(u, consul.Query{Address: u.spec.Consul.Address, Datacenter: u.spec.Consul.Datacenter, Service: u.spec.Host})
		u.mu.Lock()
		u.listed = in
		u.mu.Unlock()
		return
	}
	u.port = port
	if a, err := netip.ParseAddr(host); err == nil {
		u.update([]netip.Addr{a}, nil)
		return
	}
	key := nameKey{host: host, family: u.spec.Family, respectTTL: u.spec.RespectTTL}
	n := u.resolver.watch(u, key)
	u.mu.Lock()
	u.watched = n
	u.mu.Unlock()
}

// renew has handshakes go by conf from now on, and u be the upstream of key. Endpoints, counters
// and what is known of endpoints stay; connections under what was there before end as they
// come to rest.
func (u *Upstream) renew(key unique.Handle[Spec], conf *tls.Config) {
	u.key = key
	u.tls.Store(conf)
	u.sweep()
}

// placed reports whether the Set says where the endpoints are: those of a Service,
// unless an address was given or an override names one.
func (u *Upstream) placed() bool {
	if u.spec.Source != FromEndpoints || u.spec.Host == "" {
		return false
	}
	host, _, overridden := u.resolver.opts.override(u.spec.Host, u.spec.Port)
	_, err := netip.ParseAddr(host)
	return !overridden && err != nil
}

// Ready waits for a first answer about u's endpoints, be it that there are none, or
// for the end of ctx.
func (u *Upstream) Ready(ctx context.Context) error {
	select {
	case <-u.known:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("resolve upstream %q: %w", u.spec.Host, context.Cause(ctx))
	}
}

// Retire lets go of what costs something: idle connections close and look-ups end.
// Who still holds u can use it; its connections are not kept.
func (u *Upstream) Retire() {
	u.mu.Lock()
	u.retired = true
	n, in := u.watched, u.listed
	u.watched, u.listed = nil, nil
	list := u.ends.Load().list
	if u.janitor != nil {
		u.janitor.Stop()
	}
	u.mu.Unlock()
	if n != nil {
		u.resolver.unwatch(u, n)
	}
	if in != nil {
		u.resolver.unfollow(u, in)
	}
	for _, e := range list {
		e.drain(false)
	}
}

// update makes addrs the endpoints, all at the upstream's own port.
func (u *Upstream) update(addrs []netip.Addr, err error) {
	list := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		list[i] = netip.AddrPortFrom(a, u.port)
	}
	u.place(list, err)
}

// place makes addrs the endpoints. Those that stay keep their connections; those
// that are gone close what is idle and keep nothing that comes back.
func (u *Upstream) place(addrs []netip.AddrPort, err error) {
	for _, e := range u.replace(addrs, err) {
		e.drain(true)
	}
}

// replace does place's work up to the draining and returns the endpoints that are gone.
func (u *Upstream) replace(addrs []netip.AddrPort, err error) (gone []*endpoint) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired {
		return nil
	}
	old := u.ends.Load()
	next := &endpoints{list: make([]*endpoint, 0, len(addrs)), err: err}
	named := u.spec.DNSType == config.LogicalDNS && len(addrs) > 0
	if named {
		addrs = []netip.AddrPort{old.settle(addrs)}
	}
	for _, a := range addrs {
		next.list = append(next.list, old.carry(u, a))
	}
	switch {
	case len(addrs) == 0 && err == nil:
		next.err = errGone
	case len(addrs) == 0:
	case named:
		next.list = append(next.list, old.connected(next.list[0])...)
		next.balance = logical{next.list}
	case slices.Equal(next.list, old.list):
		next.balance = old.balance
	default:
		next.balance = u.balancer(next.list)
	}
	if err == nil && len(addrs) > 0 {
		u.stats.updates.Add(1)
	} else {
		u.stats.missed.Add(1)
	}
	if !slices.Equal(next.list, old.list) {
		u.stats.changes.Add(1)
	}
	u.ends.Store(next)
	for _, e := range old.list {
		if !slices.Contains(next.list, e) {
			gone = append(gone, e)
		}
	}
	if !u.heard {
		u.heard = true
		close(u.known)
	}
	return gone
}

// carry returns the endpoint at addr, a new one if it is not among es.
func (es *endpoints) carry(u *Upstream, addr netip.AddrPort) *endpoint {
	for _, e := range es.list {
		if e.addr == addr {
			return e
		}
	}
	e := newEndpoint(u, addr)
	u.watchHealth(e)
	return e
}

// Open returns a connection for one exchange: one that rested in the pool, or a new
// one, for which it blocks up to the connect timeout; where there may be no more of
// them it waits for one to rest, up to c.By. now is the request's time. On failure the
// link is nil, the reason says why and the error is for operators.
//
// Budget: 0 allocs when a connection rests in the pool.
func (u *Upstream) Open(now time.Time, c Choice) (wire.Link, decision.Reason, error) {
	e, by, err := u.next(c)
	if err != nil {
		return nil, missing(err), err
	}
	if u.spec.HTTP2 {
		return u.openShared(u.target(e), now, by, c)
	}
	if c := e.fresh(now); c != nil {
		return c.link, decision.None, nil
	}
	return u.openNew(e, by, c)
}

// Fresh is Open that never takes a connection from the pool: for the second try of
// a request whose pooled connection turned out to be closed. A connection that is
// shared tells its end to everyone at once, so there it is the same as Open.
func (u *Upstream) Fresh(now time.Time, c Choice) (wire.Link, decision.Reason, error) {
	e, by, err := u.next(c)
	if err != nil {
		return nil, missing(err), err
	}
	if u.spec.HTTP2 {
		return u.openShared(u.target(e), now, by, c)
	}
	return u.openNew(e, by, c)
}

// openNew is open, at another endpoint if e goes meanwhile.
func (u *Upstream) openNew(e *endpoint, by time.Time, c Choice) (wire.Link, decision.Reason, error) {
	link, reason, err := u.open(u.target(e), by, c)
	if !errors.Is(err, errMoved) {
		return link, reason, err
	}
	if e, by, err = u.next(c); err != nil {
		return nil, missing(err), err
	}
	return u.open(u.target(e), by, c)
}

// missing says why there is no endpoint to go to.
func missing(err error) decision.Reason {
	if errors.Is(err, errNobody) {
		return decision.ClientGone
	}
	return decision.NoEndpoints
}

// next returns the endpoint for a request. Before the first answer it waits for it, and by is
// until when a connection may be waited for too; zero otherwise.
func (u *Upstream) next(c Choice) (e *endpoint, by time.Time, err error) {
	es := u.ends.Load()
	if len(es.list) == 0 {
		if by, err = u.firstAnswer(c); err != nil {
			return nil, by, err
		}
		if es = u.ends.Load(); len(es.list) == 0 {
			return nil, by, es.err
		}
	}
	return es.balance.pick(c), by, nil
}

// connectBy returns until when a request that ends by end, zero for never, may wait for a
// connection from now on: the connect timeout, or to its end if that comes before.
func (u *Upstream) connectBy(now, end time.Time) time.Time {
	by := now.Add(u.spec.ConnectTimeout)
	if !end.IsZero() && end.Before(by) {
		return end
	}
	return by
}

// firstAnswer waits until something is known about the endpoints.
func (u *Upstream) firstAnswer(c Choice) (by time.Time, err error) {
	select {
	case <-u.known:
		return time.Time{}, nil
	default:
	}
	by = u.connectBy(u.now(), c.By)
	end := u.newWait(by, c.Gone)
	defer end.Stop()
	for {
		select {
		case <-u.known:
			return by, nil
		case <-end.C:
			if !end.goesOn() {
				return by, end.why(errNoAnswer)
			}
		}
	}
}

// open connects to e, or waits for a connection where there may be no more of them. A
// zero by stands for a whole connect timeout from now, if the request lasts so long: that is
// how long may be waited, as long as for a connection if it has no end.
func (u *Upstream) open(e *endpoint, by time.Time, choice Choice) (wire.Link, decision.Reason, error) {
	if !u.budget.Wait() {
		return nil, decision.UpstreamOverflow, errTooMany
	}
	defer u.budget.Waited()
	u.stats.waited.Add(1)
	now, patience := u.now(), choice.By
	if by.IsZero() {
		by = u.connectBy(now, patience)
	}
	if !u.admit(e) {
		if patience.IsZero() {
			patience = by
		}
		c, placed, reason, err := u.queue(e, patience, choice.Gone)
		if !placed {
			if err != nil {
				return nil, reason, err
			}
			return c.link, decision.None, nil
		}
		e.live.Add(1)
		u.stats.live.Add(1)
		now = u.now()
		by = u.connectBy(now, patience)
	}
	c := &conn{end: e, born: now}
	if reason, err := u.connect(c, by); err != nil {
		u.dismiss(e)
		u.stats.failed(reason)
		return nil, reason, &EndpointError{e.text, err}
	}
	u.stats.connected(c.born, u.now())
	return c.link, decision.None, nil
}

// admit counts a connection to e that is about to be made, if there is a place for it.
// An endpoint without any has one in any case: it would starve.
func (u *Upstream) admit(e *endpoint) bool {
	if first := e.live.Add(1) == 1; !u.budget.Connect(first && !u.spec.Raw) {
		e.live.Add(-1)
		return false
	}
	u.stats.live.Add(1)
	return true
}

// dismiss counts a connection to e that is no more.
func (u *Upstream) dismiss(e *endpoint) {
	e.live.Add(-1)
	u.stats.live.Add(-1)
	u.budget.Disconnect()
}

// sweepEvery is how often idle connections are looked after.
const sweepEvery = 15 * time.Second

// armJanitor sees to it that idle connections are looked after. There is a timer
// only while some are idle, and no goroutine. Budget: 0 allocs.
func (u *Upstream) armJanitor() {
	if u.armed.Load() || u.armed.Swap(true) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.retired {
		return
	}
	if u.janitor == nil {
		u.janitor = time.AfterFunc(u.sweepPeriod(), u.sweep)
		return
	}
	u.janitor.Reset(u.sweepPeriod())
}

// sweepPeriod is short enough for short timeouts to be kept within a quarter.
func (u *Upstream) sweepPeriod() time.Duration {
	d := u.spec.IdleTimeout
	if u.spec.MaxLifetime > 0 {
		d = min(d, u.spec.MaxLifetime)
	}
	return min(max(d/4, 50*time.Millisecond), sweepEvery)
}

// sweep looks after the idle connections once, and again later if any are left.
func (u *Upstream) sweep() {
	// Disarmed first: what comes to rest from here on arms it again.
	u.armed.Store(false)
	now, left := u.now(), false
	for _, e := range u.ends.Load().list {
		left = e.sweep(now) || left
	}
	if left {
		u.armJanitor()
	}
}
