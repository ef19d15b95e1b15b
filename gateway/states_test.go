package gateway

import (
	"fmt"
	"strings"
	"testing"

	"legate/config"
	"legate/config/decode"
)

// BenchmarkStatesOfThousand is what a scrape asks of the gateway, a thousand upstreams
// being there.
func BenchmarkStatesOfThousand(b *testing.B) {
	g := newGate(b, func(o *Options) { o.Upstream.Resolve = everywhere(b) })
	var text strings.Builder
	text.WriteString(everyone)
	for i := range 1000 {
		text.WriteString(strings.Replace(mappingTo(fmt.Sprintf("m%d", i), 1000), "service: up", fmt.Sprintf("service: up-%d", i), 1))
	}
	g.Rehearse(config.Merge(config.Options{}, decode.Bytes(decode.Options{}, "in.yaml", []byte(text.String()))))
	b.ReportAllocs()
	for b.Loop() {
		if n := len(g.upstreamStates()); n != 1000 {
			b.Fatalf("%d upstreams", n)
		}
	}
}
