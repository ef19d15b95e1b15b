package gateway

import (
	"testing"
	"time"

	"legate/wire"
	"legate/wire/h1"
)

// enterLimit returns what one request costs over one that is not limited: three groups of
// labels, with the client's address and two headers.
func enterLimit(t testing.TB) (enter func()) {
	t.Helper()
	g := rehearsed(t, everyone+mapping("x", "/x/", "up:80", `labels: {ambassador: [{g: [few, {request_headers: {key: user, header_name: x-user}}, remote_address]}, {h: [all]}, {i: [{request_headers: {key: plan, header_name: x-plan}}]}]}`)+
		rateLimit("rl", `{pattern: [{generic_key: few}, {user: ""}], rate: 2000000000, unit: day}`, `{pattern: [{generic_key: all}], rate: 2000000000, unit: day}`,
			`{pattern: [{plan: gold}], rate: 2000000000, unit: minute}`))
	a, err := (&Question{URL: "http://a/x/", Headers: []string{"X-User: ann", "X-Plan: gold"}, From: "203.0.113.7"}).understand(g.snap.Load())
	if err != nil {
		t.Fatal(err)
	}
	var head wire.Head
	if perr := h1.ReadRequest(&head, a.head, &g.limits); perr != nil {
		t.Fatal(perr)
	}
	x := begin(g.Gateway, a.stream(g.Gateway), &head)
	x.Client = a.from
	var stage *limit
	for i := range g.snap.Load().routes[0].chain.steps {
		if s, is := g.snap.Load().routes[0].chain.steps[i].stage.(*limit); is {
			stage = s
		}
	}
	return func() {
		x.arena = x.arena[:0]
		if stage.Enter(x) != Continue || len(x.judged.Takes) != 3 {
			t.Fatalf("%d limits were taken", len(x.judged.Takes))
		}
	}
}

// A limited route costs at most a microsecond over one that is not, and allocates nothing.
// Of many tries the best one counts, as other programs only ever make it longer.
func TestAllocsOfALimit(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes everything slower")
	}
	const requests = 1000
	enter := enterLimit(t)
	best := time.Hour
	for range 50 {
		begun := time.Now()
		for range requests {
			enter()
		}
		best = min(best, time.Since(begun)/requests)
	}
	if t.Logf("a request costs %v", best); best > time.Microsecond {
		t.Errorf("a request costs %v, want 1 µs at most", best)
	}
	if n := testing.AllocsPerRun(1000, enter); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLimit(b *testing.B) {
	enter := enterLimit(b)
	for b.Loop() {
		enter()
	}
}
