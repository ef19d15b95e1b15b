package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"legate/decision"
)

// Dashboards of Ambassador find under Envoy's names what was counted under ours.
func TestEnvoyNames(t *testing.T) {
	m := busy()
	l := m.Listener("ingress_https", "0.0.0.0:8443")
	l.Observe(200, decision.None, 3*time.Millisecond)
	l.Observe(404, decision.NoRoute, time.Millisecond)
	l.Observe(301, decision.HTTPSRedirect, time.Millisecond)
	l.Observe(0, decision.ClientGone, time.Millisecond)
	for range 5 {
		l.Begin(false)
	}
	l.Begin(true)
	more := m.Listener("ingress_https", "10.0.0.1:8444") // of the same name
	more.Begin(false)
	more.Observe(408, decision.HeadTimeout, time.Millisecond)
	u := m.Upstream("orders.shop:8080")
	u.Observe(503, 20*time.Millisecond, true)
	u.Failed(decision.ClientGone, false)
	u.Failed(decision.UpstreamResetAfterHead, true)
	u.Failed(decision.DialRefused, false)
	u.Stood(503)
	u.Stood(504)
	u.Recovered()
	p := m.Port("0.0.0.0:8443", func() (in, out int64) { return 1000, 2000 })
	p.Serves("ingress_https", true)
	p.OpenedTLS.Add()
	p.OpenedTLS.Add()
	p.Opened.Add()
	p.Secure.Add(2)
	p.HTTP2.Add()
	p.SpeakHTTP2.Add(1)
	p.Lasted(3 * time.Millisecond)
	p.TCP.Add()
	p.CarryTCP.Add(1)
	p.Carried(10, 20)
	p.HandshakeFailed.Add()
	p.NoName.Add()
	m.Bound()
	m.Took(StepCompile, 25*time.Millisecond)
	m.Identify(Identity{"edge", "c1", true}, func() bool { return true })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := "\n" + w.Body.String()
	for _, want := range []string{
		`envoy_cluster_upstream_rq_total{envoy_cluster_name="orders.shop:8080"} 4`,
		`envoy_cluster_upstream_rq_completed{envoy_cluster_name="orders.shop:8080"} 4`,
		`envoy_cluster_upstream_rq_xx{envoy_cluster_name="orders.shop:8080",envoy_response_code_class="5"} 3`,
		`envoy_cluster_upstream_rq{envoy_cluster_name="orders.shop:8080",envoy_response_code="503"} 2`,
		`envoy_cluster_upstream_rq{envoy_cluster_name="orders.shop:8080",envoy_response_code="200"} 1`,
		`envoy_cluster_external_upstream_rq{envoy_cluster_name="orders.shop:8080",envoy_response_code="503"} 1`,
		`envoy_cluster_external_upstream_rq_xx{envoy_cluster_name="orders.shop:8080",envoy_response_code_class="2"} 0`,
		`envoy_cluster_internal_upstream_rq_completed{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_timeout{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_per_try_timeout{envoy_cluster_name="orders.shop:8080"} 0`,
		`envoy_cluster_upstream_rq_cancelled{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_rx_reset{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_tx_reset{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_rq_retry_success{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_active{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_rq_pending_active{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_pending_total{envoy_cluster_name="orders.shop:8080"} 6`,
		`envoy_cluster_upstream_cx_total{envoy_cluster_name="orders.shop:8080"} 5`,
		`envoy_cluster_upstream_cx_http2_total{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_cx_http1_total{envoy_cluster_name="orders.shop:8080"} 3`,
		`envoy_cluster_upstream_cx_destroy{envoy_cluster_name="orders.shop:8080"} 3`,
		`envoy_cluster_upstream_cx_connect_fail{envoy_cluster_name="orders.shop:8080"} 4`,
		`envoy_cluster_upstream_cx_connect_timeout{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_cx_rx_bytes_total{envoy_cluster_name="orders.shop:8080"} 100`,
		`envoy_cluster_upstream_cx_tx_bytes_total{envoy_cluster_name="orders.shop:8080"} 200`,
		`envoy_cluster_upstream_cx_connect_ms_bucket{envoy_cluster_name="orders.shop:8080",le="1"} 2`,
		`envoy_cluster_upstream_cx_connect_ms_sum{envoy_cluster_name="orders.shop:8080"} 9`,
		`envoy_cluster_membership_change{envoy_cluster_name="orders.shop:8080"} 7`,
		`envoy_cluster_update_success{envoy_cluster_name="orders.shop:8080"} 8`,
		`envoy_cluster_update_failure{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_lb_healthy_panic{envoy_cluster_name="orders.shop:8080"} 9`,
		`envoy_cluster_health_check_attempt{envoy_cluster_name="orders.shop:8080"} 6`,
		`envoy_cluster_health_check_failure{envoy_cluster_name="orders.shop:8080"} 5`,
		`envoy_cluster_health_check_network_failure{envoy_cluster_name="orders.shop:8080"} 3`,
		`envoy_cluster_circuit_breakers_default_rq_open{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_circuit_breakers_high_cx_open{envoy_cluster_name="orders.shop:8080"} 0`,
		`envoy_cluster_upstream_rq_xx{envoy_cluster_name="orders.shop:8080",envoy_response_code_class="2"} 1`,
		`envoy_cluster_upstream_rq_retry{envoy_cluster_name="orders.shop:8080"} 1`,
		`envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="orders.shop:8080",le="2.5"} 1`,
		`envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="orders.shop:8080"} 22`,
		`envoy_cluster_upstream_cx_active{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_membership_total{envoy_cluster_name="orders.shop:8080"} 3`,
		`envoy_cluster_membership_healthy{envoy_cluster_name="orders.shop:8080"} 2`,
		`envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name="orders.shop:8080"} 4`,
		`envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="ingress_https"} 7`,
		`envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix="ingress_https"} 4`,
		`envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="ingress_https",envoy_response_code_class="4"} 2`,
		`envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="ingress_https"} 5`,
		`envoy_http_downstream_rq_active{envoy_http_conn_manager_prefix="ingress_https"} 2`,
		`envoy_http_downstream_rq_http1_total{envoy_http_conn_manager_prefix="ingress_https"} 6`,
		`envoy_http_downstream_rq_http2_total{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_downstream_rq_timeout{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_rq_total{envoy_http_conn_manager_prefix="ingress_https"} 6`,
		`envoy_listener_http_downstream_rq_xx{envoy_http_conn_manager_prefix="ingress_https",envoy_listener_address="10.0.0.1_8444",envoy_response_code_class="4"} 1`,
		`envoy_http_downstream_cx_total{envoy_http_conn_manager_prefix="ingress_https"} 2`,
		`envoy_http_downstream_cx_active{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_downstream_cx_ssl_total{envoy_http_conn_manager_prefix="ingress_https"} 2`,
		`envoy_http_downstream_cx_ssl_active{envoy_http_conn_manager_prefix="ingress_https"} 2`,
		`envoy_http_downstream_cx_http2_total{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_downstream_cx_http1_total{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_downstream_cx_rx_bytes_total{envoy_http_conn_manager_prefix="ingress_https"} 1000`,
		`envoy_http_downstream_cx_length_ms_count{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_listener_downstream_cx_total{envoy_listener_address="0.0.0.0_8443"} 3`,
		`envoy_listener_downstream_cx_active{envoy_listener_address="0.0.0.0_8443"} 2`,
		`envoy_listener_ssl_handshake{envoy_listener_address="0.0.0.0_8443"} 2`,
		`envoy_listener_ssl_connection_error{envoy_listener_address="0.0.0.0_8443"} 1`,
		`envoy_listener_no_filter_chain_match{envoy_listener_address="0.0.0.0_8443"} 1`,
		`envoy_tcp_downstream_cx_total{envoy_tcp_prefix="ingress_https"} 1`,
		`envoy_tcp_downstream_cx_tx_bytes_total{envoy_tcp_prefix="ingress_https"} 20`,
		`envoy_listener_manager_total_listeners_active 1`,
		`envoy_server_state 1`,
		`envoy_server_version 2748`,
		`ambassador_ir_time_seconds 0.025`,
		`ambassador_log_level{level="debug"} 1`,
		`envoy_http_no_route{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_http_rq_redirect{envoy_http_conn_manager_prefix="ingress_https"} 1`,
		`envoy_server_live 0`,
		`envoy_server_total_connections 7`,
		`envoy_server_days_until_first_cert_expiring 0`,
		`envoy_cluster_manager_active_clusters 1`,
		`ambassador_diagnostics_errors 2`,
		`ambassador_diagnostics_notices 0`,
		`ambassador_diagnostics_info{ambassador_id="edge",cluster_id="c1",single_namespace="true",version="1.2.3"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("not served: %s", want)
		}
	}
}

func TestAllocsListener(t *testing.T) {
	l := NewMetrics(Build{}).Listener("ingress_http", ":80")
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
		m.Upstream(name).Observe(200, time.Millisecond, true)
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
	if lines := strings.Count(w.Body.String(), "\n"); lines < 1000 || lines > 1000*120 {
		t.Errorf("%d lines for 1000 upstreams", lines)
	}
}

func BenchmarkScrapeOfThousand(b *testing.B) {
	h := thousand().Handler()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(unheard{}, httptest.NewRequest("GET", "/metrics", nil))
	}
}

// unheard is an answer that nobody reads.
type unheard struct{}

func (unheard) Header() http.Header         { return http.Header{} }
func (unheard) WriteHeader(int)             {}
func (unheard) Write(p []byte) (int, error) { return len(p), nil }
