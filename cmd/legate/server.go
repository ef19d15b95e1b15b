package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"legate/admin"
	"legate/certs"
	"legate/certs/acme"
	"legate/certs/workload"
	"legate/config"
	"legate/config/files"
	"legate/config/kube"
	"legate/gateway"
	"legate/telemetry"
	"legate/upstream"
	"legate/wire"
)

// A server is the gateway with its admin port and its log, wired together.
type server struct {
	settings *settings
	gateway  *gateway.Gateway
	admin    *admin.Server
	adminLn  net.Listener
	ready    *admin.Server // answers /ready at readyLn
	readyLn  net.Listener  // nil for none
	locals   []local       // what Mappings mean by Ambassador's other ports of this machine
	metrics  *telemetry.Metrics
	log      *slog.Logger
	logs     *accessLogs
	audit    *telemetry.AuditLog
	statsd   *statsdReport // nil for none
	shared   *shared       // nil where this replica is alone
	acme     *acme.Client
	mesh     *workload.Source // nil for none
	staples  *certs.Staples
	lookout  *certs.Lookout
	named    *files.Named   // that TLSContexts name
	sidecar  *files.Mounted // what Istio's sidecar leaves: a Secret
	certs    atomic.Pointer[certs.Built]
	world    atomic.Pointer[config.World] // that certs was built for: a port that comes late has it built too
	shown    atomic.Pointer[showing]      // for whoever asks
	api      *kube.Source                 // nil for none
	teller   *kube.Teller                 // nil where nobody is told
	handback *handback                    // nil where that is
	// ingresses are those of api that serve.
	ingresses atomic.Pointer[map[kube.Name]bool]
	told      []config.Problem // when a configuration was last applied
	stopLoop  context.CancelFunc
	done      sync.WaitGroup
}

// istioSecret is what Ambassador calls the Secret of the certificate that Istio's sidecar leaves.
const istioSecret = "istio-certs"

func (p *Program) newServer(s *settings) (*server, error) {
	log := newLogger(p.Stderr, s)
	metrics := telemetry.NewMetrics(telemetry.Build{Version: version, Commit: commit})
	metrics.Identify(telemetry.Identity{
		AmbassadorID: s.config.AmbassadorID, ClusterID: s.process.clusterID, SingleNamespace: s.config.SingleNamespace,
	}, func() bool { return s.level.Level() <= slog.LevelDebug })
	srv := &server{settings: s, log: log, metrics: metrics}
	srv.audit = telemetry.NewAuditLog(p.Stdout, telemetry.AccessLogOptions{Failed: srv.auditFailed})
	srv.logs = &accessLogs{stdout: p.Stdout, fallback: s.flags.logFormat, log: log, metrics: metrics}
	s.upstream.Log = log
	s.upstream.Now = time.Now
	srv.named = files.NewNamed()
	s.upstream.Files = srv.named
	srv.sidecar = files.NewMounted(s.process.istioCerts, istioSecret, cmp.Or(s.config.Namespace, "default"))
	if err := srv.listen(); err != nil {
		return nil, err
	}
	srv.shared = openShared(s.redis, log)
	limits := limitOptions(p.getenv, s.config.Namespace)
	limits.Near, limits.Store = s.process.nearLimit, srv.shared.store()
	srv.acme = newACME(s, srv.shared, srv.vault(), p.getenv, log)
	if err := srv.joinMesh(); err != nil {
		return nil, err
	}
	srv.lookout = certs.NewLookout(log)
	srv.staples = certs.NewStaples(certs.StapleOptions{Log: log, Changed: srv.acme.Tell})
	var err error
	srv.gateway, err = gateway.New(gateway.Options{
		Bind:             s.flags.bind,
		Upstream:         s.upstream,
		Routes:           routesOptions(s.config, p.getenv),
		OnlyAsk:          onlyAsk(p.getenv),
		Limits:           limits,
		Patience:         s.process.patience,
		Node:             node(p.getenv, s.config.Namespace),
		ProxyProtocol:    s.proxy,
		ProxyTrust:       s.trust,
		MaxConnectionAge: s.flags.maxAge,
		MaxRequests:      s.flags.maxRequests,
		MaxQueueing:      s.flags.maxQueueing,
		MemoryLimit:      limitMemory(log),
		TokenCache:       tokenCache(s.flags.tokenCache),
		TokenFailures:    s.flags.tokenFailures,
		KeepHeaders:      s.flags.keepInjected,
		Metrics:          metrics,
		AccessLog:        srv.logs.open,
		Cluster:          p.cluster(s.flags.kubernetes, log),
		SigningKeys:      srv.signingKeys(),
		Audit:            srv.audit.Audit,
		Sessions:         srv.shared.sessions(),
		Revocations:      srv.shared.revocations(),
		Log:              log,
		Clock:            time.Now,
		Certificates:     srv.certificates,
		ChallengeHTTP:    srv.acme.HTTP,
		ChallengeTLS:     srv.acme.TLS,
	})
	if err != nil {
		return nil, err
	}
	srv.ready = admin.NewReady(admin.Options{State: srv.gateway, Log: log})
	srv.admin = admin.New(admin.Options{
		State: srv.gateway, Metrics: metrics.Handler(), Pprof: s.flags.pprof, Log: log, Level: &s.level, Also: s.also,
		Version: version, Certificates: srv.certificatesShown, Timers: metrics.Timers, Shown: func(d time.Duration) { metrics.Took(telemetry.StepDashboard, d) },
	})
	for i := range srv.locals {
		l := &srv.locals[i]
		l.server = l.make(admin.Options{State: srv.gateway, Metrics: metrics.Handler(), Log: log, Version: version})
	}
	return srv, nil
}

// A local is a server for what Mappings lead to on this machine.
type local struct {
	port   string // where Ambassador has it
	make   func(admin.Options) *admin.Server
	ln     net.Listener
	server *admin.Server
}

// listenLocally binds what Mappings mean by Envoy's admin port and by Edge Stack's own
// process, wherever there is room for it, and leads them there.
func (srv *server) listenLocally() error {
	for _, l := range []local{{port: "8001", make: admin.NewEnvoy}, {port: "8500", make: admin.NewSidecar}} {
		var err error
		if l.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("local port: %w", err)
		}
		if err := srv.lead(l.port, l.ln.Addr().String()); err != nil {
			return err
		}
		srv.locals = append(srv.locals, l)
	}
	return nil
}

// lead has what Mappings mean by a port of this machine be at addr.
func (srv *server) lead(port, addr string) error {
	for _, host := range []string{"localhost", "127.0.0.1"} {
		o, err := upstream.ParseOverride(host + ":" + port + "=" + addr)
		if err != nil {
			return fmt.Errorf("local port: %w", err)
		}
		srv.settings.upstream.Resolve = append(srv.settings.upstream.Resolve, o)
	}
	return nil
}

// tokenCache returns a cache of so many MiB as the gateway's options say it, where 0 is the
// default and less is none.
func tokenCache(mib int) int64 {
	if mib <= 0 {
		return -1
	}
	return int64(mib) << 20
}

// listen binds the admin port, and leads there what Mappings mean by localhost:8877 or
// 127.0.0.1:8877: that is where it is in Ambassador.
func (srv *server) listen() error {
	s := srv.settings
	var err error
	if srv.adminLn, err = net.Listen(s.process.adminNetwork, s.flags.admin); err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	host, port, err := net.SplitHostPort(srv.adminLn.Addr().String())
	if err != nil {
		return fmt.Errorf("admin port: %w", err)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if s.process.adminNetwork == "tcp6" {
			host = "::1"
		}
	}
	if err := srv.lead("8877", net.JoinHostPort(host, port)); err != nil {
		return err
	}
	if err := srv.listenLocally(); err != nil {
		return err
	}
	if s.process.readyPort != "" {
		at, _, _ := net.SplitHostPort(s.flags.admin)
		if srv.readyLn, err = net.Listen(s.process.adminNetwork, net.JoinHostPort(at, s.process.readyPort)); err != nil {
			return fmt.Errorf("AMBASSADOR_READY_PORT: %w", err)
		}
	}
	return nil
}

func newLogger(w io.Writer, s *settings) *slog.Logger {
	opts := &slog.HandlerOptions{Level: &s.level}
	if s.flags.logFormat == "text" {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// certificates makes the TLS table of a World, carrying over what did not change.
func (srv *server) certificates(w *config.World) (*wire.TLSTable, []config.Ref, []config.Problem) {
	built := certs.Build(w, certs.Options{
		Namespace: srv.settings.config.Namespace, Files: srv.named, Local: srv.settings.local, Staples: srv.staples, Ordered: srv.ordered,
		Workload: srv.settings.upstream.Workload, NoWorkload: srv.settings.upstream.NoWorkload,
	}, srv.certs.Load())
	srv.certs.Store(built) // a port that comes late has them built beside the source
	seen := *w             // what is compiled further is another
	srv.world.Store(&seen)
	expiries := make(map[string]time.Time, len(built.Certificates))
	for i := range built.Certificates {
		expiries[built.Certificates[i].Hostname] = built.Certificates[i].NotAfter
	}
	srv.metrics.Certificates(expiries)
	srv.shown.Store(&showing{built.Certificates, w.Hosts})
	return built.Table, built.Dropped, built.Problems
}

// start serves. The channel tells of an error that ends everything.
func (srv *server) start(ctx context.Context, sources []config.Source) <-chan error {
	failed := make(chan error, 3)
	srv.statsd = reportToStatsD(srv.settings.process.statsd, srv.metrics, srv.log)
	ctx, srv.stopLoop = context.WithCancel(ctx)
	loop := config.Loop{
		Sources: append(sources, srv.acme, srv.named, srv.sidecar),
		Options: srv.settings.config,
		Max:     srv.settings.process.maxDelay,
		Merged:  func(d time.Duration) { srv.metrics.Took(telemetry.StepAmbassador, d) },
		Apply:   func(w config.World, instead config.Instead) []config.Problem { return srv.apply(ctx, w, instead) },
		Failed:  func(err error) { srv.log.Error("a source ended; its last objects keep serving", "error", err) },
	}
	if client := srv.shared.redis(); client != nil {
		srv.done.Go(func() { certs.FollowTickets(ctx, client, srv.log, srv.gateway.SetTicketKeys) })
	}
	srv.followMesh(ctx)
	srv.done.Go(func() { srv.lookout.Run(ctx, srv.validities) })
	srv.done.Go(func() {
		if err := loop.Run(ctx); err != nil {
			failed <- err
		}
	})
	if srv.teller != nil {
		srv.done.Go(func() { srv.teller.Run(ctx) })
		srv.done.Go(func() { srv.handback.run(ctx) })
	}
	if srv.readyLn != nil {
		srv.done.Go(func() {
			if err := srv.ready.Serve(srv.readyLn); err != nil {
				failed <- err
			}
		})
	}
	for i := range srv.locals {
		srv.done.Go(func() {
			if err := srv.locals[i].server.Serve(srv.locals[i].ln); err != nil {
				srv.log.Warn("local port ended", "port", srv.locals[i].port, "error", err)
			}
		})
	}
	srv.done.Go(func() {
		if err := srv.admin.Serve(srv.adminLn); err != nil && !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
	return failed
}

func (srv *server) apply(ctx context.Context, w config.World, instead config.Instead) []config.Problem {
	var mark *kube.Mark
	if srv.teller != nil {
		mark = srv.api.Mark()
		served := ingressesOf(&w)
		srv.ingresses.Store(&served)
	}
	problems := srv.gateway.ApplyOr(ctx, w, instead)
	if srv.teller != nil {
		srv.teller.Applied(mark)
	}
	if seen := srv.world.Load(); seen != nil {
		if srv.api != nil {
			srv.api.Serves(seen)
		}
		srv.acme.Want(seen)
		srv.staples.Want(srv.certs.Load())
		if srv.handback != nil {
			srv.handback.look()
		}
	}
	srv.lookout.Look(srv.validities(), time.Now())
	srv.tell(ctx, problems)
	if srv.settings.applied != nil {
		srv.settings.applied(srv.gateway)
	}
	return problems
}

// validities returns of all certificates that clients or services are shown for how long they
// are good. The mesh's own renews itself, and whoever gives it is watched elsewhere.
func (srv *server) validities() []certs.Validity {
	var list []certs.Validity
	if shown := srv.shown.Load(); shown != nil {
		for i := range shown.certs {
			c := &shown.certs[i]
			list = append(list, certs.Validity{Of: c.Host.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter})
		}
	}
	for context, leaf := range srv.gateway.ClientCertificates() {
		list = append(list, certs.Validity{Of: "TLSContext " + context, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter})
	}
	return list
}

// tell logs the problems that were not there before: of thousands that stay, one change
// would otherwise write every line again.
func (srv *server) tell(ctx context.Context, problems []config.Problem) {
	for _, p := range config.NewProblems(srv.told, problems) {
		level := slog.LevelInfo
		if p.Effect >= config.FieldIgnored {
			level = slog.LevelWarn
		}
		srv.log.Log(ctx, level, "problem", "effect", p.Effect.String(), "text", p.String())
	}
	srv.told = problems
}

// reload is for signals: whatever is kept of the world outside is looked at again.
func (srv *server) reload() {
	srv.logs.reopen()
	srv.acme.Recheck()
	srv.named.Reload()
	srv.sidecar.Reload()
}

// auditFailed tells of events that nobody can look up later.
func (srv *server) auditFailed(err error) {
	if err != nil {
		srv.log.Error("audit log cannot be written; events are lost", "error", err)
		return
	}
	srv.log.Info("audit log is written again")
}

// stop drains: not ready at once, accepting for delay, then finishing what is in
// flight. Another signal cuts it short.
func (srv *server) stop(delay time.Duration, again <-chan os.Signal) int {
	srv.gateway.BeginDrain()
	ctx, cancel := context.WithTimeout(context.Background(), delay+srv.settings.flags.drainTimeout)
	defer cancel()
	go func() {
		select {
		case <-again:
			cancel()
		case <-ctx.Done():
		}
	}()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	srv.stopLoop()
	status := exitFine
	if err := srv.gateway.Drain(ctx); err != nil {
		srv.log.Error("drain was cut short", "error", err)
		status = exitError
	}
	srv.shut()
	srv.done.Wait()
	srv.acme.Close()
	srv.staples.Close()
	// Only now, as whoever asks an API server that is away may have taken long to end.
	closing, cancelClosing := context.WithTimeout(context.Background(), closeTime)
	defer cancelClosing()
	srv.logs.close(closing)
	srv.statsd.close(closing)
	srv.shared.close()
	if err := srv.audit.Close(closing); err != nil {
		srv.log.Error("audit log was not written to its end", "error", err)
	}
	srv.log.Info("stopped")
	return status
}

// closeTime is how long ports that are not public may take to close, and then logs to be written.
const closeTime = 5 * time.Second

// shut closes the ports that are not public.
func (srv *server) shut() {
	closing, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := srv.admin.Shutdown(closing); err != nil {
		srv.log.Warn("admin port did not close", "error", err)
	}
	for i := range srv.locals {
		if err := srv.locals[i].server.Shutdown(closing); err != nil {
			srv.log.Warn("local port did not close", "port", srv.locals[i].port, "error", err)
		}
	}
	if srv.readyLn != nil {
		if err := srv.ready.Shutdown(closing); err != nil {
			srv.log.Warn("ready port did not close", "error", err)
		}
	}
}
