package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func ready(list ...string) config.Endpoint {
	return config.Endpoint{Addresses: addrs(list...), Ready: true, Serving: true}
}

// shop is a cluster with Services of every shape.
func shop() *config.World {
	port := func(name string, n int) config.EndpointPort {
		return config.EndpointPort{Name: name, Port: n, Protocol: "TCP"}
	}
	slice := func(name, service string, ports []config.EndpointPort, ends ...config.Endpoint) config.EndpointSlice {
		return config.EndpointSlice{Meta: meta("EndpointSlice", name, "shop"), Service: service, Ports: ports, Endpoints: ends}
	}
	service := func(name string, ports ...config.ServicePort) config.Service {
		return config.Service{Meta: meta("Service", name, "shop"), Ports: ports}
	}
	down := config.Endpoint{Addresses: addrs("10.0.0.9")}
	ending := func(ready, serving bool, addr string) config.Endpoint {
		return config.Endpoint{Addresses: addrs(addr), Ready: ready, Serving: serving, Ending: true}
	}
	return &config.World{
		Services: []config.Service{
			service("orders", config.ServicePort{Name: "http", Port: 80, TargetPort: "web"}, config.ServicePort{Name: "admin", Port: 9000, TargetPort: "9001"}),
			service("old", config.ServicePort{Port: 80, TargetPort: "8080"}),
			service("both", config.ServicePort{Port: 80, TargetPort: "8080"}),
			service("hand", config.ServicePort{Name: "http", Port: 80, TargetPort: "8080"}),
			service("free", config.ServicePort{Port: 80, TargetPort: "8080"}),
			service("dual", config.ServicePort{Port: 80}),
			service("down", config.ServicePort{Port: 80}),
			service("empty", config.ServicePort{Port: 80}),
			service("leaving", config.ServicePort{Port: 80}),
			service("left", config.ServicePort{Port: 80}),
			service("gone", config.ServicePort{Port: 80}),
			service("mixed", config.ServicePort{Name: "quic", Port: 443, Protocol: "UDP", TargetPort: "quic"}, config.ServicePort{Name: "https", Port: 443, Protocol: "TCP", TargetPort: "tls"}),
			service("udp", config.ServicePort{Name: "dns", Port: 53}),
			{Meta: meta("Service", "orders", "default"), Ports: []config.ServicePort{{Port: 80}}},
		},
		Endpoints: []config.Endpoints{
			{Meta: meta("Endpoints", "old", "shop"), Subsets: []config.EndpointSubset{
				{Ready: addrs("10.0.1.2", "10.0.1.1"), NotReady: addrs("10.0.1.3"), Ports: []config.EndpointPort{port("", 8080)}},
				{Ready: addrs("10.0.1.4"), Ports: []config.EndpointPort{port("", 8081)}},
			}},
			{Meta: meta("Endpoints", "both", "shop"), Subsets: []config.EndpointSubset{{Ready: addrs("10.0.2.1"), Ports: []config.EndpointPort{port("", 8080)}}}},
			{Meta: meta("Endpoints", "hand", "shop"), Subsets: []config.EndpointSubset{{Ready: addrs("10.0.3.1"), Ports: []config.EndpointPort{port("", 8080)}}}},
			{Meta: meta("Endpoints", "orders", "default"), Subsets: []config.EndpointSubset{{Ready: addrs("10.0.9.1"), Ports: []config.EndpointPort{port("", 80)}}}},
		},
		EndpointSlices: []config.EndpointSlice{
			slice("orders-1", "orders", []config.EndpointPort{port("http", 8080), port("admin", 9001)}, ready("10.0.0.2"), ready("10.0.0.1"), down),
			slice("orders-2", "orders", []config.EndpointPort{port("http", 8081)}, ready("10.0.0.3"), ready("10.0.0.1")),
			slice("both-1", "both", []config.EndpointPort{port("", 8080)}, ready("10.0.2.2")),
			slice("free-1", "free", []config.EndpointPort{port("", 0)}, ready("10.0.4.1")),
			slice("dual-4", "dual", []config.EndpointPort{port("", 80)}, ready("10.0.5.1")),
			slice("dual-6", "dual", []config.EndpointPort{port("", 80)}, ready("fd00::1")),
			slice("down-1", "down", []config.EndpointPort{port("", 80)}, down),
			slice("leaving-1", "leaving", []config.EndpointPort{port("", 80)}, ending(false, true, "10.0.8.1"), ending(true, true, "10.0.8.2"), ready("10.0.8.3")),
			slice("left-1", "left", []config.EndpointPort{port("", 80)}, ending(false, true, "10.0.8.4"), ending(true, true, "10.0.8.5"), ending(false, false, "10.0.8.6"), down),
			slice("gone-1", "gone", []config.EndpointPort{port("", 80)}, ending(false, false, "10.0.8.7")),
			slice("udp-1", "udp", []config.EndpointPort{{Name: "dns", Port: 53, Protocol: "UDP"}}, ready("10.0.6.1")),
			slice("mixed-1", "mixed", []config.EndpointPort{{Name: "quic", Port: 8444, Protocol: "UDP"}, port("https", 8443)}, ready("10.0.6.2")),
			slice("stray", "", []config.EndpointPort{port("", 80)}, ready("10.0.7.1")),
		},
	}
}

func TestDirectory(t *testing.T) {
	d := newDirectory(shop())
	for _, row := range []struct {
		host   string
		port   uint16
		family Family
		want   string
		err    error
	}{
		{"orders.shop", 80, IPv4, "10.0.0.1:8080 10.0.0.1:8081 10.0.0.2:8080 10.0.0.3:8081", nil},
		{"orders.shop.svc.cluster.local", 80, IPv4, "10.0.0.1:8080 10.0.0.1:8081 10.0.0.2:8080 10.0.0.3:8081", nil},
		{"orders.shop", 9000, IPv4, "10.0.0.1:9001 10.0.0.2:9001", nil},
		{"orders", 80, IPv4, "10.0.9.1:80", nil}, // of the gateway's own namespace
		{"old.shop", 80, IPv4, "10.0.1.1:8080 10.0.1.2:8080 10.0.1.4:8081", nil},
		{"both.shop", 80, IPv4, "10.0.2.2:8080", nil}, // slices are what Endpoints are copied to
		{"hand.shop", 80, IPv4, "10.0.3.1:8080", nil},
		{"free.shop", 80, IPv4, "10.0.4.1:8080", nil},
		{"dual.shop", 80, IPv4, "10.0.5.1:80", nil},
		{"dual.shop", 80, IPv6, "[fd00::1]:80", nil},
		{"dual.shop", 80, PreferIPv6, "[fd00::1]:80", nil},
		{"old.shop", 80, IPv6, "10.0.1.1:8080 10.0.1.2:8080 10.0.1.4:8081", nil}, // better than none
		{"orders.shop", 8080, IPv4, "", errNoPort},                               // the pods', not the Service's
		{"leaving.shop", 80, IPv4, "10.0.8.3:80", nil},                           // who is about to end is not asked any more,
		{"left.shop", 80, IPv4, "10.0.8.4:80 10.0.8.5:80", nil},                  // unless nobody else can answer
		{"gone.shop", 80, IPv4, "", errNotReady},
		{"down.shop", 80, IPv4, "", errNotReady},
		{"empty.shop", 80, IPv4, "", errNotReady},
		{"mixed.shop", 443, IPv4, "10.0.6.2:8443", nil}, // for the protocol that is spoken
		{"udp.shop", 53, IPv4, "", errWrongPorts},
		{"nobody.shop", 80, IPv4, "", errNoService},
		{"orders.elsewhere", 80, IPv4, "", errNoService},
	} {
		list, err := d.find(row.host, row.port, row.family, "default", "")
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != row.want || !errors.Is(err, row.err) {
			t.Errorf("%s:%d: got %q %v, want %q %v", row.host, row.port, got, err, row.want, row.err)
		}
	}
}

// Endpoints that change move requests and cut no connection; the upstream stays the
// same, so its counters do.
func TestEndpointsMove(t *testing.T) {
	r, err := NewResolver(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	spec := Spec{Host: "old.shop", Port: 80, Source: FromEndpoints, ConnectTimeout: time.Second, IdleTimeout: time.Hour}
	w := shop()
	first := NewSet(r, w, nil, nil)
	u := first.Get(spec)
	u.connect = func(c *conn, _ time.Time) (decision.Reason, error) {
		c.link = &fakeLink{c: c}
		return decision.None, nil
	}
	first.Start()
	if got := addresses(u); got != "10.0.1.1:8080 10.0.1.2:8080 10.0.1.4:8081" {
		t.Fatalf("got %s", got)
	}
	links := []*fakeLink{open(t, u), open(t, u), open(t, u), open(t, u)}
	resting := links[3]
	resting.Release()

	w = shop()
	w.Endpoints[0].Subsets = []config.EndpointSubset{{Ready: addrs("10.0.1.2", "10.0.1.7"), Ports: []config.EndpointPort{{Port: 8080}}}}
	second := NewSet(r, w, first, nil)
	if second.Get(spec) != u {
		t.Fatal("the upstream was not carried over")
	}
	second.Start()
	first.Retire(second)
	if got := addresses(u); got != "10.0.1.2:8080 10.0.1.7:8080" {
		t.Fatalf("got %s", got)
	}
	for _, l := range links[:3] {
		if l.shut.Load() {
			t.Errorf("the connection to %s was cut", l.Endpoint())
		}
		l.Release()
		if stays := l.Endpoint() == "10.0.1.2:8080"; l.shut.Load() == stays {
			t.Errorf("after its exchange the connection to %s: closed is %v", l.Endpoint(), l.shut.Load())
		}
	}
	if want := resting.Endpoint() != "10.0.1.2:8080"; resting.shut.Load() != want {
		t.Errorf("the idle connection to %s: closed is %v, want %v", resting.Endpoint(), !want, want)
	}

	third := NewSet(r, &config.World{}, second, nil)
	third.Get(spec)
	third.Start()
	t.Cleanup(func() { third.Retire(nil) })
	if l, reason, err := u.Open(time.Now(), Choice{}); l != nil || reason != decision.NoEndpoints || !errors.Is(err, errNoService) {
		t.Errorf("without the Service: got %v %v %v", l, reason, err)
	}
}

func addresses(u *Upstream) string {
	states, _ := u.Endpoints()
	var list []string
	for _, s := range states {
		list = append(list, s.Address)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// An address needs no Service, and --resolve counts before all.
func TestEndpointsDirect(t *testing.T) {
	override, err := ParseOverride("orders.shop=127.0.0.1:7000")
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewResolver(Options{Resolve: []Override{override}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	set := NewSet(r, shop(), nil, nil)
	for host, want := range map[string]string{"10.1.1.1": "10.1.1.1:80", "orders.shop": "127.0.0.1:7000", "hand.shop": "10.0.3.1:8080"} {
		u := set.Get(Spec{Host: host, Port: 80, Source: FromEndpoints})
		t.Run(host, func(t *testing.T) {
			set.Start()
			if got := addresses(u); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
		set = NewSet(r, shop(), nil, nil)
	}
}

func BenchmarkDirectory(b *testing.B) {
	w := &config.World{}
	for i := range 2000 {
		name := fmt.Sprintf("s%d", i)
		w.Services = append(w.Services, config.Service{Meta: meta("Service", name, "x"), Ports: []config.ServicePort{{Port: 80}}})
		w.EndpointSlices = append(w.EndpointSlices, config.EndpointSlice{Meta: meta("EndpointSlice", name, "x"), Service: name,
			Ports: []config.EndpointPort{{Port: 80}}, Endpoints: []config.Endpoint{ready("10.0.0.1"), ready("10.0.0.2"), ready("10.0.0.3")}})
	}
	for b.Loop() {
		d := newDirectory(w)
		for i := range 2000 {
			if _, err := d.find(w.Services[i].FullName(), 80, IPv4, "default", ""); err != nil {
				b.Fatal(err)
			}
		}
	}
}
