package telemetry

import (
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"legate/decision"
)

// Dashboards of Ambassador find under Envoy's names what was counted under ours.
func TestEnvoyNames(t *testing.T) {
	m := busy()
	l := m.Listener("ingress_https")
	l.Observe(200, decision.None, 3*time.Millisecond)
	l.Observe(404, decision.NoRoute, time.Millisecond)
	l.Observe(301, decision.HTTPSRedirect, time.Millisecond)
	l.Observe(0, decision.ClientGone, time.Millisecond)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := "\n" + w.Body.String()
	for _, want := range []string{
		`envoy_cluster_upstream_rq_total{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_rq_completed{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_xx{envoy_cluster_name="orders.shop:8080",envoy_response_code_class="2"} 1`,
		`envoy_cluster_upstream_rq_retry{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="orders.shop:8080",le="2.5"} 1`,
		`envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="orders.shop:8080"} 3002`,
		`envoy_cluster_upstream_cx_active{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_membership_total{envoy_cluster_name="orders.shop:8080"} 3`,
		`envoy_cluster_membership_healthy{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name="orders.shop:8080"} 4`,
		`envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="ingress_https"} 4`,
		`envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix="ingress_https"} 3`,
		`envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="ingress_https",envoy_response_code_class="4"} 1`,
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="ingress_https"} 4`,
		`envoy_http_no_route{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_rq_redirect{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_server_live 0`,
		`envoy_server_total_connections 7`,
		`envoy_server_days_until_first_cert_expiring 0`,
		`envoy_cluster_manager_active_clusters 1`,
		`ambassador_diagnostics_errors 2`,
		`ambassador_diagnostics_notices 0`,
		`ambassador_diagnostics_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("not served: %s", want)
		}
	}
}

func TestAllocsListener(t *testing.T) {
	l := NewMetrics(Build{}).Listener("ingress_http")
	if n := testing.AllocsPerRun(100, func() { l.Observe(200, decision.None, time.Millisecond) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// thousand are metrics of a thousand upstreams, each with a route, all of them used.
func thousand() *Metrics {
	m := NewMetrics(Build{})
	states := map[string]*UpstreamState{}
	for i := range 1000 {
		name := fmt.Sprintf("upstream_%d", i)
		m.Route(name).Observe(200, decision.Proxy, decision.None, time.Millisecond)
		m.Upstream(name).Observe(200, time.Millisecond)
		states[name] = &UpstreamState{Healthy: 1, Overflows: map[string]uint64{}}
	}
	m.WatchUpstreams(func() map[string]*UpstreamState { return states })
	return m
}

// What a scrape is made of grows with the upstreams, and with nothing else: no upstream
// takes more than a fixed number of lines.
func TestScrapeIsBounded(t *testing.T) {
	w := httptest.NewRecorder()
	thousand().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if lines := strings.Count(w.Body.String(), "\n"); lines < 1000 || lines > 1000*80 {
		t.Errorf("%d lines for 1000 upstreams", lines)
	}
}

func BenchmarkScrapeOfThousand(b *testing.B) {
	h := thousand().Handler()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		_, _ = io.Copy(io.Discard, w.Body)
	}
}
