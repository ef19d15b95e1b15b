package consul

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// An agent answers like Consul's documented health API: at once if its index is not
// the one asked with, and otherwise when something changes.
type agent struct {
	mu      sync.Mutex
	changed chan struct{}
	index   uint64
	body    string
	status  int
	asked   chan string // the query of each request
}

func startAgent(t *testing.T) (*agent, string) {
	t.Helper()
	a := &agent{changed: make(chan struct{}), index: 10, status: 200, body: "[]", asked: make(chan string, 1000)}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	t.Cleanup(func() { a.set(11, 500, "") })
	return a, strings.TrimPrefix(s.URL, "http://")
}

func (a *agent) set(index uint64, status int, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index, a.status, a.body = index, status, body
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked <- r.URL.Path + "?" + r.URL.RawQuery
	a.mu.Lock()
	for r.URL.Query().Get("index") == strconv.FormatUint(a.index, 10) && a.status == 200 {
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		a.mu.Lock()
	}
	defer a.mu.Unlock()
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	w.WriteHeader(a.status)
	fmt.Fprint(w, a.body)
}

// instance is one in Consul's answer.
func instance(node, service string, port int) string {
	return fmt.Sprintf(`{"Node":{"Node":"n","Address":%q},"Service":{"Service":"web","Address":%q,"Port":%d,"Weights":{"Passing":1}},"Checks":[]}`, node, service, port)
}

// A hearing is what a Watch tells.
type hearing struct {
	list string
	err  error
}

func watch(t *testing.T, q Query) <-chan hearing {
	t.Helper()
	heard := make(chan hearing, 100)
	ctx, cancel := context.WithCancel(context.Background())
	w := New()
	var done sync.WaitGroup
	done.Go(func() {
		w.Watch(ctx, q, func(list []netip.AddrPort, err error) {
			var texts []string
			for _, a := range list {
				texts = append(texts, a.String())
			}
			heard <- hearing{strings.Join(texts, " "), err}
		})
	})
	t.Cleanup(func() { cancel(); done.Wait(); w.Close() })
	return heard
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestWatch(t *testing.T) {
	a, addr := startAgent(t)
	a.set(10, 200, "["+instance("10.0.0.9", "10.0.0.2", 8080)+","+instance("10.0.0.1", "", 8081)+"]")
	heard := watch(t, Query{Address: addr, Datacenter: "dc1", Service: "web"})
	if h := next(t, heard); h.list != "10.0.0.1:8081 10.0.0.2:8080" || h.err != nil {
		t.Fatalf("at first: %+v", h)
	}
	if q := next(t, a.asked); q != "/v1/health/service/web?dc=dc1&passing=true" {
		t.Errorf("asked for %s", q)
	}
	if q := next(t, a.asked); q != "/v1/health/service/web?dc=dc1&index=10&passing=true&wait=300s" {
		t.Errorf("then asked for %s", q)
	}
	a.set(11, 200, "["+instance("10.0.0.1", "", 8081)+"]")
	if h := next(t, heard); h.list != "10.0.0.1:8081" || h.err != nil {
		t.Errorf("after a change: %+v", h)
	}
	a.set(12, 200, "[]")
	if h := next(t, heard); h.list != "" || h.err != nil {
		t.Errorf("without instances: %+v", h)
	}
}

// An index that goes back means that Consul's state was restored: it begins anew.
func TestIndexGoesBack(t *testing.T) {
	a, addr := startAgent(t)
	heard := watch(t, Query{Address: addr, Datacenter: "dc1", Service: "web"})
	next(t, heard)
	next(t, a.asked)
	next(t, a.asked)
	a.set(3, 200, "["+instance("10.0.0.1", "", 80)+"]")
	if h := next(t, heard); h.list != "10.0.0.1:80" {
		t.Errorf("got %+v", h)
	}
	if q := next(t, a.asked); strings.Contains(q, "index") {
		t.Errorf("asked with an index again: %s", q)
	}
	if q := next(t, a.asked); !strings.Contains(q, "index=3") {
		t.Errorf("then asked for %s", q)
	}
}

// What Consul cannot say is an error and changes no instance; it is asked again.
func TestErrors(t *testing.T) {
	a, addr := startAgent(t)
	a.set(10, 500, "No cluster leader")
	heard := watch(t, Query{Address: "http://" + addr + "/", Datacenter: "dc1", Service: "web"})
	if h := next(t, heard); h.err == nil || !strings.Contains(h.err.Error(), "500") {
		t.Errorf("a status: %+v", h)
	}
	a.set(10, 200, "{")
	if h := next(t, heard); h.err == nil {
		t.Errorf("half an answer: %+v", h)
	}
	a.set(10, 200, "["+instance("10.0.0.1", "", 80)+"]")
	for h := next(t, heard); h.list != "10.0.0.1:80"; h = next(t, heard) {
		if h.err == nil {
			t.Fatalf("got %+v", h)
		}
	}
}

func TestAddresses(t *testing.T) {
	e := func(node, service string, port int) (e entry) {
		e.Node.Address, e.Service.Address, e.Service.Port = node, service, port
		return e
	}
	for _, row := range []struct {
		name    string
		entries []entry
		want    string
		fails   bool
	}{
		{"none", nil, "[]", false},
		{"its own address", []entry{e("10.0.0.1", "10.0.0.2", 80)}, "[10.0.0.2:80]", false},
		{"the node's", []entry{e("10.0.0.1", "", 80)}, "[10.0.0.1:80]", false},
		{"IPv6", []entry{e("fd00::1", "", 80)}, "[[fd00::1]:80]", false},
		{"twice", []entry{e("10.0.0.1", "", 80), e("10.0.0.1", "", 80)}, "[10.0.0.1:80]", false},
		{"a name among others", []entry{e("10.0.0.1", "web.example", 80), e("10.0.0.2", "", 80)}, "[10.0.0.2:80]", false},
		{"only names", []entry{e("10.0.0.1", "web.example", 80)}, "[]", true},
		{"no port", []entry{e("10.0.0.1", "", 0)}, "[]", true},
		{"no such port", []entry{e("10.0.0.1", "", 1<<16)}, "[]", true},
	} {
		got, err := addresses(row.entries)
		if fmt.Sprint(got) != row.want || (err != nil) != row.fails {
			t.Errorf("%s: got %v %v, want %s", row.name, got, err, row.want)
		}
	}
}

func TestBackOff(t *testing.T) {
	for failures, longest := range map[int]time.Duration{0: 1500 * time.Millisecond, 1: 3 * time.Second, 6: 90 * time.Second, 1000: 90 * time.Second} {
		for range 100 {
			if d := backOff(failures); d < longest/3 || d > longest {
				t.Fatalf("after %d failures: %v, want %v to %v", failures, d, longest/3, longest)
			}
		}
	}
}
