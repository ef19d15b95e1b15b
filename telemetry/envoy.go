package telemetry

import (
	"maps"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// An Identity says whose gateway this is, in Ambassador's words.
type Identity struct {
	AmbassadorID, ClusterID string
	SingleNamespace         bool
}

// Identify says whose gateway this is; debug reports whether the program's log tells all.
func (m *Metrics) Identify(id Identity, debug func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.identity, m.debug = id, debug
}

// envoyNames serves, under the names by which dashboards of Ambassador ask, what the
// other collector has counted.
type envoyNames struct {
	m       *Metrics
	started time.Time
}

func envoy(name, help string, labels ...string) *family { return newFamily(name, help, labels...) }

const (
	byCluster   = "envoy_cluster_name"
	byPrefix    = "envoy_http_conn_manager_prefix"
	byClassCode = "envoy_response_code_class"
	byCode      = "envoy_response_code"
	byAddress   = "envoy_listener_address"
	byTCP       = "envoy_tcp_prefix"
)

var (
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
	serverState      = envoy("envoy_server_state", "0 while serving, 1 while draining, 2 before the first configuration.")
	serverVersion    = envoy("envoy_server_version", "The first 24 bits of the commit that this gateway was built from.")
	listenersActive  = envoy("envoy_listener_manager_total_listeners_active", "Addresses that are bound.")
	listenersAdded   = envoy("envoy_listener_manager_listener_added", "Addresses that were bound, ever.")
	listenersRemoved = envoy("envoy_listener_manager_listener_removed", "Addresses that were given up, ever.")
	listenersFailed  = envoy("envoy_listener_manager_listener_create_failure", "How often an address could not be had.")
	diagInfo         = envoy("ambassador_diagnostics_info", "Always 1; the labels say which gateway this is.", "version", "ambassador_id", "cluster_id", "single_namespace")
	logLevel         = envoy("ambassador_log_level", "1 while the program's log has that level.", "level")
)

// The steps of a change that Ambassador tells the time of.
const (
	StepAmbassador = "aconf"           // a World is made of objects
	StepCompile    = "ir"              // the World is made ready
	StepStart      = "econf"           // what is new starts
	StepAll        = "reconfiguration" // from a changed World to its first request
	StepDashboard  = "diagnostics"     // the dashboard was shown
)

var stepDescs = func() map[string]*family {
	all := map[string]*family{}
	for step, what := range map[string]string{
		StepAmbassador: "make one configuration of all objects", StepCompile: "make it ready to serve", StepStart: "start what is new in it",
		StepAll: "serve a changed configuration", StepDashboard: "show the dashboard",
	} {
		all[step] = envoy("ambassador_"+step+"_time_seconds", "How long it took last to "+what+".")
	}
	return all
}()

// Timers returns how long each step took last.
func (m *Metrics) Timers() map[string]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.steps)
}

// Took notes how long a step took.
func (m *Metrics) Took(step string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps[step] = d
}

// collect emits everything; states are of this moment.
func (c envoyNames) collect(out sink, states map[string]*UpstreamState) {
	m := c.m
	m.mu.Lock()
	upstreams, listeners, connections := maps.Clone(m.upstreams), maps.Clone(m.listeners), maps.Clone(m.connections)
	problems, expiries, steps, ports := maps.Clone(m.problems), m.expiries, maps.Clone(m.steps), maps.Clone(m.ports)
	id, debug := m.identity, m.debug
	m.mu.Unlock()
	for _, name := range sortedKeys(upstreams) {
		upstreams[name].collectEnvoy(name, states[name], out)
	}
	collectListeners(listeners, out)
	collectPorts(ports, out)
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
	out.gauge(diagInfo, 1, m.build.Version, id.AmbassadorID, id.ClusterID, strconv.FormatBool(id.SingleNamespace))
	out.gauge(logLevel, float64(side(debug != nil && debug())), "debug")
	for _, step := range sortedKeys(stepDescs) {
		out.gauge(stepDescs[step], steps[step].Seconds())
	}
	out.gauge(listenersActive, float64(m.bound.added.Value()-m.bound.removed.Value()))
	out.counter(listenersAdded, m.bound.added.Value())
	out.counter(listenersRemoved, m.bound.removed.Value())
	out.counter(listenersFailed, m.bound.failed.Value())
	c.process(out, connections, expiries)
}

// bound counts addresses.
type bound struct{ added, removed, failed Counter }

// Bound counts an address that was bound, given up or not to be had.
func (m *Metrics) Bound() { m.bound.added.Add() }

// Unbound counts an address that was given up.
func (m *Metrics) Unbound() { m.bound.removed.Add() }

// NotBound counts an address that could not be had.
func (m *Metrics) NotBound() { m.bound.failed.Add() }

// state is Envoy's number for how the process stands.
func (c envoyNames) state() float64 {
	switch {
	case c.m.leaves():
		return 1
	case c.m.generation.Load() == 0:
		return 2
	}
	return 0
}

// commitNumber is the beginning of a commit as a number, 0 for none.
func commitNumber(commit string) float64 {
	n, err := strconv.ParseUint(commit[:min(6, len(commit))], 16, 32)
	if err != nil {
		return 0
	}
	return float64(n)
}

// process tells of the process as a whole.
func (c envoyNames) process(out sink, connections map[connectionKey]*Gauge, expiries map[string]time.Time) {
	live, open := 1.0, int64(0)
	if c.m.leaves() {
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
	out.gauge(serverState, c.state())
	out.gauge(serverVersion, commitNumber(strings.TrimSpace(c.m.build.Commit)))
	out.gauge(serverThreads, float64(runtime.GOMAXPROCS(0)))
	if len(expiries) > 0 {
		first := time.Duration(1<<63 - 1)
		for _, at := range expiries {
			first = min(first, time.Until(at))
		}
		out.gauge(serverExpiry, float64(int(max(first, 0).Hours()/24)))
	}
}
