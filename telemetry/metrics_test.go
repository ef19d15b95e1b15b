package telemetry

import (
	"cmp"
	"fmt"
	"maps"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"legate/decision"
)

// busy returns metrics in which every metric has a value.
func busy() *Metrics {
	m := NewMetrics(Build{Version: "1.2.3", Commit: "abc"})
	r := m.Route("shop/orders")
	r.Observe(200, decision.Proxy, decision.None, 3*time.Millisecond)
	r.Observe(201, decision.Proxy, decision.None, 700*time.Microsecond)
	r.Observe(504, decision.Proxy, decision.UpstreamTimeout, 3*time.Second)
	r.Observe(0, decision.Proxy, decision.ClientGone, time.Minute)
	u := m.Upstream("orders.shop:8080")
	u.Observe(200, 2*time.Millisecond, false)
	u.Failed(decision.UpstreamTimeout, false)
	u.Retry()
	m.WatchUpstreams(func() map[string]*UpstreamState {
		return map[string]*UpstreamState{"orders.shop:8080": {ConnCount: ConnCount{Active: 1, Idle: 1}, Healthy: 2, Unhealthy: 1, Overflows: map[string]uint64{"max_requests": 4},
			Requests: 2, Waiting: 1, Waited: 6, Opened: 5, OpenedHTTP2: 2, Closed: 3, ConnectFailed: 4, ConnectTimeout: 1, BytesIn: 100, BytesOut: 200,
			Connecting: Timing{Bounds: []time.Duration{time.Millisecond, time.Second}, AtMost: []uint64{2, 3}, Count: 3, Sum: 9 * time.Millisecond},
			Changes:    7, Updates: 8, MissedUpdates: 1, Panics: 9, ChecksPassed: 1, ChecksFailed: 2, ChecksUnreachable: 3,
			Open: map[string]bool{"default max_requests": true, "high max_connections": false}}}
	})
	m.InFlight.Add(5)
	m.InFlight.Add(-2)
	m.Connections("web.shop", "h1").Add(7)
	m.Applied(4, time.Unix(1700000000, 5e8), 20*time.Millisecond, map[string]int{"notice": 3})
	m.Applied(5, time.Unix(1700000001, 5e8), 30*time.Millisecond, map[string]int{"object_dropped": 2})
	m.Certificates(map[string]time.Time{"shop.example.com": time.Now().Add(time.Hour)})
	m.ClientCertificates(map[string]time.Time{"mesh.shop": time.Now().Add(time.Hour)})
	m.Enter(Leaving)
	return m
}

// scraped reads what a scrape says.
func scraped(m *Metrics) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(w.Body)
		for _, f := range families {
			slices.SortFunc(f.Metric, func(a, b *dto.Metric) int { return cmp.Compare(fmt.Sprint(a.Label), fmt.Sprint(b.Label)) })
		}
		return slices.SortedFunc(maps.Values(families), func(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }), err
	})
}

func TestMetricsReadWell(t *testing.T) {
	m := busy()
	a := NewAccessLog(shortWriter{}, AccessLogOptions{Interval: time.Hour})
	a.Append(served())
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Watch(a)
	problems, err := testutil.GatherAndLint(scraped(m))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "envoy_") || strings.HasPrefix(p.Metric, "ambassador_") {
			continue // these names are not ours to choose
		}
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	const want = `
# HELP legate_access_log_dropped_total Lines of the access log that were lost.
# TYPE legate_access_log_dropped_total counter
legate_access_log_dropped_total 1
# HELP legate_access_log_errors_total Writes of the access log that failed.
# TYPE legate_access_log_errors_total counter
legate_access_log_errors_total 1
# HELP legate_config_generation Number of the configuration that serves.
# TYPE legate_config_generation gauge
legate_config_generation 5
# HELP legate_config_last_success_timestamp_seconds When the configuration that serves was applied.
# TYPE legate_config_last_success_timestamp_seconds gauge
legate_config_last_success_timestamp_seconds 1.7000000015e+09
# HELP legate_config_problems Problems in the configuration that serves, by what happens instead.
# TYPE legate_config_problems gauge
legate_config_problems{effect="notice"} 0
legate_config_problems{effect="object_dropped"} 2
# HELP legate_connections Open connections of clients.
# TYPE legate_connections gauge
legate_connections{listener="web.shop",protocol="h1"} 7
# HELP legate_decisions_total Requests and TCP connections that a stage ended for a reason.
# TYPE legate_decisions_total counter
legate_decisions_total{reason="client_gone",stage="proxy"} 1
legate_decisions_total{reason="upstream_timeout",stage="proxy"} 1
# HELP legate_draining 1 while the gateway is shutting down.
# TYPE legate_draining gauge
legate_draining 1
# HELP legate_request_duration_seconds Time from a request's first byte to its answer's last.
# TYPE legate_request_duration_seconds histogram
legate_request_duration_seconds_bucket{route="shop/orders",le="0.0005"} 0
legate_request_duration_seconds_bucket{route="shop/orders",le="0.001"} 1
legate_request_duration_seconds_bucket{route="shop/orders",le="0.0025"} 1
legate_request_duration_seconds_bucket{route="shop/orders",le="0.005"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.01"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.025"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.05"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.1"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.25"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="0.5"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="1"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="2.5"} 2
legate_request_duration_seconds_bucket{route="shop/orders",le="5"} 3
legate_request_duration_seconds_bucket{route="shop/orders",le="10"} 3
legate_request_duration_seconds_bucket{route="shop/orders",le="30"} 3
legate_request_duration_seconds_bucket{route="shop/orders",le="+Inf"} 4
legate_request_duration_seconds_sum{route="shop/orders"} 63.0037
legate_request_duration_seconds_count{route="shop/orders"} 4
# HELP legate_requests_in_flight Requests and TCP connections being served.
# TYPE legate_requests_in_flight gauge
legate_requests_in_flight 3
# HELP legate_requests_total Requests by route, class of the status sent, and reason why no upstream answered them (none if one did).
# TYPE legate_requests_total counter
legate_requests_total{code_class="2xx",reason="none",route="shop/orders"} 2
legate_requests_total{code_class="5xx",reason="upstream_timeout",route="shop/orders"} 1
legate_requests_total{code_class="none",reason="client_gone",route="shop/orders"} 1
# HELP legate_upstream_overflows_total How often a limit of an upstream's circuit_breakers was met.
# TYPE legate_upstream_overflows_total counter
legate_upstream_overflows_total{limit="max_requests",upstream="orders.shop:8080"} 4
# HELP legate_upstream_endpoints Endpoints of an upstream, by whether they pass their health checks; those that have none are healthy.
# TYPE legate_upstream_endpoints gauge
legate_upstream_endpoints{state="healthy",upstream="orders.shop:8080"} 2
legate_upstream_endpoints{state="unhealthy",upstream="orders.shop:8080"} 1
# HELP legate_upstream_connections Open connections to an upstream.
# TYPE legate_upstream_connections gauge
legate_upstream_connections{state="active",upstream="orders.shop:8080"} 1
legate_upstream_connections{state="idle",upstream="orders.shop:8080"} 1
# HELP legate_upstream_requests_total Requests sent to an upstream, by class of the status it answered (none if it did not).
# TYPE legate_upstream_requests_total counter
legate_upstream_requests_total{code_class="2xx",upstream="orders.shop:8080"} 1
legate_upstream_requests_total{code_class="none",upstream="orders.shop:8080"} 1
# HELP legate_upstream_retries_total Requests sent to an upstream once more.
# TYPE legate_upstream_retries_total counter
legate_upstream_retries_total{upstream="orders.shop:8080"} 1
`
	names := []string{}
	for l := range strings.Lines(want) {
		if f := strings.Fields(l); len(f) > 2 && f[1] == "TYPE" {
			names = append(names, f[2])
		}
	}
	if err := testutil.GatherAndCompare(scraped(m), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestScrape(t *testing.T) {
	w := httptest.NewRecorder()
	busy().Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`legate_build_info{commit="abc",go_version="` + runtime.Version() + `",version="1.2.3"} 1`,
		"legate_config_apply_seconds_count 2", "go_goroutines ", "process_open_fds ",
		`legate_upstream_duration_seconds_count{upstream="orders.shop:8080"} 1`,
		`legate_certificate_expiry_seconds{host="shop.example.com"} 35`,
		`legate_client_certificate_expiry_seconds{tlscontext="mesh.shop"} 35`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestKeepDropsWhatLeft(t *testing.T) {
	m := NewMetrics(Build{})
	m.Route("stays").Observe(200, decision.Proxy, decision.None, 0)
	gone := m.Route("goes")
	gone.Observe(200, decision.Proxy, decision.None, 0)
	m.Upstream("stays").Observe(200, 0, false)
	m.Upstream("goes").Observe(200, 0, false)
	m.Keep([]string{"stays", "new"}, []string{"stays"})
	gone.Observe(200, decision.Proxy, decision.None, 0)
	m.Route("stays").Observe(200, decision.Proxy, decision.None, 0)
	const want = `
# HELP legate_requests_total Requests by route, class of the status sent, and reason why no upstream answered them (none if one did).
# TYPE legate_requests_total counter
legate_requests_total{code_class="2xx",reason="none",route="stays"} 2
# HELP legate_upstream_requests_total Requests sent to an upstream, by class of the status it answered (none if it did not).
# TYPE legate_upstream_requests_total counter
legate_upstream_requests_total{code_class="2xx",upstream="stays"} 1
`
	if err := testutil.GatherAndCompare(scraped(m), strings.NewReader(want), "legate_requests_total", "legate_upstream_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestConcurrentObservationsAddUp(t *testing.T) {
	m := NewMetrics(Build{})
	const workers, each = 8, 1000
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			r, u := m.Route("r"), m.Upstream("u")
			for range each {
				m.InFlight.Add(1)
				r.Observe(200, decision.Proxy, decision.None, time.Millisecond)
				r.Observe(404, decision.Match, decision.NoRoute, time.Millisecond)
				u.Observe(200, time.Millisecond, false)
				m.InFlight.Add(-1)
			}
		})
	}
	all.Go(func() {
		for range 20 {
			if _, err := scraped(m).Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	r, u := m.Route("r"), m.Upstream("u")
	count, sum, _ := r.latency.Load().snapshot()
	if count != 2*workers*each || int(sum+.5) != 2*workers*each/1000 {
		t.Errorf("count %d, sum %v: want %d and %d", count, sum, 2*workers*each, 2*workers*each/1000)
	}
	for what, got := range map[string]uint64{
		"served":    r.served[2].Load(),
		"refused":   r.refused.Load()[decision.NoRoute][4].Load(),
		"decisions": m.decisions[decision.Match][decision.NoRoute].Load(),
		"upstream":  u.asked[0].codes.tens.Load()[10].Load()[0].Load(),
	} {
		if got != workers*each {
			t.Errorf("%s: got %d, want %d", what, got, workers*each)
		}
	}
	if m.InFlight.Value() != 0 {
		t.Errorf("%d are in flight, want 0", m.InFlight.Value())
	}
}

func TestAllocsObserve(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	m := NewMetrics(Build{})
	r, u := m.Route("r"), m.Upstream("u")
	observe := func() {
		m.InFlight.Add(1)
		r.Observe(200, decision.Proxy, decision.None, time.Millisecond)
		r.Observe(404, decision.Match, decision.NoRoute, time.Millisecond)
		u.Observe(200, time.Millisecond, false)
		u.Retry()
		m.InFlight.Add(-1)
	}
	if n := testing.AllocsPerRun(100, observe); n != 0 {
		t.Errorf("observing allocates %v times, want 0", n)
	}
}

func TestUnusedRouteIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(RouteMetrics{}); size > 300 {
		t.Errorf("an unused route takes %d bytes, want at most 300", size)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := NewMetrics(Build{})
	r, u := m.Route("r"), m.Upstream("u")
	b.Run("route", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Observe(200, decision.Proxy, decision.None, 3*time.Millisecond)
		}
	})
	b.Run("route/refused", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Observe(404, decision.Match, decision.NoRoute, 100*time.Microsecond)
		}
	})
	b.Run("upstream", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.Observe(200, 3*time.Millisecond, false)
		}
	})
	b.Run("route/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.Observe(200, decision.Proxy, decision.None, 3*time.Millisecond)
			}
		})
	})
}

func BenchmarkScrape(b *testing.B) {
	m := NewMetrics(Build{})
	for i := range 10_000 {
		r := m.Route(fmt.Sprintf("shop/route-%d", i))
		if i%10 == 0 {
			r.Observe(200, decision.Proxy, decision.None, time.Millisecond)
		}
	}
	for b.Loop() {
		if _, err := scraped(m).Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestStrangeNamesBreakNoScrape(t *testing.T) {
	m := NewMetrics(Build{})
	m.Route("shop/\xff").Observe(200, decision.Proxy, decision.None, 0)
	m.Upstream("\xc3(\n\"").Retry()
	if _, err := scraped(m).Gather(); err != nil {
		t.Error(err)
	}
}
