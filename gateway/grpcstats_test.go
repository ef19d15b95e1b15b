package gateway

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"legate/config"
	"legate/telemetry"
	"legate/wire"
)

func TestFrames(t *testing.T) {
	body := frame(0, "one") + frame(1, "") + frame(0, strings.Repeat("x", 300)) + frame(0, "four")
	for piece := 1; piece < len(body); piece++ {
		var f frames
		for rest := body; rest != ""; rest = rest[min(piece, len(rest)):] {
			f.count([]byte(rest[:min(piece, len(rest))]))
		}
		if f.messages != 4 {
			t.Errorf("in pieces of %d: got %d messages, want 4", piece, f.messages)
		}
	}
}

// scrape is what the metrics are, by their names.
func (g *gate) scrape() map[string]*dto.MetricFamily {
	g.t.Helper()
	w := httptest.NewRecorder()
	g.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return families
}

// series are the values of a metric, by its labels in the order of their names.
func (g *gate) series(name string) map[string]float64 {
	g.t.Helper()
	all := map[string]float64{}
	if f := g.scrape()[name]; f != nil {
		for _, m := range f.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			slices.SortFunc(m.GetLabel(), func(a, b *dto.LabelPair) int { return cmp.Compare(a.GetName(), b.GetName()) })
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if v := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); v > 0 {
				all[strings.Join(labels, " ")] = v
			}
		}
	}
	return all
}

// counting is a service of gRPC that ends each call with the status its path names last,
// and answers with as many messages.
func counting(t testing.TB) (addr string) {
	t.Helper()
	return h2service(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status := r.URL.Path[strings.LastIndexByte(r.URL.Path, '_')+1:]
		w.Header().Set("Content-Type", "application/grpc")
		n, _ := strconv.Atoi(status)
		if n == 0 {
			w.Header().Set("Grpc-Status", status) // nothing but a head
			return
		}
		_, _ = io.WriteString(w, strings.Repeat(frame(0, "m"), n))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	})
}

// Which calls are counted, under which names.
func TestGRPCStats(t *testing.T) {
	calls := []struct{ path, contentType, body string }{
		{"/shop.Orders/Get_0", "application/grpc", frame(0, "a") + frame(0, "b")},
		{"/shop.Orders/Get_3", "application/grpc+proto", frame(0, "a")},
		{"/shop.Orders/Get_3", "application/grpc-web-text", inBase64(frame(0, "a"))},
		{"/shop.Orders/Put_12", "application/grpc", frame(0, "a")},
		{"/shop.Orders/x/Put_5", "application/grpc", frame(0, "a")},
		{"/shop.Orders/Page_0", "text/html", "no gRPC"},
		{"/down/Get_0", "application/grpc", ""}, // whose service is down: answered here
	}
	for _, row := range []struct {
		name, stats        string
		requests, messages map[string]float64
		durations          map[string]float64
	}{
		{"all methods", "{all_methods: true}",
			map[string]float64{"0 Get_0 shop.Orders": 1, "3 Get_3 shop.Orders": 2, "12 other other": 1, "5 other other": 1, "14 other other": 1},
			map[string]float64{"request Get_0 shop.Orders": 2, "request Get_3 shop.Orders": 2, "response Get_3 shop.Orders": 6, "request other other": 2, "response other other": 17},
			map[string]float64{}},
		{"some, and their times", "{services: [{name: shop.Orders, method_names: [Get_0, Put_12]}], upstream_stats: true}",
			map[string]float64{"0 Get_0 shop.Orders": 1, "12 Put_12 shop.Orders": 1, "3 other other": 2, "5 other other": 1, "14 other other": 1},
			map[string]float64{"request Get_0 shop.Orders": 2, "request Put_12 shop.Orders": 1, "response Put_12 shop.Orders": 12, "request other other": 3, "response other other": 11},
			map[string]float64{"Get_0 shop.Orders": 1, "Put_12 shop.Orders": 1, "other other": 3}},
		{"none by name", "{}",
			map[string]float64{"0 other other": 1, "3 other other": 2, "12 other other": 1, "5 other other": 1, "14 other other": 1},
			map[string]float64{"request other other": 6, "response other other": 23},
			map[string]float64{}},
		{"nothing", "", map[string]float64{}, map[string]float64{}, map[string]float64{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			fields := []string{web}
			if row.stats != "" {
				fields = append(fields, "grpc_stats: "+row.stats)
			}
			g := open(t, everyone+module(fields...)+mapping("x", "/shop.Orders/", counting(t), "grpc: true", `rewrite: ""`)+mapping("down", "/down/", refusing(t), "grpc: true"))
			for _, c := range calls {
				if a, _ := g.send(request("POST", c.path, c.body, "Content-Type: "+c.contentType)); a.StatusCode != 200 {
					t.Fatalf("%s: got %d", c.path, a.StatusCode)
				}
			}
			for name, want := range map[string]map[string]float64{"requests_total": row.requests, "messages_total": row.messages, "upstream_duration_seconds": row.durations} {
				if got := g.series("legate_grpc_" + name); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
			}
		})
	}
}

// Counters go on through a change of configuration, and leave with those who want them.
func TestGRPCStatsThroughSwaps(t *testing.T) {
	addr := counting(t)
	world := func(stats string) string {
		return everyone + module("grpc_stats: "+stats) + mapping("x", "/s/", addr, "grpc: true", `rewrite: ""`)
	}
	g := open(t, world("{services: [{name: s, method_names: [a_1, b_1]}]}"))
	call := func(path string) { g.send(request("POST", path, "", "Content-Type: application/grpc")) }
	call("/s/a_1")
	call("/s/b_1")
	g.Apply(t.Context(), read(world("{services: [{name: s, method_names: [a_1]}]}")))
	call("/s/a_1")
	call("/s/b_1")
	want := map[string]float64{"1 a_1 s": 2, "1 other other": 1}
	if got := g.series("legate_grpc_requests_total"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// However many names clients think of, there is an end to what is counted by name.
func TestGRPCStatsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{})
	s := compileGRPCStats(&config.Module{GRPCStats: &config.GRPCStats{AllMethods: true}}, m)
	for i := range 2 * telemetry.MaxGRPCMethods {
		s.meet(fmt.Appendf(nil, "/service/method%d", i))
	}
	if n := len(*s.met.Load()); n > telemetry.MaxGRPCMethods {
		t.Errorf("%d methods are kept", n)
	}
	if s.meet([]byte("/service/one-more")) != s.others {
		t.Error("there is room for one more")
	}
	for _, path := range []string{"/", "/a", "/a/", "//b", "/a/b/c", "/" + strings.Repeat("a", 300) + "/b"} {
		if s.meet([]byte(path)) != s.others {
			t.Errorf("%q has counters of its own", path)
		}
	}
}

func TestAllocsGRPCStats(t *testing.T) {
	var h, trailer wire.Head
	h.BuildRequest("POST", "a", "/s/m", "content-type", "application/grpc")
	trailer.BuildRequest("GET", "a", "/", "grpc-status", "5")
	s := compileGRPCStats(&config.Module{GRPCStats: &config.GRPCStats{Services: []config.GRPCService{{Name: "s", Methods: []string{"m"}}}}}, telemetry.NewMetrics(telemetry.Build{}))
	under := &memoryStream{}
	x := &Exchange{Req: &h}
	piece := []byte(frame(0, "message"))
	n := testing.AllocsPerRun(100, func() {
		x.stream = under
		under.body.Reset()
		s.Enter(x)
		_ = x.stream.WriteHead(200, nil, &x.ToClient, 0)
		_, _ = x.stream.WriteBody(piece)
		_ = x.stream.End(&trailer)
		s.Finish(x)
	})
	if n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}
