package upstream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"legate/upstream/consul"
)

// How names are kept fresh.
const (
	refreshEvery = 5 * time.Second // Envoy's dns_refresh_rate
	leastTTL     = time.Second     // a TTL below it, and 0, counts as this
	retryFirst   = time.Second     // after a failure before any address was known
	// goneAfter is how many times in a row DNS must say that a name is gone before its
	// last addresses are given up: a Service that is being replaced, or a DNS server
	// that has just started and knows nothing yet, says so for a moment.
	goneAfter = 3
)

// A Resolver turns names into addresses, off the request path. Each name in use has
// one goroutine that keeps it fresh, however many upstreams share it.
//
// The last addresses stay while DNS cannot be asked, for however long, and are given
// up only after DNS said three times in a row that there are none.
type Resolver struct {
	opts   Options
	now    func() time.Time
	log    *slog.Logger
	hosts  *cachedFile[hosts]
	system func(now time.Time) system
	find   func(ctx context.Context, host string, family Family) answer // lookup, but in tests

	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	names map[nameKey]*name
	own   string // see zone

	consul   *consul.Watcher
	followed map[consul.Query]*instances
}

// nameKey is what look-ups have in common.
type nameKey struct {
	host       string
	family     Family
	respectTTL bool
}

// NewResolver makes a resolver. It asks nothing before an upstream starts; Close
// ends it.
func NewResolver(opts Options) (*Resolver, error) {
	server, err := opts.server()
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		opts:  opts,
		now:   opts.Now,
		log:   opts.Log,
		hosts: newFile(opts.HostsFile, "/etc/hosts", parseHosts),
		names: map[nameKey]*name{},
		own:   opts.Zone,

		consul:   consul.New(),
		followed: map[consul.Query]*instances{},
	}
	if r.now == nil {
		r.now = time.Now //nolint:forbidigo // because this is the clock of loops and pools; requests bring their own time
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.system = newFile(opts.ResolvConf, "/etc/resolv.conf", parseResolvConf).get
	if server != "" {
		pod := podSystem(server, &opts)
		r.system = func(time.Time) system { return pod }
	}
	r.find = r.lookup
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// Close stops all look-ups and waits for them. Upstreams keep their addresses.
func (r *Resolver) Close() {
	r.stop()
	r.wg.Wait()
	r.consul.Close()
}

// A name is one host name in use.
type name struct {
	nameKey
	resolver *Resolver
	ctx      context.Context
	stop     context.CancelFunc

	mu      sync.Mutex
	users   []*Upstream
	addrs   []netip.Addr
	from    string // the absolute name that had addrs
	err     error  // why addrs are old or missing; nil if they are fresh
	asked   bool   // the first look-up is over
	goneFor int    // look-ups in a row that said "no such name"
}

// watch has u told about the addresses of a name, now and from now on.
func (r *Resolver) watch(u *Upstream, key nameKey) *name {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[key]
	if n == nil {
		n = &name{nameKey: key, resolver: r}
		n.ctx, n.stop = context.WithCancel(r.ctx)
		r.names[key] = n
		r.wg.Go(n.refresh)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users = append(n.users, u)
	if n.asked {
		u.update(n.addrs, n.err)
	}
	return n
}

// unwatch ends what watch began. A name that nobody uses is asked for no more.
func (r *Resolver) unwatch(u *Upstream, n *name) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.users = slices.DeleteFunc(n.users, func(v *Upstream) bool { return v == u })
	if len(n.users) == 0 {
		n.stop()
		delete(r.names, n.nameKey)
	}
}

// refresh keeps n fresh until it is stopped.
func (n *name) refresh() {
	for {
		a := n.resolver.find(n.ctx, n.host, n.family)
		if n.ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(n.take(a))
		select {
		case <-n.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// take adopts a, tells the users, and returns when to ask again.
func (n *name) take(a answer) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.doubt != nil && len(n.addrs) > 0 && n.from != a.from {
		// While the domain that had the addresses fails, another one's host of that name
		// must not receive what is meant for it.
		a = answer{err: a.doubt}
	}
	n.note(a)
	wait := refreshEvery
	switch {
	case a.err == nil:
		n.addrs, n.from, n.goneFor = a.addrs, a.from, 0
		if n.respectTTL {
			wait = max(a.ttl, leastTTL)
		}
	case a.gone:
		if n.goneFor++; n.goneFor >= goneAfter {
			n.addrs = nil
		}
	default:
		n.goneFor = 0
		if len(n.addrs) == 0 {
			wait = retryFirst
		}
	}
	n.err, n.asked = a.err, true
	for _, u := range n.users {
		u.update(n.addrs, n.err)
	}
	return jitter(wait)
}

// note logs what changed: a name that fails, and one that is well again.
func (n *name) note(a answer) {
	switch {
	case a.err != nil && (n.err == nil || !n.asked):
		n.resolver.log.Warn("upstream name not resolved", "name", n.host, "kept", len(n.addrs), "error", a.err)
	case a.err == nil && n.err != nil:
		n.resolver.log.Info("upstream name resolved again", "name", n.host, "addresses", len(a.addrs))
	}
}

// jitter spreads d by a tenth either way, so that names read at once are not asked
// for at once for ever.
func jitter(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	return d - time.Duration(tenth) + time.Duration(rand.Int64N(2*tenth+1)) //nolint:gosec // because it is no secret when a name is asked for
}
