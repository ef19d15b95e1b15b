package telemetry

import (
	"maps"
	"time"

	"legate/decision"
)

func describe(name, help string, labels ...string) *family {
	return newFamily("legate_"+name, help, labels...)
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
	verifiedDesc     = describe("tokens_verified_total", "Credentials that a Filter or a Mapping's jwt judged, by the reason why they were refused (none if they held).", "filter", "outcome")
	refreshedDesc    = describe("jwks_refresh_total", "Attempts at fetching a key set.", "issuer", "outcome")
	mintedDesc       = describe("tokens_minted_total", "Tokens that a Mint filter made.", "filter")
	signingAgeDesc   = describe("signing_key_age_seconds", "Age of the oldest key that signs minted tokens now.")
	cacheHitsDesc    = describe("token_cache_hits_total", "Credentials that were remembered from an earlier request.")
	cacheMissesDesc  = describe("token_cache_misses_total", "Credentials that had to be verified.")
	decisionsDesc    = describe("decisions_total", "Requests and TCP connections that a stage ended for a reason.", "stage", "reason")
	upRequestsDesc   = describe("upstream_requests_total", "Requests sent to an upstream, by class of the status it answered (none if it did not).", "upstream", "code_class")
	upDurationDesc   = describe("upstream_duration_seconds", "Time from sending a request to the head of the upstream's answer.", "upstream")
	upConnectionDesc = describe("upstream_connections", "Open connections to an upstream.", "upstream", "state")
	upEndpointsDesc  = describe("upstream_endpoints", "Endpoints of an upstream, by whether they pass their health checks; those that have none are healthy.", "upstream", "state")
	upOverflowsDesc  = describe("upstream_overflows_total", "How often a limit of an upstream's circuit_breakers was met.", "upstream", "limit")
	breakerDesc      = describe("breaker_state", "What an upstream's failure_breaker does with requests: 0 sends them, 1 sends a few to see how the upstream is, 2 sends none.", "upstream")
	breakerOpenDesc  = describe("breaker_opened_total", "How often an upstream's failure_breaker opened.", "upstream")
	upRetriesDesc    = describe("upstream_retries_total", "Requests sent to an upstream once more.", "upstream")
	grpcRequestsDesc = describe("grpc_requests_total", "Calls of gRPC by method and the status they ended with (none if with none).", "service", "method", "grpc_status")
	grpcMessagesDesc = describe("grpc_messages_total", "Messages of gRPC by method and direction.", "service", "method", "direction")
	grpcDurationDesc = describe("grpc_upstream_duration_seconds", "Time from sending a call of gRPC to the end of its answer.", "service", "method")
	generationDesc   = describe("config_generation", "Number of the configuration that serves.")
	problemsDesc     = describe("config_problems", "Problems in the configuration that serves, by what happens instead.", "effect")
	successDesc      = describe("config_last_success_timestamp_seconds", "When the configuration that serves was applied.")
	expiryDesc       = describe("certificate_expiry_seconds", "Time until the certificate of a Host expires.", "host")
	shownExpiryDesc  = describe("client_certificate_expiry_seconds", "Time until the certificate expires that a TLSContext shows to upstreams.", "tlscontext")
	svidExpiryDesc   = describe("svid_expiry_seconds", "Time until the SVID expires by which the mesh knows the gateway.", "spiffe_id")
	workloadDesc     = describe("workload_api_updates_total", "What the Workload API said (success), and how often it could not be followed or understood (failure).", "outcome")
	drainingDesc     = describe("draining", "1 while the gateway is shutting down.")
	phaseDesc        = describe("phase", "1 for where the gateway stands in its life.", "phase")
	kubernetesDesc   = describe("kubernetes_up", "1 while the API server answers whatever it is asked.")
	logDroppedDesc   = describe("access_log_dropped_total", "Lines of the access log that were lost.")
	logErrorsDesc    = describe("access_log_errors_total", "Writes of the access log that failed.")
)

// none is the label value where decision.None has no word.
const none = "none"

// A collector reads m's atomics when somebody scrapes.
type collector struct {
	m     *Metrics
	envoy envoyNames // what is looked at once serves both
}

// collect emits everything.
func (c collector) collect(out sink) {
	m := c.m
	out.gauge(inFlightDesc, float64(m.InFlight.Value()))
	out.gauge(generationDesc, float64(m.generation.Load()))
	out.gauge(successDesc, m.success.value())
	m.collectPhase(out)
	c.collectSources(out)
	if a := m.log.Load(); a != nil {
		out.counter(logDroppedDesc, a.Dropped())
		out.counter(logErrorsDesc, a.Errors())
	}
	c.collectTokens(out)
	c.collectExternal(out)
	m.reported.collect(out)
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
	problems, expiries, shown := maps.Clone(m.problems), m.expiries, m.shown
	methods := maps.Clone(m.grpc)
	states := m.states
	m.mu.Unlock()
	var now map[string]*UpstreamState
	if states != nil {
		now = states()
	}

	for _, name := range sortedKeys(routes) {
		routes[name].collect(name, out)
	}
	for _, name := range sortedKeys(upstreams) {
		upstreams[name].collect(name, out)
	}
	for _, name := range sortedKeys(now) {
		now[name].collect(name, out)
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
	for context, at := range shown {
		out.gauge(shownExpiryDesc, time.Until(at).Seconds(), context)
	}
	m.mesh.collect(out)
	m.limits.collect(out)
	c.envoy.collect(out, now)
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
	var answered tally
	for i := range u.asked {
		answered.add(&u.asked[i].codes)
	}
	answered.classes[0] = u.unanswered()
	for class, n := range answered.classes {
		if n > 0 {
			out.counter(upRequestsDesc, n, name, classes[class])
		}
	}
	out.histogram(upDurationDesc, merged(u.asked[0].latency.Load(), u.asked[1].latency.Load()), name)
	out.counter(upRetriesDesc, u.retries.Load(), name)
}

func (s *UpstreamState) collect(name string, out sink) {
	out.gauge(upConnectionDesc, float64(s.Active), name, "active")
	out.gauge(upConnectionDesc, float64(s.Idle), name, "idle")
	out.gauge(upEndpointsDesc, float64(s.Healthy), name, "healthy")
	out.gauge(upEndpointsDesc, float64(s.Unhealthy), name, "unhealthy")
	if s.Breaker.There {
		out.gauge(breakerDesc, float64(s.Breaker.State), name)
		out.counter(breakerOpenDesc, s.Breaker.Opened, name)
	}
	for limit, n := range s.Overflows {
		out.counter(upOverflowsDesc, n, name, limit)
	}
}

// collectSources emits how things stand with where objects come from.
func (c collector) collectSources(out sink) {
	c.m.mu.Lock()
	up := c.m.kubernetes
	c.m.mu.Unlock()
	switch {
	case up == nil: // there is no API server
	case up():
		out.gauge(kubernetesDesc, 1)
	default:
		out.gauge(kubernetesDesc, 0)
	}
}
