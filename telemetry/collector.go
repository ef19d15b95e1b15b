package telemetry

import (
	"maps"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"legate/decision"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("legate_"+name, help, labels, nil)
}

// What the collector serves. Labels come from configuration, never from a request.
var (
	requestsDesc     = describe("requests_total", "Requests by route, class of the status sent, and reason why no upstream answered them (none if one did).", "route", "code_class", "reason")
	durationDesc     = describe("request_duration_seconds", "Time from a request's first byte to its answer's last.", "route")
	upgradesDesc     = describe("upgrades_total", "Requests whose connection changed to another protocol, such as WebSocket.", "route")
	tunnelsDesc      = describe("upgrades_active", "Connections that speak another protocol now.", "route")
	inFlightDesc     = describe("requests_in_flight", "Requests and TCP connections being served.")
	connectionsDesc  = describe("connections", "Open connections of clients.", "listener", "protocol")
	proxiedDesc      = describe("proxy_protocol_total", "Connections to a listener with PROXY in its stack, by what their header was.", "listener", "outcome")
	abusedDesc       = describe("h2_abuse_total", "HTTP/2 connections and streams that ended because the client made us work for nothing.", "kind")
	scriptsDesc      = describe("script_errors_total", "Hooks of lua_scripts that ended with an error.", "hook")
	shadowedDesc     = describe("shadow_requests_total", "Copies of requests made for a Mapping with shadow: true, by what became of them.", "route", "outcome")
	decisionsDesc    = describe("decisions_total", "Requests and TCP connections that a stage ended for a reason.", "stage", "reason")
	upRequestsDesc   = describe("upstream_requests_total", "Requests sent to an upstream, by class of the status it answered (none if it did not).", "upstream", "code_class")
	upDurationDesc   = describe("upstream_duration_seconds", "Time from sending a request to the head of the upstream's answer.", "upstream")
	upConnectionDesc = describe("upstream_connections", "Open connections to an upstream.", "upstream", "state")
	upEndpointsDesc  = describe("upstream_endpoints", "Endpoints of an upstream, by whether they pass their health checks; those that have none are healthy.", "upstream", "state")
	upOverflowsDesc  = describe("upstream_overflows_total", "How often a limit of an upstream's circuit_breakers was met.", "upstream", "limit")
	upRetriesDesc    = describe("upstream_retries_total", "Requests sent to an upstream once more.", "upstream")
	grpcRequestsDesc = describe("grpc_requests_total", "Calls of gRPC by method and the status they ended with (none if with none).", "service", "method", "grpc_status")
	grpcMessagesDesc = describe("grpc_messages_total", "Messages of gRPC by method and direction.", "service", "method", "direction")
	grpcDurationDesc = describe("grpc_upstream_duration_seconds", "Time from sending a call of gRPC to the end of its answer.", "service", "method")
	generationDesc   = describe("config_generation", "Number of the configuration that serves.")
	problemsDesc     = describe("config_problems", "Problems in the configuration that serves, by what happens instead.", "effect")
	successDesc      = describe("config_last_success_timestamp_seconds", "When the configuration that serves was applied.")
	expiryDesc       = describe("certificate_expiry_seconds", "Time until the certificate of a Host expires.", "host")
	drainingDesc     = describe("draining", "1 while the gateway is shutting down.")
	logDroppedDesc   = describe("access_log_dropped_total", "Lines of the access log that were lost.")
	logErrorsDesc    = describe("access_log_errors_total", "Writes of the access log that failed.")
)

// none is the label value where decision.None has no word.
const none = "none"

// A collector reads m's atomics when somebody scrapes.
type collector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		requestsDesc, durationDesc, upgradesDesc, tunnelsDesc, inFlightDesc, connectionsDesc, proxiedDesc, abusedDesc, scriptsDesc, shadowedDesc, decisionsDesc, upRequestsDesc, upDurationDesc,
		upConnectionDesc, upEndpointsDesc, upOverflowsDesc, upRetriesDesc, grpcRequestsDesc, grpcMessagesDesc, grpcDurationDesc,
		generationDesc, problemsDesc, successDesc, expiryDesc, drainingDesc,
		logDroppedDesc, logErrorsDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := c.m
	out := sink(ch)
	out.gauge(inFlightDesc, float64(m.InFlight.Value()))
	out.gauge(generationDesc, float64(m.generation.Load()))
	out.gauge(successDesc, m.success.value())
	draining := 0.0
	if m.draining.Load() {
		draining = 1
	}
	out.gauge(drainingDesc, draining)
	if a := m.log.Load(); a != nil {
		out.counter(logDroppedDesc, a.Dropped())
		out.counter(logErrorsDesc, a.Errors())
	}
	for s := range m.decisions {
		for r := range m.decisions[s] {
			if n := m.decisions[s][r].Load(); n > 0 {
				out.counter(decisionsDesc, n, decision.Stage(s).String(), decision.Reason(r).String())
			}
		}
	}

	// Cloned, so that nobody who compiles routes waits for a slow scrape.
	m.mu.Lock()
	routes, upstreams, connections := maps.Clone(m.routes), maps.Clone(m.upstreams), maps.Clone(m.connections)
	proxied := maps.Clone(m.proxied)
	abused := maps.Clone(m.abused)
	shadowed := maps.Clone(m.shadowed)
	scripts := maps.Clone(m.scripts)
	problems, expiries := maps.Clone(m.problems), m.expiries
	methods := maps.Clone(m.grpc)
	count := m.count
	states := m.states
	m.mu.Unlock()
	var pools map[string]ConnCount
	if count != nil {
		pools = count()
	}

	for name, r := range routes {
		r.collect(name, out)
	}
	for name, u := range upstreams {
		u.collect(name, out)
		out.gauge(upConnectionDesc, float64(pools[name].Active), name, "active")
		out.gauge(upConnectionDesc, float64(pools[name].Idle), name, "idle")
	}
	if states != nil {
		for name, u := range states() {
			u.collect(name, out)
		}
	}
	for key, g := range connections {
		out.gauge(connectionsDesc, float64(g.Value()), key.listener, key.protocol)
	}
	for hook, c := range scripts {
		out.counter(scriptsDesc, c.Value(), hook)
	}
	for key, c := range shadowed {
		out.counter(shadowedDesc, c.Value(), key.route, key.outcome)
	}
	for key, c := range proxied {
		out.counter(proxiedDesc, c.Value(), key.listener, key.outcome)
	}
	for kind, c := range abused {
		out.counter(abusedDesc, c.Value(), kind)
	}
	for name, c := range methods {
		c.collect(name, out)
	}
	for effect, n := range problems {
		out.gauge(problemsDesc, float64(n), effect)
	}
	for host, at := range expiries {
		out.gauge(expiryDesc, time.Until(at).Seconds(), host)
	}
}

func (r *RouteMetrics) collect(name string, out sink) {
	out.classes(requestsDesc, &r.served, name, none)
	if refused := r.refused.Load(); refused != nil {
		for reason := range refused {
			out.classes(requestsDesc, &refused[reason], name, decision.Reason(reason).String())
		}
	}
	out.histogram(durationDesc, r.latency.Load(), name)
	if r.upgradable.Load() {
		out.counter(upgradesDesc, r.upgraded.Load(), name)
		out.gauge(tunnelsDesc, float64(r.tunnels.Value()), name)
	}
}

func (u *UpstreamMetrics) collect(name string, out sink) {
	for class := range u.answers {
		if n := u.answers[class].Load(); n > 0 {
			out.counter(upRequestsDesc, n, name, classes[class])
		}
	}
	out.histogram(upDurationDesc, u.latency.Load(), name)
	out.counter(upRetriesDesc, u.retries.Load(), name)
}

func (u *UpstreamState) collect(name string, out sink) {
	out.gauge(upEndpointsDesc, float64(u.Healthy), name, "healthy")
	out.gauge(upEndpointsDesc, float64(u.Unhealthy), name, "unhealthy")
	for limit, n := range u.Overflows {
		out.counter(upOverflowsDesc, n, name, limit)
	}
}

// A sink takes one scrape's numbers.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, valid(labels)...)
}

func (s sink) counter(d *prometheus.Desc, n uint64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), valid(labels)...)
}

// classes emits what was counted for one route and reason.
func (s sink) classes(d *prometheus.Desc, counts *byClass, route, reason string) {
	for class := range counts {
		if n := counts[class].Load(); n > 0 {
			s.counter(d, n, route, classes[class], reason)
		}
	}
}

func (s sink) histogram(d *prometheus.Desc, h *histogram, labels ...string) {
	if h != nil {
		count, sum, atMost := h.snapshot()
		s <- prometheus.MustNewConstHistogram(d, count, sum, atMost, valid(labels)...)
	}
}

// valid makes labels UTF-8: client_golang panics at anything else, and names come
// from objects that anybody may write.
func valid(labels []string) []string {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\ufffd")
	}
	return labels
}
