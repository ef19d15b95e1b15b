package telemetry

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"legate/decision"
)

// A Build says which gateway this is.
type Build struct{ Version, Commit string }

// Metrics are the gateway's numbers. What every request touches are plain atomics,
// read when somebody scrapes.
type Metrics struct {
	InFlight Gauge // requests being served
	limits   limits

	registry  *prometheus.Registry
	apply     prometheus.Histogram
	collector collector

	decisions  [decision.NumStages][decision.NumReasons]atomic.Uint64
	generation atomic.Uint64
	success    floatGauge    // Unix seconds
	phase      atomic.Uint32 // a Phase
	log        atomic.Pointer[AccessLog]

	mu          sync.Mutex
	routes      map[string]*RouteMetrics
	upstreams   map[string]*UpstreamMetrics
	listeners   map[listenerKey]*ListenerMetrics
	ports       map[string]*PortMetrics // by address
	build       Build
	bound       bound
	identity    Identity
	debug       func() bool
	kubernetes  func() bool // nil without an API server
	steps       map[string]time.Duration
	states      func() map[string]*UpstreamState
	connections map[connectionKey]*Gauge
	grpc        map[GRPCMethod]*GRPCMetrics
	proxied     map[proxiedKey]*Counter
	abused      map[string]*Counter
	scripts     map[string]*Counter // errors by hook
	shadowed    map[shadowedKey]*Counter
	tokens      tokenMetrics
	external    externalMetrics
	reported    reportedMetrics
	problems    map[string]int
	expiries    map[string]time.Time
	shown       map[string]time.Time // when certificates expire that upstreams are shown
	mesh        meshMetrics
}

type connectionKey struct{ listener, protocol string }

type shadowedKey struct{ route, outcome string }

type proxiedKey struct{ listener, outcome string }

// A RouteMetrics counts what happened to the requests of one route. Until the
// first it takes about a hundred bytes.
type RouteMetrics struct {
	all     *Metrics
	served  byClass // without a reason
	latency atomic.Pointer[histogram]
	refused atomic.Pointer[[decision.NumReasons]byClass]

	upgradable atomic.Bool   // whether the two that follow are of interest
	upgraded   atomic.Uint64 // connections that changed their protocol, ever
	tunnels    Gauge         // and of those, the ones that are open
}

// NewMetrics returns metrics with a registry of their own, which also holds those
// of the Go runtime and the process.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "legate_config_apply_seconds",
			Help:    "Time from a changed configuration to its first request.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		routes:      map[string]*RouteMetrics{},
		upstreams:   map[string]*UpstreamMetrics{},
		connections: map[connectionKey]*Gauge{},
		grpc:        map[GRPCMethod]*GRPCMetrics{},
		proxied:     map[proxiedKey]*Counter{}, abused: map[string]*Counter{},
		shadowed: map[shadowedKey]*Counter{}, scripts: map[string]*Counter{},
		problems: map[string]int{}, listeners: map[listenerKey]*ListenerMetrics{}, build: b,
		ports: map[string]*PortMetrics{}, steps: map[string]time.Duration{},
		expiries: map[string]time.Time{},
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "legate_build_info",
		Help:        "Always 1; the labels say which gateway this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go_version": runtime.Version()},
	})
	info.Set(1)
	m.collector = collector{m, envoyNames{m, time.Now()}}
	m.registry.MustRegister(m.apply, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: "ambassador"}))
	return m
}

// Registry returns the registry, for metrics that others own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler answers scrapes, in the text format of Prometheus 0.0.4, which everybody who
// scrapes takes.
func (m *Metrics) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gathered, err := m.registry.Gather()
		if err != nil && len(gathered) == 0 {
			http.Error(w, "the metrics cannot be gathered", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			_ = m.write(w, gathered) // who does not read the answer has no use for the error
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // it is a level
		_ = m.write(zip, gathered)
		_ = zip.Close()
	})
}

// write writes what was gathered of others, and everything of ours.
func (m *Metrics) write(w io.Writer, gathered []*dto.MetricFamily) error {
	for _, family := range gathered {
		if _, err := expfmt.MetricFamilyToText(w, family); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	out := newSink()
	defer out.free()
	m.collector.collect(*out)
	return out.writeTo(w)
}

// WriteCounted writes what the gateway counts itself, in the text format of Prometheus:
// all but what the runtime and others know.
func (m *Metrics) WriteCounted(w io.Writer) error { return m.write(w, nil) }

// Route returns the counters of the route called name, the same ones every time
// until Keep drops them. Meant for when routes are compiled.
func (m *Metrics) Route(name string) *RouteMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routes[name]
	if r == nil {
		r = &RouteMetrics{all: m}
		m.routes[name] = r
	}
	return r
}

// Upstream returns the counters of the upstream called name, as Route does.
func (m *Metrics) Upstream(name string) *UpstreamMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.upstreams[name]
	if u == nil {
		u = &UpstreamMetrics{}
		m.upstreams[name] = u
	}
	return u
}

// Connections returns the gauge of a listener's connections of one protocol.
func (m *Metrics) Connections(listener, protocol string) *Gauge {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := connectionKey{listener, protocol}
	g := m.connections[key]
	if g == nil {
		g = &Gauge{}
		m.connections[key] = g
	}
	return g
}

// Proxied returns the counter of a listener's connections whose PROXY header had one
// outcome.
func (m *Metrics) Proxied(listener, outcome string) *Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := proxiedKey{listener, outcome}
	c := m.proxied[key]
	if c == nil {
		c = &Counter{}
		m.proxied[key] = c
	}
	return c
}

// Shadowed returns the counter of copies made for the shadow called route that had one
// outcome.
func (m *Metrics) Shadowed(route, outcome string) *Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := shadowedKey{route, outcome}
	c := m.shadowed[key]
	if c == nil {
		c = &Counter{}
		m.shadowed[key] = c
	}
	return c
}

// Abused returns the counter of HTTP/2 connections and streams that ended over one kind
// of abuse. Kinds are few and fixed.
func (m *Metrics) Abused(kind string) *Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.abused[kind]
	if c == nil {
		c = &Counter{}
		m.abused[kind] = c
	}
	return c
}

// ScriptErrors returns the counter of a script's hook that ended with an error.
func (m *Metrics) ScriptErrors(hook string) *Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.scripts[hook]
	if c == nil {
		c = &Counter{}
		m.scripts[hook] = c
	}
	return c
}

// Keep drops the counters of every route and upstream that is not named. Who still
// holds a dropped one may use it; nobody sees what it counts.
func (m *Metrics) Keep(routes, upstreams []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keep(m.routes, routes)
	keep(m.upstreams, upstreams)
}

func keep[V any](all map[string]V, names []string) {
	stay := make(map[string]bool, len(names))
	for _, name := range names {
		stay[name] = true
	}
	for name := range all {
		if !stay[name] {
			delete(all, name)
		}
	}
}

// Observe counts a request that stage answered with status after d. status is 0
// where nothing was sent. Budget: 0 allocs but for the first.
func (r *RouteMetrics) Observe(status int, stage decision.Stage, reason decision.Reason, d time.Duration) {
	if reason == decision.None {
		r.served[classOf(status)].Add(1)
	} else {
		lazily(&r.refused)[reason][classOf(status)].Add(1)
		r.all.decisions[stage][reason].Add(1)
	}
	lazily(&r.latency).observe(d)
}

// AllowsUpgrades has the route's upgrades shown, even while there are none.
func (r *RouteMetrics) AllowsUpgrades() { r.upgradable.Store(true) }

// Upgraded counts a connection that changes its protocol with n = 1, and its end with
// n = -1.
func (r *RouteMetrics) Upgraded(n int64) {
	if n > 0 {
		r.upgraded.Add(1)
	}
	r.tunnels.Add(n)
}

// Decided counts what a stage ended that is no request.
func (m *Metrics) Decided(stage decision.Stage, reason decision.Reason) {
	m.decisions[stage][reason].Add(1)
}

// Applied notes that a configuration is serving since at, and took so long to make.
// problems counts its problems by effect; an effect that is not named has none.
func (m *Metrics) Applied(generation uint64, at time.Time, took time.Duration, problems map[string]int) {
	m.generation.Store(generation)
	m.success.set(float64(at.UnixMilli()) / 1000)
	m.apply.Observe(took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	for effect := range m.problems {
		m.problems[effect] = 0
	}
	maps.Copy(m.problems, problems)
}

// Certificates says when the certificate of each Host expires.
func (m *Metrics) Certificates(expiries map[string]time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expiries = expiries
}

// ClientCertificates says when the certificate expires that each TLSContext shows to upstreams.
func (m *Metrics) ClientCertificates(expiries map[string]time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown = expiries
}

// WatchKubernetes has up asked, at every scrape, whether the API server answers.
func (m *Metrics) WatchKubernetes(up func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kubernetes = up
}

// WatchUpstreams has states asked, at every scrape, how things stand with the upstreams,
// by their names.
func (m *Metrics) WatchUpstreams(states func() map[string]*UpstreamState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states = states
}

// Watch shows how many lines a has lost.
func (m *Metrics) Watch(a *AccessLog) { m.log.Store(a) }
