package gateway

import (
	"testing"

	"legate/config"
)

// sum is a metric's samples together, those only that have the given label's value.
func (g *gate) sum(name, label, value string) (sum float64) {
	g.t.Helper()
	f := g.scrape()[name]
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label && l.GetValue() == value {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// What dashboards read of an upstream is what has happened to it.
func TestEnvoyNamesOfUpstreams(t *testing.T) {
	up := service(t, func(p *peer) {
		for r, _ := p.request(); r != nil; r, _ = p.request() {
			switch r.URL.Path {
			case "/teapot":
				p.say("HTTP/1.1 418 Tea\r\nContent-Length: 0\r\n\r\n")
			case "/broken":
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				return
			case "/silent":
				p.wait()
				return
			case "/reset":
				p.reset()
				return
			default:
				p.say(plainOK)
			}
		}
	})
	g := open(t, everyone+mapping("x", "/x/", up, "stats_name: x", "timeout_ms: 200")+mapping("gone", "/gone/", "127.0.0.1:1", "stats_name: gone"))
	for _, target := range []string{"/x/", "/x/teapot", "/x/broken", "/x/silent", "/x/reset", "/gone/"} {
		c := g.dial()
		c.say(request("GET", target, ""))
		_ = c.hear("GET")
		c.Close()
		g.next()
	}
	g.get("/x/", "X-Forwarded-For: 192.0.2.1")
	for _, row := range []struct {
		metric, upstream string
		want             float64
	}{
		{"envoy_cluster_upstream_rq_total", "x", 6},
		{"envoy_cluster_upstream_rq_completed", "x", 6}, // our own 504 and 503 are among them
		{"envoy_cluster_internal_upstream_rq_completed", "x", 3},
		{"envoy_cluster_external_upstream_rq_completed", "x", 1},
		{"envoy_cluster_upstream_rq_time", "x", 4},
		{"envoy_cluster_upstream_rq_timeout", "x", 1},
		{"envoy_cluster_upstream_rq_tx_reset", "x", 1},
		{"envoy_cluster_upstream_rq_rx_reset", "x", 2},
		{"envoy_cluster_upstream_rq_active", "x", 0},
		{"envoy_cluster_upstream_cx_connect_fail", "x", 0},
		{"envoy_cluster_upstream_rq_total", "gone", 0},
		{"envoy_cluster_upstream_rq_completed", "gone", 1},
		{"envoy_cluster_upstream_cx_connect_fail", "gone", 1},
		{"envoy_cluster_membership_change", "gone", 1},
	} {
		if got := g.sum(row.metric, "envoy_cluster_name", row.upstream); got != row.want {
			t.Errorf("%s of %s is %v, want %v", row.metric, row.upstream, got, row.want)
		}
	}
	for code, want := range map[string]float64{"200": 3, "418": 1, "503": 1, "504": 1} {
		if got := g.sum("envoy_cluster_upstream_rq", "envoy_response_code", code); got != want && code != "503" || code == "503" && got != 2 { // and that of gone
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
	opened, closed := g.sum("envoy_cluster_upstream_cx_total", "envoy_cluster_name", "x"), g.sum("envoy_cluster_upstream_cx_destroy", "envoy_cluster_name", "x")
	if open := g.sum("envoy_cluster_upstream_cx_active", "envoy_cluster_name", "x"); opened < 2 || opened-closed != open {
		t.Errorf("%v connections were opened, %v ended, %v are open", opened, closed, open)
	}
	if n := g.sum("envoy_cluster_upstream_cx_tx_bytes_total", "envoy_cluster_name", "x"); n < 300 {
		t.Errorf("%v bytes to the upstream", n)
	}
}

// What dashboards read of Listeners is who came, and how.
func TestEnvoyNamesOfListeners(t *testing.T) {
	up, _ := seeing(t, plainOK)
	w := read(everyone + mapping("x", "/x/", up))
	w.Listeners = []config.Listener{plain(0)}
	w.Listeners[0].StatsPrefix = "edge"
	g := newGate(t)
	g.Apply(t.Context(), w)
	for _, target := range []string{"/x/", "/nowhere", "/ambassador/v0/check_alive"} {
		g.get(target)
	}
	c := g.dial() // stays
	c.say(request("GET", "/x/", ""))
	c.hear("GET")
	g.next()
	g.send("GET /x/ HTTP/1.0\r\nHost: example.com\r\n\r\n")
	g.send(request("GET", "/x/", "", "Connection: Upgrade", "Upgrade: websocket"))
	eventually(t, "the others have left", func() bool {
		return g.sum("envoy_http_downstream_cx_active", "envoy_http_conn_manager_prefix", "edge") == 1
	})
	for name, want := range map[string]float64{
		"envoy_http_downstream_rq_total": 6, "envoy_http_downstream_rq_completed": 6, "envoy_http_downstream_rq_active": 0,
		"envoy_http_downstream_rq_http1_total": 6, "envoy_http_downstream_rq_http2_total": 0, "envoy_http_rq_total": 5, "envoy_http_no_route": 1,
		"envoy_http_rq_direct_response": 1, "envoy_http_downstream_rq_ws_on_non_ws_route": 1, "envoy_http_downstream_rq_time": 6,
		"envoy_http_downstream_cx_total": 6, "envoy_http_downstream_cx_http1_total": 6, "envoy_http_downstream_cx_http1_active": 1,
		"envoy_http_downstream_cx_ssl_total": 0, "envoy_http_downstream_cx_destroy": 5, "envoy_http_downstream_cx_length_ms": 5,
	} {
		if got := g.sum(name, "envoy_http_conn_manager_prefix", "edge"); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := g.sum("envoy_listener_downstream_cx_total", "envoy_listener_address", "127.0.0.1_0"); got != 6 { // as the Listener was written
		t.Errorf("%v connections to the address", got)
	}
	if n := g.sum("envoy_http_downstream_cx_rx_bytes_total", "envoy_http_conn_manager_prefix", "edge"); n < 200 {
		t.Errorf("%v bytes from clients", n)
	}
	for class, want := range map[string]float64{"2": 3, "4": 3} {
		if got := g.sum("envoy_listener_http_downstream_rq_xx", "envoy_response_code_class", class); got != want {
			t.Errorf("%sxx: %v, want %v", class, got, want)
		}
	}
}
