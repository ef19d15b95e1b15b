package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"legate/authn"
	"legate/config"
	"legate/decision"
	"legate/limiter"
	"legate/routes"
	"legate/telemetry"
	"legate/upstream"
	"legate/wire"
	"legate/wire/h1"
	"legate/wire/listen"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Options are what a Gateway is made with.
type Options struct {
	Bind             string // address that Listeners bind; "" for all
	Upstream         upstream.Options
	Routes           routes.Options
	MaxConnections   int              // of all Listeners together; 0 for what file descriptors are for
	MaxRequests      int              // served at once; 0 for what MemoryLimit is for
	MaxQueueing      time.Duration    // that requests may wait for a processor, all of them, before some are refused; 0 for ever
	MemoryLimit      int64            // bytes that the process may use; 0 for as many as there are
	ProxyProtocol    listen.ProxyMode // of Listeners with PROXY in their stack; 0 for required
	ProxyTrust       []netip.Prefix   // whose PROXY headers are believed; empty: everybody's
	MaxConnectionAge time.Duration    // of HTTP/2 connections; 0: they may live for ever
	Metrics          *telemetry.Metrics
	Log              *slog.Logger
	Clock            func() time.Time

	TokenCache    int64                   // bytes that verified credentials may take; 0 for the default, less for none
	TokenFailures int                     // that an address may send each second before its tokens are looked at no more; 0 for any number
	Patience      time.Duration           // that all Filters of a request may wait for others; 0 for as long as each likes
	KeepHeaders   bool                    // that Filters set: clients may send their own
	OnlyAsk       bool                    // AuthServices where there are any, and no Filters
	Cluster       authn.Cluster           // whose ServiceAccounts may ask for tokens; nil for none
	SigningKeys   authn.KeyStore          // where keys are kept that Mint filters share; nil for nowhere
	Audit         func(e *decision.Event) // told of what was decided about whom; nil for nobody
	Revocations   *authn.Revocations      // that all gateways share; nil for this one's own
	Sessions      authn.SessionStore      // of who logged in; nil for browsers that keep them

	Limits LimitOptions
	Node   Node // by which collectors know the gateway

	// AccessLog opens the log that the Module asks for: its envoy_log_type and
	// envoy_log_path, "" where it says nothing. nil writes none.
	AccessLog func(format, path string) *telemetry.AccessLog

	// Certificates makes the TLS table of a World; nil serves cleartext only. dropped
	// are the Hosts that must not serve. It is called by one goroutine at a time.
	Certificates func(w *config.World) (table *wire.TLSTable, dropped []config.Ref, problems []config.Problem)

	// ChallengeHTTP returns what an authority is to be answered that asks whether a host is
	// ours (RFC 8555 §8.3), nil for who asks something else; ChallengeTLS does the same for
	// handshakes (RFC 8737). They may take as long as a storage does. nil for neither.
	ChallengeHTTP func(host, path []byte) []byte
	ChallengeTLS  func(serverName string) *tls.Config
}

// A Gateway serves one World after another without missing a request.
type Gateway struct {
	opts     Options
	resolver *upstream.Resolver
	deps     *authn.Deps
	metrics  *telemetry.Metrics
	log      *slog.Logger
	clock    func() time.Time

	snap   atomic.Pointer[Snapshot]
	dates  atomic.Pointer[dateStamp]
	strays sometimes // PROXY headers where none are read
	recent recent

	scriptSays sometimes   // errors of Lua
	cut        atomic.Bool // the drain ran out of time: what ends now ends because of us

	applying sync.Mutex // guards ports and the building of snapshots
	ports    map[string]*port
	slots    int
	tickets  [][32]byte // that seal TLS sessions; nil for each port's own
	leaving  sync.Map   // of *port by slot: without a Listener, with connections that still end
	left     sync.WaitGroup
	shadows  shadows
	leavers  leavers

	admission *admission

	congestions sometimes
	congested   bool          // the last congestion was told of
	clients     *listen.Bound // of all ports
	limits      h1.Limits
}

// readyWait is how long a change waits for the addresses of new upstreams before it
// serves: long enough for DNS in the cluster, short enough not to hold up the rest.
const readyWait = 500 * time.Millisecond

// New makes a gateway that serves nothing yet.
func New(opts Options) (*Gateway, error) {
	resolver, err := upstream.NewResolver(opts.Upstream)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		opts: opts, resolver: resolver, metrics: opts.Metrics,
		log: opts.Log, clock: opts.Clock, ports: map[string]*port{}, limits: h1.DefaultLimits(),
		leavers: leavers{stop: make(chan struct{})},
		shadows: shadows{slots: make(chan struct{}, maxShadows)},
	}
	g.opts.Limits.Near = cmp.Or(g.opts.Limits.Near, DefaultNear)
	if g.opts.Limits.Store == nil {
		g.opts.Limits.Store = limiter.NewMemory(0)
	}
	g.admission, g.clients = g.newAdmission(&opts), opts.maxConnections()
	g.snap.Store(&Snapshot{})
	g.metrics.WatchUpstreams(g.upstreamStates)
	g.deps = g.authnDeps()
	return g, nil
}

// Apply makes w current and returns what of it is not served as written. Only one
// Apply runs at a time; requests never wait for it. As long as w is current and ctx is
// not done, ports that somebody else has are tried again.
func (g *Gateway) Apply(ctx context.Context, w config.World) []config.Problem {
	return g.ApplyOr(ctx, w, nil)
}

// ApplyOr is Apply for who may have a better World than w: instead is told what of it
// would not be served as written, before it serves. nil has none.
func (g *Gateway) ApplyOr(ctx context.Context, w config.World, instead config.Instead) []config.Problem {
	g.applying.Lock()
	defer g.applying.Unlock()
	return g.apply(ctx, w, instead)
}

// apply is ApplyOr for who holds applying.
func (g *Gateway) apply(ctx context.Context, w config.World, instead config.Instead) []config.Problem {
	begun := g.clock()
	old := g.snap.Load()
	next := g.compile(w, old)
	g.metrics.Took(telemetry.StepCompile, g.clock().Sub(begun))
	for instead != nil {
		better, ok := instead(next.Problems)
		if !ok {
			break
		}
		next = g.compile(better, old)
	}
	starts := g.clock()
	next.openLog(g.opts.AccessLog)
	g.bind(ctx, next)
	next.thresholds.Ready()
	next.breakers.Ready()
	next.upstreams.Start()
	next.authn.Start()
	wait, cancel := context.WithTimeout(ctx, readyWait)
	_ = next.upstreams.Ready(wait) // an upstream without addresses answers for itself
	next.authn.Ready(wait)         // and so do Filters without keys
	cancel()
	g.dismiss(next)
	next.begin()
	g.snap.Store(next) // the only moment of change
	g.enter(telemetry.Serving)
	now := g.clock()
	g.metrics.Took(telemetry.StepStart, now.Sub(starts))
	g.metrics.Took(telemetry.StepAll, now.Sub(begun))
	g.serve(next)
	g.leavers.letGo(old, next, g.log)
	if old.upstreams != nil {
		old.upstreams.Retire(next.upstreams)
	}
	old.authn.Retire(next.authn)
	g.report(next, begun)
	g.rebindLater(ctx, next)
	return next.Problems
}

// Check compiles w without serving it and returns what would not be served as
// written.
func (g *Gateway) Check(w config.World) []config.Problem {
	g.applying.Lock()
	defer g.applying.Unlock()
	return g.compile(w, g.snap.Load()).Problems
}

// Rehearse makes w current without serving it: no port is bound and no name looked up,
// but routes can be shown and requests explained. For who never applies anything.
func (g *Gateway) Rehearse(w config.World) []config.Problem {
	g.applying.Lock()
	defer g.applying.Unlock()
	next := g.compile(w, g.snap.Load())
	g.snap.Store(next)
	return next.Problems
}

// report tells operators what is now current.
func (g *Gateway) report(s *Snapshot, begun time.Time) {
	byEffect := map[string]int{}
	for i := range s.Problems {
		byEffect[s.Problems[i].Effect.String()]++
	}
	now := g.clock()
	g.metrics.Keep(s.metricNames())
	expiries := map[string]time.Time{}
	for context, leaf := range s.upstreams.ClientCertificates() {
		expiries[context] = leaf.NotAfter
	}
	g.metrics.ClientCertificates(expiries)
	g.metrics.KeepLimits(s.limits.names())
	g.metrics.KeepGRPC(s.grpcStats.stays)
	g.metrics.Applied(s.Gen, now, now.Sub(begun), byEffect)
	g.log.Info("snapshot applied", "gen", s.Gen, "routes", len(s.routes), "problems", len(s.Problems), "took", now.Sub(begun))
}

// Ready reports whether requests should be sent here: a configuration serves and no
// drain has begun.
func (g *Gateway) Ready() bool { return g.snap.Load().Gen > 0 && !g.leaves() }

// Alive reports whether the process works at all.
func (g *Gateway) Alive() bool { return true }

// ClientCertificates returns what TLSContexts show to upstreams, by the full name of the
// TLSContext.
func (g *Gateway) ClientCertificates() map[string]*x509.Certificate {
	s := g.snap.Load()
	if s.Gen == 0 {
		return nil
	}
	return s.upstreams.ClientCertificates()
}

// Problems returns what is not served as written.
func (g *Gateway) Problems() []config.Problem { return g.snap.Load().Problems }

// A dateStamp is the Date field of one second.
type dateStamp struct {
	second int64
	text   []byte
}

// date returns the Date field (RFC 9110 §5.6.7) for now. Budget: 0 allocs but one a
// second.
func (g *Gateway) date(now time.Time) []byte {
	d := g.dates.Load()
	if s := now.Unix(); d == nil || d.second != s {
		d = &dateStamp{s, now.UTC().AppendFormat(nil, "Mon, 02 Jan 2006 15:04:05 GMT")}
		g.dates.Store(d)
	}
	return d.text
}
