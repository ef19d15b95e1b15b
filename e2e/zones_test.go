package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// podAddress is an address of this machine that EndpointSlices may have: API servers take
// none of loopback.
func podAddress(t *testing.T) string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback's, of which EndpointSlices take none")
	return ""
}

// An instance is one endpoint of the Service web, as the cluster has it.
type instance struct {
	name, zone string
	port       int
	served     atomic.Int64
	holds      chan struct{} // told of each request to /hold, which does not end before let
	let        func()
}

func newInstance(t *testing.T, host, name, zone string) *instance {
	t.Helper()
	ends := make(chan struct{})
	in := &instance{name: name, zone: zone, holds: make(chan struct{}), let: sync.OnceFunc(func() { close(ends) })}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	in.port = ln.Addr().(*net.TCPAddr).Port
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.served.Add(1)
		if name == "one" && strings.HasSuffix(r.URL.Path, "/hold") {
			in.holds <- struct{}{}
			<-ends
		}
		fmt.Fprint(w, name)
	}))
	_ = s.Listener.Close()
	s.Listener = ln
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(in.let)
	return in
}

// in is the instance's EndpointSlice.
func (in *instance) in(host, conditions string) string {
	return fmt.Sprintf("---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-%s, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n"+
		"ports: [{name: http, port: %d, protocol: TCP}]\nendpoints: [{addresses: [%q], zone: %s, nodeName: node-of-%[1]s, conditions: %[5]s}]\n", in.name, in.port, host, in.zone, conditions)
}

const (
	isReady  = "{ready: true, serving: true, terminating: false}"
	isEnding = "{ready: false, serving: true, terminating: true}"
	isOver   = "{ready: false, serving: false, terminating: true}"
)

// Requests go to instances in the gateway's own zone, whose name it learns from those that
// run on its node, to others where those are gone, and to those that are about to end only
// where nobody else can answer. Meanwhile no request fails, also not one that an instance
// was told to end under.
func TestKubernetesZones(t *testing.T) {
	host := podAddress(t)
	c := newKubernetes(t)
	c.install(looseCRDs("{strategy: None}"))
	one, two := newInstance(t, host, "one", "east"), newInstance(t, host, "two", "east")
	three, four := newInstance(t, host, "three", "west"), newInstance(t, host, "four", "north")
	all := []*instance{one, two, three, four}
	c.apply(everyone + mapping("web", "/web/", "web", "resolver: endpoint") +
		"---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{name: http, port: 80, targetPort: web}]}\n" +
		one.in(host, isReady) + two.in(host, isReady) + three.in(host, isReady) + four.in(host, isReady))
	g := c.gateway(setup{env: []string{"NODE_NAME=node-of-one"}})
	g.errors.await(t, "endpoints of the own zone are preferred.*east.*node-of-one")

	end := everybodyAsks(t, g, "/web/")
	only := func(what string, want ...*instance) {
		t.Helper()
		eventually(t, patience(20*time.Second), what, func() bool {
			before := counts(all)
			for range 12 {
				if a := g.send(t, request{target: "/web/"}); a.StatusCode != 200 {
					t.Fatalf("%s: status %d", what, a.StatusCode)
				}
			}
			for i, n := range counts(all) {
				if asked := n > before[i]; asked != slices.Contains(want, all[i]) {
					return false
				}
			}
			return true
		})
	}
	only("instances of the own zone are asked", one, two)

	held := make(chan answer, 1)
	go func() { // asks until it is one's turn
		for {
			a, err := g.try(t, request{target: "/web/hold"})
			if err != nil {
				a.StatusCode = 599
			}
			if string(a.body) == "one" || a.StatusCode != 200 {
				held <- a
				return
			}
		}
	}()
	<-one.holds
	c.apply(one.in(host, isEnding))
	only("who is about to end is not asked any more", two)
	one.let()
	if a := <-held; a.StatusCode != 200 || string(a.body) != "one" {
		t.Errorf("the request that ran while its instance was told to end: status %d, %q", a.StatusCode, a.body)
	}
	c.apply(two.in(host, isEnding))
	only("others are asked where the own zone has nobody", three, four)
	c.apply(three.in(host, isEnding) + four.in(host, isEnding))
	only("who is about to end is asked where nobody else is left", one, two)
	c.apply(three.in(host, isReady))
	only("somebody is ready again", three)
	end()
	c.apply(one.in(host, isOver) + two.in(host, isOver) + three.in(host, isOver) + four.in(host, isOver))
	g.comesTo(t, request{target: "/web/"}, 503)
	if a := g.send(t, request{target: "/web/"}); g.verdict(t, a) != (verdict{"proxy", "no_endpoints", 503}) {
		t.Errorf("without anybody: %v", g.verdict(t, a))
	}
}

func counts(all []*instance) (list []int64) {
	for _, in := range all {
		list = append(list, in.served.Load())
	}
	return list
}

// everybodyAsks has clients ask for target until end is called, which fails the test if a
// request failed.
func everybodyAsks(t *testing.T, g *gateway, target string) (end func()) {
	t.Helper()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := g.try(t, request{target: target})
				if asked.Add(1); err != nil || a.StatusCode != 200 {
					failed.Add(1)
				}
			}
		})
	}
	return func() {
		t.Helper()
		close(stop)
		clients.Wait()
		if n := failed.Load(); n > 0 || asked.Load() == 0 {
			t.Errorf("%d of %d requests failed", n, asked.Load())
		}
	}
}
