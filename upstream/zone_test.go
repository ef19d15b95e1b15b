package upstream

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"legate/config"
)

// instancesOf reads "zone" or "zone>hint,hint" for each instance; "-" is no zone. The
// first is 10.0.0.1.
func instancesOf(text string) (list []instance) {
	for i, word := range strings.Fields(text) {
		zone, hints, hinted := strings.Cut(word, ">")
		in := instance{addr: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i+1)), zone: strings.Trim(zone, "-")}
		if hinted {
			in.zones = strings.Split(hints, ",")
		}
		list = append(list, in)
	}
	return list
}

func TestNear(t *testing.T) {
	for _, row := range []struct{ name, list, zone, want string }{
		{"nobody knows where we are", "a b", "", "1 2"},
		{"nobody knows where they are", "- -", "a", "1 2"},
		{"those of our zone", "a b a c", "a", "1 3"},
		{"none in our zone", "b c", "a", "1 2"},
		{"one zone has all", "a a a", "a", "1 2 3"},
		{"a third of six, among three zones", "a a b b c c", "a", "1 2"},
		{"half a share is enough", "a b b b", "a", "1"},
		{"less than half a share is not", "a b b b b", "a", "1 2 3 4 5"},
		{"a share of three zones", "a b b b c c", "a", "1"},
		{"less than half of that", "a b b b c c c", "a", "1 2 3 4 5 6 7"},
		{"who is nowhere is elsewhere", "a - -", "a", "1"},
		{"the cluster's word counts before", "b>a c>a a>b", "a", "1 2"},
		{"also for few", "a>a b>b b>b b>b b>b b>b", "a", "1"},
		{"for two zones", "b>b,a c>c a>a", "a", "1 3"},
		{"for nobody here", "b>b c>c a>b", "a", "1 2 3"},
		{"it counts only where it is about all", "b>a a", "a", "2"},
	} {
		var got []string
		for _, in := range near(instancesOf(row.list), row.zone) {
			got = append(got, strings.TrimPrefix(in.addr.Addr().String(), "10.0.0."))
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s: of %q from zone %q: got %v, want %s", row.name, row.list, row.zone, got, row.want)
		}
	}
}

// zones is a Service with one instance in each of two zones, on the nodes n1 and n2.
func zones() *config.World {
	w := &config.World{Services: []config.Service{{Meta: meta("Service", "web", "shop"), Ports: []config.ServicePort{{Port: 80}}}}}
	s := config.EndpointSlice{Meta: meta("EndpointSlice", "web", "shop"), Service: "web", Ports: []config.EndpointPort{{Port: 80}}}
	for i, zone := range []string{"a", "b"} {
		e := ready(fmt.Sprintf("10.0.0.%d", i+1))
		e.Zone, e.Node = zone, fmt.Sprintf("n%d", i+1)
		s.Endpoints = append(s.Endpoints, e)
	}
	w.EndpointSlices = []config.EndpointSlice{s}
	return w
}

// The own zone is what somebody said, or what is known of the own node, also once nothing
// runs there any more. Who shares requests by hashes knows no zones.
func TestOwnZone(t *testing.T) {
	elsewhere := zones()
	elsewhere.EndpointSlices[0].Endpoints[0].Node = "n9"
	for _, row := range []struct {
		name       string
		opts       Options
		worlds     []*config.World
		balance    config.BalancePolicy
		want, told string
	}{
		{"of the node", Options{Node: "n2"}, []*config.World{zones()}, config.RoundRobin, "10.0.0.2:80", "zone=b"},
		{"of the flag", Options{Node: "n2", Zone: "a"}, []*config.World{zones()}, config.LeastRequest, "10.0.0.1:80", ""},
		{"of no node", Options{}, []*config.World{zones()}, config.RoundRobin, "10.0.0.1:80 10.0.0.2:80", ""},
		{"of a node on which nothing runs", Options{Node: "n3"}, []*config.World{zones()}, config.RoundRobin, "10.0.0.1:80 10.0.0.2:80", ""},
		{"of a node on which something ran", Options{Node: "n1"}, []*config.World{zones(), elsewhere}, config.RoundRobin, "10.0.0.1:80", "zone=a"},
		{"of a node on which something runs later", Options{Node: "n1"}, []*config.World{elsewhere, zones()}, config.RoundRobin, "10.0.0.1:80", "zone=a"},
		{"where rings must be equal", Options{Node: "n2"}, []*config.World{zones()}, config.RingHash, "10.0.0.1:80 10.0.0.2:80", "zone=b"},
		{"where tables must be equal", Options{Node: "n2"}, []*config.World{zones()}, config.Maglev, "10.0.0.1:80 10.0.0.2:80", "zone=b"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log strings.Builder
			row.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
			r, err := NewResolver(row.opts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.Close)
			var u *Upstream
			var set *Set
			for _, w := range row.worlds {
				set = NewSet(r, w, set, nil)
				u = set.Get(Spec{Host: "web.shop", Port: 80, Source: FromEndpoints, Balance: row.balance})
				set.Start()
			}
			t.Cleanup(func() { set.Retire(nil) })
			if got := addresses(u); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			if n := strings.Count(log.String(), "own zone"); n > 1 || (n == 1) != (row.told != "") || !strings.Contains(log.String(), row.told) {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}
