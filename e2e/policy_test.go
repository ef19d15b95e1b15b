package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cluster is a Service of that name, port 80, and the EndpointSlice that lists addrs.
func cluster(name string, addrs ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {ports: [{name: http, port: 80, targetPort: web}]}\n", name)
	for i, a := range addrs {
		host, port, _ := net.SplitHostPort(a)
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s-%d, labels: {kubernetes.io/service-name: %s}}\naddressType: IPv4\n"+
			"ports: [{name: http, port: %s, protocol: TCP}]\nendpoints: [{addresses: [%s], conditions: {ready: true}}]\n", name, i, name, port, host)
	}
	return b.String()
}

// A replica is one endpoint of a service that a test can hurt.
type replica struct {
	*httptest.Server
	sick   atomic.Bool
	served atomic.Int64 // requests that were no health checks
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path != "/healthz":
			r.served.Add(1)
			w.Header().Set("X-Replica", r.Listener.Addr().String())
		case r.sick.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *replica) addr() string { return r.Listener.Addr().String() }

// One of three endpoints dies under requests: with a retry_policy nobody notices.
func TestOutageOfAnEndpoint(t *testing.T) {
	t.Parallel()
	a, b, c := newReplica(t), newReplica(t), newReplica(t)
	g := start(t, setup{manifests: everyone + cluster("web", a.addr(), b.addr(), c.addr()) +
		mapping("r", "/r/", "web", "resolver: endpoint", "load_balancer: {policy: least_request}", "retry_policy: {retry_on: 5xx, num_retries: 3}", "circuit_breakers: [{max_retries: 100}]")})
	stop := make(chan struct{})
	var done sync.WaitGroup
	var total, failed atomic.Int64
	for range 4 {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				answer, err := g.try(t, request{target: "/r/x"})
				if total.Add(1); err != nil || answer.StatusCode != 200 {
					failed.Add(1)
				}
			}
		})
	}
	eventually(t, 10*time.Second, "every replica serves", func() bool { return a.served.Load() > 20 && b.served.Load() > 20 && c.served.Load() > 20 })
	b.CloseClientConnections()
	b.Close()
	before := total.Load()
	eventually(t, 10*time.Second, "requests go on", func() bool { return total.Load() > before+200 })
	close(stop)
	done.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), total.Load())
	}
}

// A health check takes an endpoint out, and back, without a request failing.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	a, b, c := newReplica(t), newReplica(t), newReplica(t)
	g := start(t, setup{manifests: everyone + cluster("web", a.addr(), b.addr(), c.addr()) +
		mapping("r", "/r/", "web", "resolver: endpoint", "health_checks: [{health_check: {http: {path: /healthz}}, interval: 10ms}]")})
	metric := func(state, n string) func() bool {
		return func() bool {
			_, body := g.operator("/metrics")
			return strings.Contains(body, fmt.Sprintf("legate_upstream_endpoints{state=%q,upstream=\"web\"} %s\n", state, n))
		}
	}
	eventually(t, 10*time.Second, "all are healthy", metric("healthy", "3"))
	b.sick.Store(true)
	eventually(t, 10*time.Second, "one is not", metric("unhealthy", "1"))
	before := b.served.Load()
	for range 30 {
		if answer := g.send(t, request{target: "/r/x"}); answer.StatusCode != 200 {
			t.Fatalf("got %d", answer.StatusCode)
		}
	}
	if n := b.served.Load() - before; n != 0 {
		t.Errorf("the one that is not well got %d of 30 requests", n)
	}
	b.sick.Store(false)
	eventually(t, 10*time.Second, "all are healthy again", metric("healthy", "3"))
	for range 30 {
		g.send(t, request{target: "/r/x"})
	}
	if b.served.Load() == before {
		t.Error("the one that is well again gets nothing")
	}
}

// A client that is given a cookie comes back to its endpoint, also after a reload.
func TestAffinityByCookie(t *testing.T) {
	t.Parallel()
	a, b, c := newReplica(t), newReplica(t), newReplica(t)
	manifests := everyone + cluster("web", a.addr(), b.addr(), c.addr()) +
		mapping("r", "/r/", "web", "resolver: endpoint", "load_balancer: {policy: ring_hash, cookie: {name: sticky, ttl: 60s, path: /}}")
	g := start(t, setup{manifests: manifests})
	homes := map[string]string{}
	for range 20 {
		answer := g.send(t, request{target: "/r/x"})
		cookies := answer.Cookies()
		if len(cookies) != 1 || cookies[0].MaxAge != 60 || cookies[0].Path != "/" || !cookies[0].HttpOnly {
			t.Fatalf("got cookies %v", cookies)
		}
		homes[cookies[0].Value] = answer.Header.Get("X-Replica")
	}
	g.replace(manifests + mapping("other", "/other/", "web", "resolver: endpoint"))
	used := map[string]bool{}
	for value, home := range homes {
		answer := g.send(t, request{target: "/r/x", header: []string{"Cookie: sticky=" + value}})
		if got := answer.Header.Get("X-Replica"); got != home {
			t.Errorf("%s went to %s, then to %s", value, home, got)
		}
		used[home] = true
	}
	if len(used) < 2 {
		t.Errorf("20 clients went to %v", used)
	}
}

// The times of a request, to the class of milliseconds: tries do not add to them.
func TestRequestTimes(t *testing.T) {
	t.Parallel()
	slow := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(200 * time.Millisecond):
			w.WriteHeader(http.StatusInternalServerError)
		case <-r.Context().Done():
		}
	}))
	g := start(t, setup{manifests: everyone +
		mapping("all", "/all/", slow, "timeout_ms: 300", "retry_policy: {retry_on: 5xx, num_retries: 4}") +
		mapping("each", "/each/", slow, "timeout_ms: 3000", "retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 50ms}") +
		mapping("none", "/none/", slow)})
	for _, row := range []struct {
		target      string
		want        verdict
		least, most time.Duration
	}{
		{"/all/", verdict{"proxy", "upstream_timeout", 504}, 300 * time.Millisecond, 500 * time.Millisecond},
		{"/each/", verdict{"proxy", "upstream_try_timeout", 504}, 150 * time.Millisecond, 600 * time.Millisecond},
		{"/none/", verdict{"proxy", "", 500}, 200 * time.Millisecond, 400 * time.Millisecond},
	} {
		begun := time.Now()
		answer := g.send(t, request{target: row.target})
		took := time.Since(begun)
		if got := g.verdict(t, answer); got != row.want {
			t.Errorf("%s: got %+v, want %+v", row.target, got, row.want)
		}
		if took < row.least || took > row.most+time.Second { // others use this machine too
			t.Errorf("%s: took %v, want %v to %v", row.target, took, row.least, row.most)
		}
	}
}

// Under load a service never has more requests, or connections, than its limits allow;
// what is refused is refused at once, and what may wait is served.
func TestLimitsUnderLoad(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	service := func(now, most *atomic.Int64) string {
		return serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(5 * time.Millisecond)
			now.Add(-1)
		}))
	}
	var queuedNow, queuedMost atomic.Int64
	g := start(t, setup{manifests: everyone +
		mapping("few", "/few/", service(&now, &most), "circuit_breakers: [{max_requests: 5}]") +
		mapping("queue", "/queue/", service(&queuedNow, &queuedMost), "circuit_breakers: [{max_connections: 4, max_pending_requests: 100}]")})
	statuses := func(target string) map[int]int {
		count := map[int]int{}
		var mu sync.Mutex
		var done sync.WaitGroup
		for range 30 {
			done.Go(func() {
				for range 20 {
					answer, err := g.try(t, request{target: target})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					count[answer.StatusCode]++
					mu.Unlock()
					if overloaded := answer.Header.Get("X-Envoy-Overloaded"); (overloaded == "true") != (answer.StatusCode == 503) {
						t.Errorf("status %d with x-envoy-overloaded %q", answer.StatusCode, overloaded)
					}
				}
			})
		}
		done.Wait()
		return count
	}
	got := statuses("/few/")
	if got[200]+got[503] != 600 || got[503] == 0 || got[200] < 20 || most.Load() > 5 {
		t.Errorf("max_requests 5: got %v, and %d at once", got, most.Load())
	}
	eventually(t, 10*time.Second, "every refusal is on record", func() bool { return g.log.count(verdict{"break", "upstream_overflow", 503}) == got[503] })
	if got := statuses("/queue/"); got[200] != 600 || queuedMost.Load() > 4 {
		t.Errorf("max_connections 4: got %v, and %d at once", got, queuedMost.Load())
	}
}
