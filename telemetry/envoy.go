package telemetry

import (
	"maps"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"legate/decision"
)

// A ListenerMetrics counts the requests that came by Listeners of one statsPrefix, for
// those who look at them by Envoy's names.
type ListenerMetrics struct {
	answers   byClass
	latency   atomic.Pointer[histogram]
	noRoute   atomic.Uint64
	redirects atomic.Uint64
	scripts   atomic.Uint64
}

// ScriptFailed counts a script's hook that ended with an error.
func (l *ListenerMetrics) ScriptFailed() { l.scripts.Add(1) }

// Observe counts a request that was answered with status after d. Budget: 0 allocs but
// for the first.
func (l *ListenerMetrics) Observe(status int, reason decision.Reason, d time.Duration) {
	l.answers[classOf(status)].Add(1)
	lazily(&l.latency).observe(d)
	switch reason {
	case decision.NoRoute, decision.NoHost:
		l.noRoute.Add(1)
	case decision.Redirect, decision.HTTPSRedirect:
		l.redirects.Add(1)
	default:
	}
}

// Listener returns the counters of a statsPrefix, the same ones every time.
func (m *Metrics) Listener(prefix string) *ListenerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.listeners[prefix]
	if l == nil {
		l = &ListenerMetrics{}
		m.listeners[prefix] = l
	}
	return l
}

// envoyNames serves, under the names by which dashboards of Ambassador ask, what the
// other collector has counted.
type envoyNames struct {
	m       *Metrics
	started time.Time
}

func envoy(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

const (
	byCluster = "envoy_cluster_name"
	byPrefix  = "envoy_http_conn_manager_prefix"
	byCode    = "envoy_response_code_class"
)

var (
	clusterRequests  = envoy("envoy_cluster_upstream_rq_total", "Requests that were sent to an upstream and ended.", byCluster)
	clusterCompleted = envoy("envoy_cluster_upstream_rq_completed", "Requests that an upstream answered.", byCluster)
	clusterClasses   = envoy("envoy_cluster_upstream_rq_xx", "Answers of an upstream by the first digit of their status.", byCluster, byCode)
	clusterRetries   = envoy("envoy_cluster_upstream_rq_retry", "Requests sent to an upstream once more.", byCluster)
	clusterTime      = envoy("envoy_cluster_upstream_rq_time", "Milliseconds from sending a request to the head of the answer.", byCluster)
	clusterActive    = envoy("envoy_cluster_upstream_cx_active", "Open connections to an upstream.", byCluster)
	clusterHealthy   = envoy("envoy_cluster_membership_healthy", "Endpoints of an upstream that pass their health checks.", byCluster)
	clusterMembers   = envoy("envoy_cluster_membership_total", "Endpoints of an upstream.", byCluster)
	clusterCxFull    = envoy("envoy_cluster_upstream_cx_overflow", "How often max_connections was met.", byCluster)
	clusterPending   = envoy("envoy_cluster_upstream_rq_pending_overflow", "How often max_pending_requests or max_requests was met.", byCluster)
	clusterRetryFull = envoy("envoy_cluster_upstream_rq_retry_overflow", "How often max_retries was met.", byCluster)
	httpRequests     = envoy("envoy_http_downstream_rq_total", "Requests by the statsPrefix of their Listener.", byPrefix)
	httpCompleted    = envoy("envoy_http_downstream_rq_completed", "Requests that were answered.", byPrefix)
	httpClasses      = envoy("envoy_http_downstream_rq_xx", "Answers by the first digit of their status.", byPrefix, byCode)
	httpTime         = envoy("envoy_http_downstream_rq_time", "Milliseconds from a request's first byte to its answer's last.", byPrefix)
	httpNoRoute      = envoy("envoy_http_no_route", "Requests that no route was found for.", byPrefix)
	httpLuaErrors    = envoy("envoy_http_lua_errors", "Hooks of lua_scripts that ended with an error.", byPrefix)
	httpRedirect     = envoy("envoy_http_rq_redirect", "Requests that were redirected.", byPrefix)
	serverLive       = envoy("envoy_server_live", "1 as long as no drain has begun.")
	serverUptime     = envoy("envoy_server_uptime", "Seconds since the start.")
	serverAllocated  = envoy("envoy_server_memory_allocated", "Bytes of live and dead objects on the heap.")
	serverHeap       = envoy("envoy_server_memory_heap_size", "Bytes that the process has from the system.")
	serverConns      = envoy("envoy_server_total_connections", "Open connections of clients.")
	serverThreads    = envoy("envoy_server_concurrency", "Threads that work at the same time.")
	serverExpiry     = envoy("envoy_server_days_until_first_cert_expiring", "Days until the first certificate of a Host expires.")
	clusters         = envoy("envoy_cluster_manager_active_clusters", "Upstreams.")
	diagErrors       = envoy("ambassador_diagnostics_errors", "Problems in the configuration that serves, but for notices.")
	diagNotices      = envoy("ambassador_diagnostics_notices", "Notices about the configuration that serves.")
	diagInfo         = envoy("ambassador_diagnostics_info", "Always 1; the label says which gateway this is.", "version")
)

// Describe implements prometheus.Collector.
func (c envoyNames) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		clusterRequests, clusterCompleted, clusterClasses, clusterRetries, clusterTime, clusterActive, clusterHealthy, clusterMembers,
		clusterCxFull, clusterPending, clusterRetryFull, httpRequests, httpCompleted, httpClasses, httpTime, httpNoRoute, httpRedirect, httpLuaErrors,
		serverLive, serverUptime, serverAllocated, serverHeap, serverConns, serverThreads, serverExpiry, clusters, diagErrors, diagNotices, diagInfo,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c envoyNames) Collect(ch chan<- prometheus.Metric) {
	m, out := c.m, sink(ch)
	m.mu.Lock()
	upstreams, listeners, connections := maps.Clone(m.upstreams), maps.Clone(m.listeners), maps.Clone(m.connections)
	problems, expiries, count, states := maps.Clone(m.problems), m.expiries, m.count, m.states
	m.mu.Unlock()
	var pools map[string]ConnCount
	if count != nil {
		pools = count()
	}
	var endpoints map[string]*UpstreamState
	if states != nil {
		endpoints = states()
	}
	for name, u := range upstreams {
		u.collectEnvoy(name, pools[name], endpoints[name], out)
	}
	for prefix, l := range listeners {
		l.collect(prefix, out)
	}
	out.gauge(clusters, float64(len(upstreams)))
	errors, notices := 0, 0
	for effect, n := range problems {
		if effect == "notice" {
			notices += n
		} else {
			errors += n
		}
	}
	out.gauge(diagErrors, float64(errors))
	out.gauge(diagNotices, float64(notices))
	out.gauge(diagInfo, 1, m.version)
	c.process(out, connections, expiries)
}

// process tells of the process as a whole.
func (c envoyNames) process(out sink, connections map[connectionKey]*Gauge, expiries map[string]time.Time) {
	live, open := 1.0, int64(0)
	if c.m.draining.Load() {
		live = 0
	}
	for _, g := range connections {
		open += g.Value()
	}
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}}
	metrics.Read(samples)
	out.gauge(serverLive, live)
	out.gauge(serverUptime, time.Since(c.started).Seconds())
	out.gauge(serverAllocated, float64(samples[0].Value.Uint64()))
	out.gauge(serverHeap, float64(samples[1].Value.Uint64()))
	out.gauge(serverConns, float64(open))
	out.gauge(serverThreads, float64(runtime.GOMAXPROCS(0)))
	if len(expiries) > 0 {
		first := time.Duration(1<<63 - 1)
		for _, at := range expiries {
			first = min(first, time.Until(at))
		}
		out.gauge(serverExpiry, float64(int(max(first, 0).Hours()/24)))
	}
}

func (u *UpstreamMetrics) collectEnvoy(name string, pool ConnCount, state *UpstreamState, out sink) {
	completed := out.envoyClasses(clusterClasses, &u.answers, name)
	out.counter(clusterRequests, completed+u.answers[0].Load(), name)
	out.counter(clusterCompleted, completed, name)
	out.counter(clusterRetries, u.retries.Load(), name)
	out.milliseconds(clusterTime, u.latency.Load(), name)
	out.gauge(clusterActive, float64(pool.Active+pool.Idle), name)
	if state == nil {
		return
	}
	out.gauge(clusterHealthy, float64(state.Healthy), name)
	out.gauge(clusterMembers, float64(state.Healthy+state.Unhealthy), name)
	out.counter(clusterCxFull, state.Overflows["max_connections"], name)
	out.counter(clusterPending, state.Overflows["max_pending_requests"]+state.Overflows["max_requests"], name)
	out.counter(clusterRetryFull, state.Overflows["max_retries"], name)
}

func (l *ListenerMetrics) collect(prefix string, out sink) {
	completed := out.envoyClasses(httpClasses, &l.answers, prefix)
	out.counter(httpRequests, completed+l.answers[0].Load(), prefix)
	out.counter(httpCompleted, completed, prefix)
	out.milliseconds(httpTime, l.latency.Load(), prefix)
	out.counter(httpNoRoute, l.noRoute.Load(), prefix)
	out.counter(httpRedirect, l.redirects.Load(), prefix)
	out.counter(httpLuaErrors, l.scripts.Load(), prefix)
}

// envoyClasses emits answers by their first digit and returns how many there are.
func (s sink) envoyClasses(d *prometheus.Desc, counts *byClass, name string) (all uint64) {
	for class := 1; class < len(counts); class++ {
		n := counts[class].Load()
		all += n
		s.counter(d, n, name, strconv.Itoa(class))
	}
	return all
}

// milliseconds emits h in the unit that Envoy has.
func (s sink) milliseconds(d *prometheus.Desc, h *histogram, name string) {
	if h == nil {
		return
	}
	count, sum, atMost := h.snapshot()
	scaled := make(map[float64]uint64, len(atMost))
	for _, bound := range bounds {
		scaled[bound.Seconds()*1000] = atMost[bound.Seconds()]
	}
	s <- prometheus.MustNewConstHistogram(d, count, sum*1000, scaled, valid([]string{name})...)
}
