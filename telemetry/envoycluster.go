package telemetry

import (
	"strconv"

	"legate/decision"
)

var (
	clusterRequests  = envoy("envoy_cluster_upstream_rq_total", "Requests that were sent to an upstream and ended.", byCluster)
	clusterCompleted = envoy("envoy_cluster_upstream_rq_completed", "Requests that an upstream answered, or that were answered in its place.", byCluster)
	clusterClasses   = envoy("envoy_cluster_upstream_rq_xx", "Such answers by the first digit of their status.", byCluster, byClassCode)
	clusterCodes     = envoy("envoy_cluster_upstream_rq", "Such answers by their status.", byCluster, byCode)
	clusterRetries   = envoy("envoy_cluster_upstream_rq_retry", "Requests sent to an upstream once more.", byCluster)
	clusterRecovered = envoy("envoy_cluster_upstream_rq_retry_success", "Requests that a later try helped.", byCluster)
	clusterTime      = envoy("envoy_cluster_upstream_rq_time", "Milliseconds from sending a request to the head of the answer.", byCluster)
	clusterActive    = envoy("envoy_cluster_upstream_cx_active", "Open connections to an upstream.", byCluster)
	clusterHealthy   = envoy("envoy_cluster_membership_healthy", "Endpoints of an upstream that pass their health checks.", byCluster)
	clusterMembers   = envoy("envoy_cluster_membership_total", "Endpoints of an upstream.", byCluster)
	clusterCxFull    = envoy("envoy_cluster_upstream_cx_overflow", "How often max_connections was met.", byCluster)
	clusterPending   = envoy("envoy_cluster_upstream_rq_pending_overflow", "How often max_pending_requests or max_requests was met.", byCluster)
	clusterRetryFull = envoy("envoy_cluster_upstream_rq_retry_overflow", "How often max_retries was met.", byCluster)

	clusterRqActive    = envoy("envoy_cluster_upstream_rq_active", "Requests that an upstream has to do.", byCluster)
	clusterRqPending   = envoy("envoy_cluster_upstream_rq_pending_active", "Requests that wait for a connection.", byCluster)
	clusterRqWaited    = envoy("envoy_cluster_upstream_rq_pending_total", "Requests that found no connection at rest.", byCluster)
	clusterTimeout     = envoy("envoy_cluster_upstream_rq_timeout", "Requests that timeout_ms ended.", byCluster)
	clusterTryTimeout  = envoy("envoy_cluster_upstream_rq_per_try_timeout", "Tries that per_try_timeout ended.", byCluster)
	clusterResetByThem = envoy("envoy_cluster_upstream_rq_rx_reset", "Requests that an upstream broke off.", byCluster)
	clusterResetByUs   = envoy("envoy_cluster_upstream_rq_tx_reset", "Requests that were broken off towards an upstream.", byCluster)
	clusterCancelled   = envoy("envoy_cluster_upstream_rq_cancelled", "Requests whose client left before there was an answer.", byCluster)

	clusterCxTotal   = envoy("envoy_cluster_upstream_cx_total", "Connections to an upstream, ever.", byCluster)
	clusterCxHTTP1   = envoy("envoy_cluster_upstream_cx_http1_total", "Of those, the ones that speak HTTP/1.1.", byCluster)
	clusterCxHTTP2   = envoy("envoy_cluster_upstream_cx_http2_total", "Of those, the ones that speak HTTP/2.", byCluster)
	clusterCxDestroy = envoy("envoy_cluster_upstream_cx_destroy", "Connections that have ended.", byCluster)
	clusterCxFail    = envoy("envoy_cluster_upstream_cx_connect_fail", "Connections that did not come about.", byCluster)
	clusterCxTimeout = envoy("envoy_cluster_upstream_cx_connect_timeout", "Of those, the ones for lack of time.", byCluster)
	clusterCxIn      = envoy("envoy_cluster_upstream_cx_rx_bytes_total", "Bytes from an upstream.", byCluster)
	clusterCxOut     = envoy("envoy_cluster_upstream_cx_tx_bytes_total", "Bytes to an upstream.", byCluster)
	clusterCxConnect = envoy("envoy_cluster_upstream_cx_connect_ms", "Milliseconds until a connection came about.", byCluster)
	clusterCxLength  = envoy("envoy_cluster_upstream_cx_length_ms", "Milliseconds that connections lasted.", byCluster)
	clusterChange    = envoy("envoy_cluster_membership_change", "How often the set of endpoints changed.", byCluster)
	clusterPanic     = envoy("envoy_cluster_lb_healthy_panic", "Requests sent to any endpoint, as more than half fail their health checks.", byCluster)
	clusterAttempt   = envoy("envoy_cluster_update_attempt", "Looks for endpoints.", byCluster)
	clusterUpdate    = envoy("envoy_cluster_update_success", "Looks for endpoints that found some.", byCluster)
	clusterNoUpdate  = envoy("envoy_cluster_update_failure", "Looks for endpoints that found none.", byCluster)
	clusterChecks    = envoy("envoy_cluster_health_check_attempt", "Health checks.", byCluster)
	clusterChecked   = envoy("envoy_cluster_health_check_success", "Health checks that were passed.", byCluster)
	clusterUnchecked = envoy("envoy_cluster_health_check_failure", "Health checks that were not.", byCluster)
	clusterUnreached = envoy("envoy_cluster_health_check_network_failure", "Of those, the ones without an answer.", byCluster)
	clusterWell      = envoy("envoy_cluster_health_check_healthy", "Endpoints that pass their health checks, if there are any.", byCluster)
)

// originDescs are what is told of requests from inside, and of those from outside.
var originDescs = [2]struct{ codes, classes, completed *family }{originOf("internal", "inside"), originOf("external", "outside")}

func originOf(word, from string) (d struct{ codes, classes, completed *family }) {
	name := "envoy_cluster_" + word + "_upstream_rq"
	d.codes = envoy(name, "Answers of an upstream to requests from "+from+" by their status.", byCluster, byCode)
	d.classes = envoy(name+"_xx", "Answers of an upstream to requests from "+from+" by the first digit of their status.", byCluster, byClassCode)
	d.completed = envoy(name+"_completed", "Answers of an upstream to requests from "+from+".", byCluster)
	return d
}

// breakerDescs are whether limits let nothing more through, by priority and limit.
var breakerDescs = func() map[string]*family {
	all := map[string]*family{}
	for _, priority := range []string{"default", "high"} {
		for limit, short := range map[string]string{"max_connections": "cx", "max_pending_requests": "rq_pending", "max_requests": "rq", "max_retries": "rq_retry"} {
			all[priority+" "+limit] = envoy("envoy_cluster_circuit_breakers_"+priority+"_"+short+"_open",
				"1 where "+limit+" of priority "+priority+" lets nothing more through.", byCluster)
		}
	}
	return all
}()

// A tally sums answers by status and by its first digit.
type tally struct {
	codes   map[int]uint64
	classes [len(classes)]uint64
	all     uint64
}

func (t *tally) add(c *statusCodes) {
	c.each(func(status int, n uint64) {
		if t.codes == nil {
			t.codes = map[int]uint64{}
		}
		t.codes[status] += n
		t.classes[classOf(status)] += n
		t.all += n
	})
}

// collectEnvoy tells of an upstream what dashboards ask first, and the rest once it has
// been used: most of many upstreams rest.
func (u *UpstreamMetrics) collectEnvoy(name string, state *UpstreamState, out sink) {
	var answered, charged tally
	for i := range u.asked {
		answered.add(&u.asked[i].codes)
		charged.add(&u.asked[i].codes)
	}
	charged.add(&u.stood)
	unanswered := u.unanswered()
	out.counter(clusterRequests, answered.all+unanswered, name)
	out.counter(clusterCompleted, charged.all, name)
	out.classTally(clusterClasses, &charged, name)
	out.counter(clusterRetries, u.retries.Load(), name)
	if state != nil {
		out.gauge(clusterActive, float64(state.Active+state.Idle), name)
		out.gauge(clusterHealthy, float64(state.Healthy), name)
		out.gauge(clusterMembers, float64(state.Healthy+state.Unhealthy), name)
		out.counter(clusterCxFull, state.Overflows["max_connections"], name)
		out.counter(clusterPending, state.Overflows["max_pending_requests"]+state.Overflows["max_requests"], name)
		out.counter(clusterRetryFull, state.Overflows["max_retries"], name)
	}
	if charged.all+unanswered == 0 {
		return
	}
	out.codeTally(clusterCodes, &charged, name)
	out.milliseconds(clusterTime, merged(u.asked[0].latency.Load(), u.asked[1].latency.Load()), name)
	u.collectOrigins(name, out)
	u.collectFailures(name, out)
	if state != nil {
		state.collectEnvoy(name, out)
	}
}

func (u *UpstreamMetrics) collectOrigins(name string, out sink) {
	for i := range u.asked {
		var t tally
		d := &originDescs[i]
		t.add(&u.asked[i].codes)
		out.codeTally(d.codes, &t, name)
		out.classTally(d.classes, &t, name)
		out.counter(d.completed, t.all, name)
	}
}

func (u *UpstreamMetrics) collectFailures(name string, out sink) {
	timeouts := u.failed(0, decision.UpstreamTimeout) + u.failed(1, decision.UpstreamTimeout)
	tries := u.failed(0, decision.UpstreamTryTimeout)
	left := u.failed(0, decision.ClientGone)
	theirs := []decision.Reason{decision.UpstreamResetBeforeHead, decision.UpstreamRemoteReset, decision.UpstreamRefusedStream, decision.UpstreamResetAfterHead}
	ours := []decision.Reason{
		decision.UpstreamIdle, decision.StreamIdle, decision.BodyTooSlow, decision.BadFraming, decision.UpstreamBadAnswer,
		decision.UpstreamHeaderTooLarge, decision.AnswerTooLarge, decision.ClientGone,
	}
	out.counter(clusterTimeout, timeouts, name)
	out.counter(clusterTryTimeout, tries, name)
	out.counter(clusterCancelled, left, name)
	out.counter(clusterResetByThem, u.failed(0, theirs...)+u.failed(1, theirs...), name)
	out.counter(clusterResetByUs, timeouts+tries+u.failed(0, ours...)+u.failed(1, ours...), name)
	out.counter(clusterRecovered, u.recovered.Load(), name)
}

func (s *UpstreamState) collectEnvoy(name string, out sink) {
	out.gauge(clusterRqActive, float64(s.Requests), name)
	out.gauge(clusterRqPending, float64(s.Waiting), name)
	out.counter(clusterRqWaited, s.Waited, name)
	out.counter(clusterCxTotal, s.Opened, name)
	out.counter(clusterCxHTTP1, s.Opened-s.OpenedHTTP2, name)
	out.counter(clusterCxHTTP2, s.OpenedHTTP2, name)
	out.counter(clusterCxDestroy, s.Closed, name)
	out.counter(clusterCxFail, s.ConnectFailed, name)
	out.counter(clusterCxTimeout, s.ConnectTimeout, name)
	out.counter(clusterCxIn, uint64(max(s.BytesIn, 0)), name)
	out.counter(clusterCxOut, uint64(max(s.BytesOut, 0)), name)
	out.timing(clusterCxConnect, &s.Connecting, name)
	out.timing(clusterCxLength, &s.Lasting, name)
	out.counter(clusterChange, s.Changes, name)
	out.counter(clusterPanic, s.Panics, name)
	out.counter(clusterAttempt, s.Updates+s.MissedUpdates, name)
	out.counter(clusterUpdate, s.Updates, name)
	out.counter(clusterNoUpdate, s.MissedUpdates, name)
	if failed := s.ChecksFailed + s.ChecksUnreachable; s.ChecksPassed+failed > 0 {
		out.counter(clusterChecks, s.ChecksPassed+failed, name)
		out.counter(clusterChecked, s.ChecksPassed, name)
		out.counter(clusterUnchecked, failed, name)
		out.counter(clusterUnreached, s.ChecksUnreachable, name)
		out.gauge(clusterWell, float64(s.Healthy), name)
	}
	for limit, open := range s.Open {
		if d := breakerDescs[limit]; d != nil {
			out.gauge(d, float64(side(open)), name)
		}
	}
}

func (s sink) classTally(d *family, t *tally, name string) {
	for class := 1; class < len(t.classes); class++ {
		s.counter(d, t.classes[class], name, strconv.Itoa(class))
	}
}

func (s sink) codeTally(d *family, t *tally, name string) {
	for status, n := range t.codes {
		s.counter(d, n, name, strconv.Itoa(status))
	}
}
