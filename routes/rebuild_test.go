package routes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"legate/config"
)

// FuzzRebuild changes the Mappings of a World some at a time: whatever is done to them, a
// table that is made of the one before says what one does that is made of nothing.
func FuzzRebuild(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(randomBytes(rand.New(rand.NewPCG(seed, 1)), 800))
	}
	f.Fuzz(func(t *testing.T, data []byte) { holdToBuild(t, &source{data}) })
}

// The same with more Worlds than seeds; nearly all that follows is made of what was there.
func TestRebuild(t *testing.T) {
	rounds := 600
	if testing.Short() || raceEnabled {
		rounds = 150
	}
	rng := rand.New(rand.NewPCG(4, 2))
	made, asked := 0, 0
	for range rounds {
		m, a := holdToBuild(t, &source{randomBytes(rng, 1500)})
		made, asked = made+m, asked+a
		if t.Failed() {
			return
		}
	}
	if made < asked*9/10 {
		t.Errorf("%d of %d tables are made of the one before", made, asked)
	}
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// holdToBuild compares the tables of one World after the other, and tells how many were
// made of the one before, of how many.
func holdToBuild(t *testing.T, s *source) (made, asked int) {
	t.Helper()
	w, opts := randomWorld(s)
	if s.one(3) {
		w.Hosts = nil
	}
	if s.one(2) {
		w.Guards = []config.Guard{{Meta: config.Meta{Kind: "FilterPolicy", Name: "g", Namespace: "default"}, Rules: []config.GuardRule{{Host: "*", Path: "/a*"}}}}
	}
	table, _ := Build(w, opts)
	for n := 100; len(s.data) > 40; n += 3 {
		w.Mappings = altered(s, w.Mappings, n)
		before := render(table, nil)
		want, wantProblems := Build(w, opts)
		next, problems, ok := table.Rebuild(w.Mappings)
		asked++
		if !ok { // there was no room between two routes
			next, problems = want, wantProblems
		} else {
			made++
		}
		if got := render(table, nil); got != before {
			t.Fatalf("the table before has changed, from\n%sto\n%s", before, got)
		}
		if got, want := render(next, problems), render(want, wantProblems); got != want {
			t.Fatalf("after %d changes got\n%swant\n%s", asked, got, want)
		}
		for range 3 {
			r := randomRequest(s)
			if got, want := answer(next, r), answer(want, r); got != want {
				t.Fatalf("%s %s: got %s, want %s", r.Head.Host(), r.Head.Target(), got, want)
			}
			holdToJudgement(t, next, r)
		}
		table = next
	}
	return made, asked
}

// altered adds, replaces and takes away up to three Mappings; n and what follows number
// those that are new.
func altered(s *source, mappings []*config.Mapping, n int) []*config.Mapping {
	mappings = slices.Clone(mappings)
	for i := range s.n(4) {
		at := s.n(len(mappings) + 1)
		switch s.n(3) {
		case 0:
			mappings = append(mappings, randomMapping(s, n+i))
		case 1:
			if at < len(mappings) {
				mappings = slices.Delete(mappings, at, at+1)
			}
		default:
			if at < len(mappings) {
				m := *mappings[at]
				m.Service, m.Prefix, m.Shadow = fmt.Sprint("new", n), pick(s, m.Prefix, "/", "/a", "/a/b"), s.one(3)
				mappings[at] = &m
			}
		}
	}
	w := config.World{Mappings: mappings}
	w.Sort()
	return w.Mappings
}

// render writes down all that a table says of its routes, and the problems, in order.
func render(t *Table, problems []config.Problem) string {
	var b strings.Builder
	for i, r := range t.Routes {
		fmt.Fprintf(&b, "%s %s to %s %d%% closed by %q, %+v", r.By, r.Mapping.Prefix, r.Mapping.Service, r.Share, r.ClosedBy, r.Order())
		if i > 0 {
			fmt.Fprintf(&b, " after the other: %s", r.After(t.Routes[i-1]))
		}
		for _, h := range t.HostsOf(r) {
			fmt.Fprintf(&b, " on %s", h.By)
		}
		if r.Shadow != nil {
			fmt.Fprintf(&b, " copied to %s", r.Shadow.By)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "looks at %v\n", t.Looks())
	problems = slices.Clone(problems)
	config.SortProblems(problems)
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// rebuilt adds a Mapping for each text, one after the other, and returns after how many
// there was no room left between two routes; -1 for never.
func rebuilt(t *testing.T, texts []string) int {
	t.Helper()
	w := world(anyHost(), mapping("a", "/a/"), mapping("z", "/a/", header("x", "y")))
	table := build(t, w)
	for i, text := range texts {
		w.Mappings = append(slices.Clone(w.Mappings), mapping(fmt.Sprint("m", i), "/a/", header("x", text)))
		w.Sort()
		next, _, ok := table.Rebuild(w.Mappings)
		if !ok {
			return i
		}
		if i%10 == 0 {
			if got, want := render(next, nil), render(build(t, w), nil); got != want {
				t.Fatalf("got\n%swant\n%s", got, want)
			}
		}
		table = next
	}
	return -1
}

// Routes that come in their order, or against it, always find room; where there is none left
// between two of them, the table is made of nothing again.
func TestRebuildWithoutRoom(t *testing.T) {
	var up, down, between []string
	for i := range 300 {
		up, down = append(up, fmt.Sprintf("yy%03d", i)), append(down, fmt.Sprintf("yy%03d", 300-i))
		text := "yy" + strings.Repeat("ma", i/2) + "m" + strings.Repeat("m", i%2)
		between = append(between, text+strings.Repeat("A", 400-len(text)))
	}
	if n := rebuilt(t, up); n >= 0 {
		t.Errorf("in order: no room after %d routes", n)
	}
	if n := rebuilt(t, down); n >= 0 {
		t.Errorf("against the order: no room after %d routes", n)
	}
	if n := rebuilt(t, between); n < 20 {
		t.Errorf("each between the last two: no room after %d routes, want 20 at least, and an end", n)
	}
}

// BenchmarkRebuild10k is what one changed Mapping among ten thousand costs.
func BenchmarkRebuild10k(b *testing.B) {
	for _, shape := range shapes {
		b.Run(shape.name, func(b *testing.B) {
			w := shape.world(10_000)
			table, _ := Build(w, Options{})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mappings := slices.Clone(w.Mappings)
				m := *mappings[i%len(mappings)]
				m.Service += "x"
				mappings[i%len(mappings)] = &m
				next, _, ok := table.Rebuild(mappings)
				if !ok || len(next.Routes) != 10_000 {
					b.Fatal("the table is made of nothing")
				}
			}
		})
	}
}
