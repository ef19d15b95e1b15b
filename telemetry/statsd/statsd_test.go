package statsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

const scrape = `# HELP legate_requests_total Requests.
# TYPE legate_requests_total counter
legate_requests_total{route="a"} 7
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_cluster_name="orders_shop",envoy_response_code="503"} 2
# TYPE envoy_cluster_external_upstream_rq_xx counter
envoy_cluster_external_upstream_rq_xx{envoy_cluster_name="orders_shop",envoy_response_code_class="2"} 3
# TYPE envoy_cluster_circuit_breakers_default_cx_open gauge
envoy_cluster_circuit_breakers_default_cx_open{envoy_cluster_name="a:b|c"} 1
# TYPE envoy_http_downstream_rq_total counter
envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="ingress_http"} 5
# TYPE envoy_listener_http_downstream_rq_xx counter
envoy_listener_http_downstream_rq_xx{envoy_http_conn_manager_prefix="ingress_http",envoy_listener_address="0.0.0.0_8080",envoy_response_code_class="4"} 1
# TYPE envoy_listener_ssl_handshake counter
envoy_listener_ssl_handshake{envoy_listener_address="0.0.0.0_8443"} 1
# TYPE envoy_cluster_manager_active_clusters gauge
envoy_cluster_manager_active_clusters 4
# TYPE envoy_server_memory_allocated gauge
envoy_server_memory_allocated 1.5e+07
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="0.5"} 1
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="1"} 5
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="+Inf"} 6
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="a"} 9
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="a"} 6
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="b",le="0.5"} 0
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="b",le="1"} 1
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="b",le="+Inf"} 1
`

func reporter(o Options) *Reporter {
	return &Reporter{opts: o, last: map[string]uint64{}, next: map[string]uint64{}}
}

// What StatsD is told, by Envoy's names.
func TestRender(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts Options
		want []string
	}{
		"StatsD": {Options{}, []string{
			"envoy.cluster.orders_shop.upstream_rq_503:2|c",
			"envoy.cluster.orders_shop.external.upstream_rq_2xx:3|c",
			"envoy.cluster.a_b_c.circuit_breakers.default.cx_open:1|g",
			"envoy.http.ingress_http.downstream_rq_total:5|c",
			"envoy.listener.0.0.0.0_8080.http.ingress_http.downstream_rq_4xx:1|c",
			"envoy.listener.0.0.0.0_8443.ssl.handshake:1|c",
			"envoy.cluster_manager.active_clusters:4|g",
			"envoy.server.memory_allocated:1.5e+07|g",
			"envoy.cluster.a.upstream_rq_time:0.25|ms",
			"envoy.cluster.a.upstream_rq_time:0.75|ms|@0.25",
			"envoy.cluster.a.upstream_rq_time:1|ms",
			"envoy.cluster.b.upstream_rq_time:0.75|ms",
		}},
		"DogStatsD": {Options{Tags: true, EntityID: "pod"}, []string{
			"envoy.cluster.upstream_rq:2|c|#envoy.cluster_name:orders_shop,envoy.response_code:503,dd.internal.entity_id:pod",
			"envoy.cluster.external.upstream_rq_xx:3|c|#envoy.cluster_name:orders_shop,envoy.response_code_class:2,dd.internal.entity_id:pod",
			"envoy.cluster.circuit_breakers.default.cx_open:1|g|#envoy.cluster_name:a_b_c,dd.internal.entity_id:pod",
			"envoy.http.downstream_rq_total:5|c|#envoy.http_conn_manager_prefix:ingress_http,dd.internal.entity_id:pod",
			"envoy.listener.http.downstream_rq_xx:1|c|#envoy.http_conn_manager_prefix:ingress_http,envoy.listener_address:0.0.0.0_8080,envoy.response_code_class:4,dd.internal.entity_id:pod",
			"envoy.listener.ssl.handshake:1|c|#envoy.listener_address:0.0.0.0_8443,dd.internal.entity_id:pod",
			"envoy.cluster_manager.active_clusters:4|g|#dd.internal.entity_id:pod",
			"envoy.server.memory_allocated:1.5e+07|g|#dd.internal.entity_id:pod",
			"envoy.cluster.upstream_rq_time:0.25|ms|#envoy.cluster_name:a,dd.internal.entity_id:pod",
			"envoy.cluster.upstream_rq_time:0.75|ms|@0.25|#envoy.cluster_name:a,dd.internal.entity_id:pod",
			"envoy.cluster.upstream_rq_time:1|ms|#envoy.cluster_name:a,dd.internal.entity_id:pod",
			"envoy.cluster.upstream_rq_time:0.75|ms|#envoy.cluster_name:b,dd.internal.entity_id:pod",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := reporter(tc.opts)
			got := strings.Split(strings.TrimSpace(string(r.render(nil, []byte(scrape)))), "\n")
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			// Once more: nothing was added, and gauges stand where they stood.
			if again := string(r.render(nil, []byte(scrape))); strings.Contains(again, "|c") || strings.Contains(again, "|ms") || strings.Count(again, "|g") != 3 {
				t.Errorf("then got\n%s", again)
			}
		})
	}
}

// Counts are told by what was added, also where they begin anew or come back.
func TestCountsAdded(t *testing.T) {
	t.Parallel()
	r := reporter(Options{})
	for _, tc := range []struct {
		now  string
		want string
	}{{"5", "5"}, {"7", "2"}, {"7", ""}, {"3", "3"}, {"", ""}, {"4", "4"}} {
		text := ""
		if tc.now != "" {
			text = "# TYPE envoy_x counter\nenvoy_x{a=\"b\\\"\\n\\\\\"} " + tc.now + "\n"
		}
		want := ""
		if tc.want != "" {
			want = "envoy.x:" + tc.want + "|c\n"
		}
		if got := string(r.render(nil, []byte(text))); got != want {
			t.Errorf("at %q: got %q, want %q", tc.now, got, want)
		}
	}
}

// What there is travels in packets of whole lines, and the rest when it ends.
func TestReporter(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const many = 500
	r := Start(func(w io.Writer) error {
		_, _ = io.WriteString(w, "# TYPE envoy_server_number gauge\n")
		for i := range many {
			fmt.Fprintf(w, "envoy_server_number{envoy_cluster_name=\"%d\"} %d\n", i, i)
		}
		return nil
	}, Options{Address: server.LocalAddr().String(), Interval: time.Hour})
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	for lines := 0; lines < many; {
		n, _, err := server.ReadFrom(b)
		if err != nil {
			t.Fatalf("after %d lines: %v", lines, err)
		}
		if n > datagram || b[n-1] == '\n' {
			t.Errorf("a packet of %d bytes ends in %q", n, b[n-1])
		}
		for line := range strings.SplitSeq(string(b[:n]), "\n") {
			if want := fmt.Sprintf("envoy.server.number:%d|g", lines); line != want {
				t.Errorf("got %q, want %q", line, want)
			}
			lines++
		}
	}
}

// A server that cannot be found is told of once.
func TestReporterFails(t *testing.T) {
	t.Parallel()
	told := make(chan error, 10)
	r := Start(func(io.Writer) error { return nil }, Options{Address: "no-such-host.invalid:1", Interval: 10 * time.Millisecond, Failed: func(err error) { told <- err }})
	select {
	case err := <-told:
		if err == nil {
			t.Error("told that it works")
		}
	case <-time.After(20 * time.Second):
		t.Error("not told")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if len(told) > 0 {
		t.Errorf("told again: %v", <-told)
	}
}

// Whatever stands in a scrape, lines of StatsD come of it.
func FuzzRender(f *testing.F) {
	f.Add(scrape)
	f.Add("# TYPE envoy_x counter\nenvoy_x{a=\"\\\"} 1\nenvoy_x{\nenvoy_x \nenvoy_\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range []Options{{}, {Tags: true}} {
			for line := range strings.Lines(string(reporter(o).render(nil, []byte(text)))) {
				if !strings.HasPrefix(line, "envoy.") || !strings.Contains(line, "|") {
					t.Errorf("%q", line)
				}
			}
		}
	})
}
