package upstream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/config"
)

// What results make of an endpoint's health: + passed, - failed, ! answered that it is
// not well. The verdicts are those after each: + healthy, - not.
func TestCheckerTakes(t *testing.T) {
	for _, row := range []struct {
		name               string
		healthy, unhealthy int
		results, verdicts  string
	}{
		{"the first success", 3, 2, "+", "+"},
		{"never passed", 1, 2, "---+", "---+"},
		{"one failure", 1, 2, "+-+", "+++"},
		{"two failures", 1, 2, "+--", "++-"},
		{"failures between", 1, 2, "+-+-+-", "++++++"},
		{"back after one", 1, 2, "+--+", "++-+"},
		{"back after three", 3, 2, "+--+++", "++---+"},
		{"a status tells at once", 1, 5, "+!+", "+-+"},
		{"three failures", 1, 3, "+---", "+++-"},
	} {
		c := &checker{HealthCheck: &config.HealthCheck{HealthyThreshold: row.healthy, UnhealthyThreshold: row.unhealthy}}
		got := ""
		for _, r := range row.results {
			before := c.healthy
			changed := c.take(map[rune]error{'+': nil, '-': errors.New("no answer"), '!': fmt.Errorf("%w 503", errStatus)}[r])
			if changed != (c.healthy != before) {
				t.Errorf("%s: said changed is %v", row.name, changed)
			}
			if got += "-"; c.healthy {
				got = got[:len(got)-1] + "+"
			}
		}
		if got != row.verdicts {
			t.Errorf("%s: %s became %s, want %s", row.name, row.results, got, row.verdicts)
		}
	}
}

// A patient is a service whose health a test decides.
type patient struct {
	*httptest.Server
	status atomic.Int32
	asked  chan *http.Request
}

func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{asked: make(chan *http.Request, 10_000)}
	p.status.Store(200)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked <- r
		w.WriteHeader(int(p.status.Load()))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *patient) addr() netip.AddrPort {
	return netip.MustParseAddrPort(p.Listener.Addr().String())
}

// checked makes an upstream of those addresses with a check, and what it logs.
func checked(t *testing.T, spec Spec, check config.HealthCheck, list ...netip.AddrPort) (*Upstream, lines) {
	t.Helper()
	logged := make(lines, 1000)
	r, err := NewResolver(Options{Log: slog.New(slog.NewTextHandler(logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	spec.Host, spec.Label, spec.Source = "web.shop", "web_shop", FromEndpoints
	spec.ConnectTimeout, spec.IdleTimeout = time.Second, time.Hour
	spec.Checks = newChecks([]config.HealthCheck{check})
	u := New(spec, r)
	u.place(list, nil)
	t.Cleanup(u.Retire)
	return u, logged
}

// says waits for a line of the log.
func (l lines) says(t *testing.T, parts ...string) {
	t.Helper()
	for {
		select {
		case line := <-l:
			found := true
			for _, p := range parts {
				found = found && strings.Contains(line, p)
			}
			if found {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing was logged like %q", parts)
		}
	}
}

// picked returns which endpoints get requests.
func picked(u *Upstream) map[string]int {
	count := map[string]int{}
	for range 300 {
		count[u.ends.Load().balance.pick(Choice{}).text]++
	}
	return count
}

var httpCheck = config.HealthCheck{
	Timeout: time.Second, Interval: 5 * time.Millisecond, HealthyThreshold: 1, UnhealthyThreshold: 2,
	HTTP: &config.HTTPCheck{Path: "/healthy?x=1", Expected: []config.StatusRange{{Min: 200, Max: 204}},
		Add: []config.HeaderAdd{{Name: "X-Check", Value: "yes"}}, Remove: []string{"User-Agent"}},
}

// An endpoint that fails its checks gets no request until it passes again; when more
// than half fail, all are used.
func TestHealthTakesOutAndBack(t *testing.T) {
	a, b, c := newPatient(t), newPatient(t), newPatient(t)
	u, logged := checked(t, Spec{}, httpCheck, a.addr(), b.addr(), c.addr())
	for range 3 {
		logged.says(t, "endpoint healthy", "web_shop")
	}
	r := <-a.asked
	if r.URL.String() != "/healthy?x=1" || r.Host != "web.shop" || r.Header.Get("X-Check") != "yes" || r.Header.Get("User-Agent") != "" || r.Method != "GET" {
		t.Errorf("asked by %s %s of %q with %v", r.Method, r.URL, r.Host, r.Header)
	}
	if got := picked(u); len(got) != 3 {
		t.Errorf("all are well, and %v get requests", got)
	}
	b.status.Store(503)
	logged.says(t, "endpoint unhealthy", b.addr().String(), "503")
	if got := picked(u); len(got) != 2 || got[b.addr().String()] > 0 {
		t.Errorf("one of three is not well, and %v get requests", got)
	}
	if s := u.Stats(); s.Healthy != 2 || s.Unhealthy != 1 {
		t.Errorf("got %+v", s)
	}
	c.status.Store(500)
	logged.says(t, "endpoint unhealthy", c.addr().String())
	if got := picked(u); len(got) != 3 {
		t.Errorf("two of three are not well, and %v get requests", got)
	}
	b.status.Store(204)
	logged.says(t, "endpoint healthy", b.addr().String())
	if got := picked(u); len(got) != 2 || got[c.addr().String()] > 0 {
		t.Errorf("one is back, and %v get requests", got)
	}
	c.CloseClientConnections()
	c.Close() // nobody listens
	c.status.Store(200)
	if got := picked(u); len(got) != 2 {
		t.Errorf("one is away, and %v get requests", got)
	}
}

// An endpoint that is new gets nothing before it has passed once; one that goes is
// asked no more.
func TestHealthOfNewEndpoints(t *testing.T) {
	a, b := newPatient(t), newPatient(t)
	u, logged := checked(t, Spec{}, httpCheck, a.addr())
	logged.says(t, "endpoint healthy", a.addr().String())
	b.status.Store(503)
	u.place([]netip.AddrPort{a.addr(), b.addr()}, nil)
	<-b.asked
	if got := picked(u); got[b.addr().String()] > 0 {
		t.Errorf("one that has not passed gets requests: %v", got)
	}
	b.status.Store(200)
	logged.says(t, "endpoint healthy", b.addr().String())
	if got := picked(u); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	u.place([]netip.AddrPort{b.addr()}, nil)
	a.Close() // waits for what is under way
	for len(a.asked) > 0 {
		<-a.asked
	}
	if got := picked(u); len(got) != 1 || got[b.addr().String()] == 0 {
		t.Errorf("got %v", got)
	}
}

// Silence is a failure when its time is over.
func TestHealthTimesOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	check := httpCheck
	check.Timeout = 20 * time.Millisecond
	u, _ := checked(t, Spec{}, check)
	c := &checker{HealthCheck: &check, end: newEndpoint(u, netip.MustParseAddrPort(ln.Addr().String()))}
	begun := time.Now()
	if err := u.probe(t.Context(), c, begun.Add(check.Timeout)); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("got %v after %v", err, time.Since(begun))
	}
}

// The protocol of grpc.health.v1, over HTTP/2 in the clear.
func TestHealthByGRPC(t *testing.T) {
	var verdict atomic.Value
	seen := make(chan string, 1000)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- fmt.Sprintf("%s %s %s %s %q", r.Proto, r.Host, r.URL, r.Header.Get("Content-Type"), body)
		w.Header().Set("Content-Type", "application/grpc")
		status, msg, _ := strings.Cut(verdict.Load().(string), " ")
		if msg == "" { // nothing but a head
			w.Header().Set("Grpc-Status", status)
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.WriteString(w, msg)
		w.Header().Set("Grpc-Status", status)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	check := config.HealthCheck{Timeout: 5 * time.Second, Interval: time.Hour, HealthyThreshold: 1, UnhealthyThreshold: 1,
		GRPC: &config.GRPCCheck{Service: "shop.Orders", Authority: "orders.example"}}
	u, _ := checked(t, Spec{HTTP2: true}, check)
	c := &checker{HealthCheck: &check, end: newEndpoint(u, netip.MustParseAddrPort(s.Listener.Addr().String()))}
	for _, row := range []struct {
		answer string
		well   bool
	}{
		{"0 \x00\x00\x00\x00\x02\x08\x01", true},
		{"0 \x00\x00\x00\x00\x02\x08\x02", false},
		{"0 \x00\x00\x00\x00\x00", false},
		{"5", false},
		{"0", false},
		{"12 \x00\x00\x00\x00\x02\x08\x01", false},
	} {
		verdict.Store(row.answer)
		err := u.probe(t.Context(), c, time.Now().Add(check.Timeout))
		if (err == nil) != row.well || !row.well && !errors.Is(err, errStatus) {
			t.Errorf("%q: got %v", row.answer, err)
		}
		if got, want := <-seen, `HTTP/2.0 orders.example /grpc.health.v1.Health/Check application/grpc "\x00\x00\x00\x00\r\n\vshop.Orders"`; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}

// Equal checks are equal values, and come back as they were.
func TestChecksAreText(t *testing.T) {
	list := []config.HealthCheck{httpCheck, {Timeout: 1, GRPC: &config.GRPCCheck{Service: "a"}}}
	if newChecks(list) != newChecks([]config.HealthCheck{httpCheck, {Timeout: 1, GRPC: &config.GRPCCheck{Service: "a"}}}) {
		t.Error("equal checks differ")
	}
	got := newChecks(list).list()
	if len(got) != 2 || got[0].HTTP.Add[0] != list[0].HTTP.Add[0] || got[1].GRPC.Service != "a" {
		t.Errorf("got %+v", got)
	}
	if newChecks(nil) != "" || Checks("").list() != nil {
		t.Error("no checks are something")
	}
}
