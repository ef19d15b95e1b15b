package routes

import (
	"fmt"
	"runtime"
	"testing"

	"legate/config"
)

// A shape is a way in which many Mappings differ.
type shape struct {
	name  string
	world func(n int) *config.World
	path  func(i int) string // of a request for Mapping i
}

var shapes = []shape{
	{
		"Prefixes",
		func(n int) *config.World {
			return manyMappings(n, anyHost(), func(i int) (string, string) { return "*", fmt.Sprintf("/service-%05d/", i) })
		},
		func(i int) string { return fmt.Sprintf("GET www.example.com/service-%05d/orders/17", i) },
	},
	{
		"Hostnames", // all under Host "*"
		func(n int) *config.World {
			return manyMappings(n, anyHost(), func(i int) (string, string) { return fmt.Sprintf("www-%05d.example.com", i), "/" })
		},
		func(i int) string { return fmt.Sprintf("GET www-%05d.example.com/orders/17", i) },
	},
	{
		"SharedByHosts", // a thousand Hosts, all of which take every Mapping
		func(n int) *config.World {
			var hosts []config.Host
			for i := range n / 10 {
				hosts = append(hosts, host(fmt.Sprintf("h%05d", i), fmt.Sprintf("www-%05d.example.com", i)))
			}
			return manyMappings(n, hosts, func(i int) (string, string) { return "*", fmt.Sprintf("/service-%05d/", i) })
		},
		func(i int) string { return fmt.Sprintf("GET www-00000.example.com/service-%05d/orders/17", i) },
	},
	{
		"Selected", // a thousand Hosts, each of which selects ten Mappings
		func(n int) *config.World {
			var hosts []config.Host
			for i := range n / 10 {
				hosts = append(hosts, host(fmt.Sprintf("h%05d", i), fmt.Sprintf("www-%05d.example.com", i), selecting("host", fmt.Sprint(i))))
			}
			w := manyMappings(n, hosts, func(i int) (string, string) { return "", fmt.Sprintf("/service-%05d/", i) })
			for i := range w.Mappings {
				w.Mappings[i].Labels = map[string]string{"host": fmt.Sprint(i / 10)}
			}
			return w
		},
		func(i int) string { return fmt.Sprintf("GET www-%05d.example.com/service-%05d/orders/17", i/10, i) },
	},
	{
		"Hosts", // one Host each
		func(n int) *config.World {
			var hosts []config.Host
			for i := range n {
				hosts = append(hosts, host(fmt.Sprintf("h%05d", i), fmt.Sprintf("www-%05d.example.com", i), withTLS))
			}
			return manyMappings(n, hosts, func(i int) (string, string) { return fmt.Sprintf("www-%05d.example.com", i), "/" })
		},
		func(i int) string { return fmt.Sprintf("https www-%05d.example.com/orders/17", i) },
	},
}

func manyMappings(n int, hosts []config.Host, of func(i int) (hostname, prefix string)) *config.World {
	var mappings []*config.Mapping
	for i := range n {
		name, prefix := of(i)
		mappings = append(mappings, mapping(fmt.Sprintf("m%05d", i), prefix, hostname(name)))
	}
	return world(hosts, mappings...)
}

// benchmarkMatch asks for few of the Mappings, spread among them: what is measured
// is the search, not how many requests the cache holds.
func benchmarkMatch(b *testing.B, n int) {
	b.Helper()
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			table, _ := Build(s.world(n), Options{})
			var requests [8]*Request
			for i := range requests {
				requests[i] = ask(s.path(i * n / len(requests)))
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				rt, _, _ := table.Match(requests[i%len(requests)])
				if rt == nil {
					b.Fatal("no route")
				}
				i++
			}
		})
	}
}

func BenchmarkMatch10(b *testing.B)    { benchmarkMatch(b, 10) }
func BenchmarkMatch10000(b *testing.B) { benchmarkMatch(b, 10000) }

// BenchmarkMatchSpread10000 asks for every Mapping in turn, so that nothing is in
// the cache.
func BenchmarkMatchSpread10000(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			table, _ := Build(s.world(10000), Options{})
			requests := make([]*Request, 10000)
			for i := range requests {
				requests[i*7919%10000] = ask(s.path(i))
			}
			i := 0
			for b.Loop() {
				table.Match(requests[i%len(requests)])
				i++
			}
		})
	}
}

func BenchmarkBuild10000(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			w := s.world(10000)
			b.ReportAllocs()
			for b.Loop() {
				Build(w, Options{})
			}
		})
	}
}

// BenchmarkMemory10000 reports what a table keeps beside its World.
func BenchmarkMemory10000(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			w := s.world(10000)
			for b.Loop() {
				before := heap()
				table, _ := Build(w, Options{})
				b.ReportMetric(float64(heap()-before)/10000, "B/mapping")
				runtime.KeepAlive(table)
			}
			runtime.KeepAlive(w)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
