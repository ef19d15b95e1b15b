package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/config/decode"
	"legate/upstream"
)

// tenThousand is a cluster's dump of as many Mappings to as many services; the changed
// one has another timeout.
func tenThousand(changed, timeout int) []byte {
	var b strings.Builder
	b.WriteString("---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: shop}\nspec: {hostname: \"*.example.com\"}\n")
	for i := range 10_000 {
		ms := 3000
		if i == changed {
			ms = timeout
		}
		fmt.Fprintf(&b, `---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata:
  name: mapping-%05d
  namespace: shop
spec:
  hostname: shop-%02d.example.com
  prefix: /service-%05d/
  service: service-%05d.shop:8080
  timeout_ms: %d
`, i, i%100, i, i, ms)
	}
	return []byte(b.String())
}

// A feed is a source that yields what it is told.
type feed chan []*config.Object

func (f feed) Watch(ctx context.Context, yield func([]*config.Object)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-f:
			yield(set)
		}
	}
}

// loaded is a gateway with a loop that does not wait, and what is applied.
func loaded(t testing.TB) (source feed, applied <-chan *Snapshot) {
	t.Helper()
	g := newGate(t, func(o *Options) { o.Upstream.Resolve = everywhere(t) })
	source = make(feed)
	snapshots, done := make(chan *Snapshot), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	loop := config.Loop{Sources: []config.Source{source}, Quiet: time.Nanosecond, Apply: func(w config.World, instead config.Instead) []config.Problem {
		w.Listeners = []config.Listener{plain(0)}
		problems := g.ApplyOr(ctx, w, instead)
		select {
		case snapshots <- g.snap.Load():
		case <-ctx.Done():
		}
		return problems
	}}
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return source, snapshots
}

// everywhere leads every name to one address, so that nothing is looked up.
func everywhere(t testing.TB) []upstream.Override {
	t.Helper()
	o, err := upstream.ParseOverride("*=127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	return []upstream.Override{o}
}

// BenchmarkLoad10k is what ten thousand Mappings cost from their text to their serving
// when nothing of them is known.
func BenchmarkLoad10k(b *testing.B) {
	text := tenThousand(-1, 0)
	b.ReportAllocs()
	for b.Loop() {
		source, applied := loaded(b)
		source <- decode.Bytes(decode.Options{}, "all.yaml", text)
		if s := <-applied; len(s.routes) != 10_000 {
			b.Fatalf("%d routes, %d problems", len(s.routes), len(s.Problems))
		}
	}
}

// BenchmarkChange10k is what one change among ten thousand Mappings costs, without the
// waiting for quiet.
func BenchmarkChange10k(b *testing.B) {
	decoder := decode.New(decode.Options{})
	source, applied := loaded(b)
	source <- decoder.File("all.yaml", tenThousand(0, 1))
	<-applied
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		text := tenThousand(i%10_000, 4000+i)
		b.StartTimer()
		source <- decoder.File("all.yaml", text)
		<-applied
	}
}

// BenchmarkCompile10k is what making ten thousand Mappings ready costs when nothing of
// what served before can be carried over: half a second of one core at most.
func BenchmarkCompile10k(b *testing.B) {
	g := newGate(b, func(o *Options) { o.Upstream.Resolve = everywhere(b) })
	w := read(string(tenThousand(-1, 0)))
	b.ReportAllocs()
	for b.Loop() {
		if s := g.compile(w, &Snapshot{}); len(s.routes) != 10_000 {
			b.Fatalf("%d routes, %d problems", len(s.routes), len(s.Problems))
		}
	}
}
