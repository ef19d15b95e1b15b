package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/config/decode"
	"legate/routes"
	"legate/wire"
)

// A part is one object in three versions: as its author wishes, broken, and what is left
// without what is broken.
type part struct{ good, broken, absent string }

// parts makes n objects, each of its own name.
func parts(r *rand.Rand, n int) []part {
	list := make([]part, n)
	for i := range list {
		switch r.IntN(8) {
		case 0:
			list[i] = breakable(r, "Host", fmt.Sprintf("host-%d", i), fmt.Sprintf(
				`{hostname: %q, requestPolicy: {insecure: {action: %s}}, mappingSelector: {matchLabels: {team: %q}}}`,
				pick(r, names), pick(r, []string{"Route", "Redirect", "Reject"}), pick(r, teams)))
		case 1:
			list[i] = breakable(r, "Listener", fmt.Sprintf("listener-%d", i), fmt.Sprintf(
				`{port: %d, protocol: HTTP, securityModel: %s, hostBinding: {namespace: {from: ALL}}, l7Depth: %d}`,
				8000+r.IntN(3), pick(r, []string{"XFP", "SECURE", "INSECURE"}), r.IntN(2)))
		case 2:
			list[i] = annotated(r, i)
		case 3:
			list[i] = breakable(r, "TLSContext", fmt.Sprintf("context-%d", i), `{alpn_protocols: "h2, http/1.1"}`)
		default:
			list[i] = breakable(r, "Mapping", fmt.Sprintf("mapping-%d", i), randomMapping(r))
		}
	}
	return list
}

var (
	names = []string{"*", "a.example", "b.example", "*.example"}
	teams = []string{"a", "b"}
	paths = []string{"/", "/a/", "/a/b", "/b/"}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func randomMapping(r *rand.Rand) string {
	fields := []string{
		"prefix: " + pick(r, paths), fmt.Sprintf("hostname: %q", pick(r, names)), fmt.Sprintf("service: up-%d", r.IntN(5)),
		fmt.Sprintf("timeout_ms: %d", 1000*r.IntN(5)), fmt.Sprintf("precedence: %d", r.IntN(2)),
	}
	for _, f := range []string{"method: GET", "weight: 30", "prefix_exact: true", `headers: {x-a: "1"}`, "rewrite: /x/", "tls: context-1"} {
		if r.IntN(4) == 0 {
			fields = append(fields, f)
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// breakable returns an object with a good spec and some way to break it.
func breakable(r *rand.Rand, kind, name, spec string) part {
	object := func(version, metadata, spec string) string {
		return fmt.Sprintf("---\napiVersion: getambassador.io/%s\nkind: %s\nmetadata: %s\nspec: %s\n", version, kind, metadata, spec)
	}
	metadata := fmt.Sprintf("{name: %s, labels: {team: %s}}", name, pick(r, teams))
	ways := []string{
		object("v3alpha1", metadata, "[no spec]"),
		object("v3alpha1", metadata, "a word"),
		object("v9", metadata, spec),
		object("v3alpha1", "{}", spec),
		object("v3alpha1", "none", spec),
		object("v3alpha1", metadata, spec) + "  torn: [\n",
		object("v3alpha1", metadata, strings.TrimSuffix(spec, "}")+", "+map[string]string{
			"Host": "tlsSecret: [x]", "Listener": "protocolStack: [HTTPS]", "TLSContext": "min_tls_version: old",
			"Mapping": pick(r, []string{"cluster_idle_timeout_ms: soon", `prefix_regex: true, rewrite: ["("]`, "resolver: nobody", "weight: [1]", "regex_headers: {x: '('}"}),
		}[kind]+"}"),
		"---\n- " + name + "\n",
		"---\n\tkind: " + kind + "\n",
	}
	return part{good: object("v3alpha1", metadata, spec), broken: pick(r, ways)}
}

// annotated is a Service with two documents in its annotation, of which one is broken.
func annotated(r *rand.Rand, i int) part {
	service := func(documents ...string) string {
		text := fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata:\n  name: service-%d\n  labels: {team: a}\n", i)
		if len(documents) > 0 {
			text += "  annotations:\n    getambassador.io/config: |\n"
		}
		for _, d := range documents {
			text += "      " + strings.ReplaceAll("---\n"+d, "\n", "\n      ") + "\n"
		}
		return text
	}
	document := func(n int, more string) string {
		return fmt.Sprintf("apiVersion: getambassador.io/v2\nkind: Mapping\nname: annotated_%d_%d\nprefix: %s\nservice: up-%d%s", i, n, pick(r, paths), r.IntN(5), more)
	}
	first, second := document(1, ""), document(2, "")
	broken := pick(r, []string{second + "\ntimeout_ms: soon", strings.Replace(second, "prefix", "prefx", 1), "- " + second[:5], strings.Replace(second, "v2", "v0", 1)})
	return part{good: service(first, second), broken: service(first, broken), absent: service(first)}
}

// write joins parts, those for which broken is true in the version that version chooses.
func write(list []part, broken []bool, version func(part) string) string {
	var b strings.Builder
	b.WriteString(everyone)
	for i, p := range list {
		if broken[i] {
			b.WriteString(version(p))
		} else {
			b.WriteString(p.good)
		}
	}
	return b.String()
}

// behaviour renders what a Snapshot does with requests of every kind that the parts tell
// apart, on every Listener.
func behaviour(s *Snapshot) string {
	var b strings.Builder
	for i := range s.world.Listeners {
		l := &s.world.Listeners[i]
		fmt.Fprintf(&b, "%s %d %+v\n", l.FullName(), l.Port, s.listeners[i])
		for _, host := range []string{"a.example", "b.example", "c.example", "other"} {
			for _, path := range []string{"/", "/a/", "/a/b", "/a/b/c", "/b/x", "/c"} {
				for n := range 8 {
					fmt.Fprintf(&b, "  %s%s %d: %s\n", host, path, n, matched(s, i, host, path, n))
				}
			}
		}
	}
	return b.String()
}

// matched renders what becomes of one request; n chooses among its kinds.
func matched(s *Snapshot, listener int, host, path string, n int) string {
	head := &wire.Head{}
	method, field := []string{"GET", "POST"}[n&1], []string{"x-a: 1", "x-b: 1"}[n>>1&1]
	head.BuildRequest(method, host, path, field)
	if err := head.NormalizePath(wire.PathRules{}); err != nil {
		return err.Error()
	}
	rt, h, reason := s.table.Match(&routes.Request{Head: head, Listener: listener, Secure: n>>2 == 1, Roll: uint8(40 * (n >> 2))})
	text := reason.String()
	if h != nil {
		text += " " + h.By
	}
	if rt != nil {
		r := readyRoute(rt)
		text += fmt.Sprintf(" %s to %s in %v, rewritten %v, %d%%, closed by %q", r.name, r.upstreamName, r.timeout, rt.Mapping.Rewrite != nil, rt.Share, rt.ClosedBy)
	}
	return text
}

// Of any objects, those that are not broken serve exactly as if the broken ones did not
// exist; and after a change that breaks some, everything serves exactly as before it.
func TestBrokenObjectsHarmNobody(t *testing.T) {
	g := newGate(t)
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		list := parts(r, 5+r.IntN(30))
		broken := make([]bool, len(list))
		for range 1 + r.IntN(len(list)) {
			broken[r.IntN(len(list))] = true
		}
		good := write(list, broken, func(p part) string { return p.good })
		harmed := write(list, broken, func(p part) string { return p.broken })
		without := write(list, broken, func(p part) string { return p.absent })

		if got, want := behaviour(compiled(g, harmed)), behaviour(compiled(g, without)); got != want {
			t.Fatalf("seed %d: with broken objects:\n%s\nwithout them:\n%s\nof:\n%s", seed, got, want, harmed)
		}
		first, then := changed(t, g, good, harmed)
		if first != then {
			t.Fatalf("seed %d: before the change:\n%s\nafter it:\n%s\nof:\n%s", seed, first, then, harmed)
		}
	}
}

// compiled is what a process makes that starts with manifests.
func compiled(g *gate, manifests string) *Snapshot {
	return g.compile(config.Merge(config.Options{}, decode.Bytes(decode.Options{}, "in.yaml", []byte(manifests))), g.snap.Load())
}

// A change is a Source that yields one set after another, each when it is asked to.
type change chan string

func (c change) Watch(ctx context.Context, yield func([]*config.Object)) error {
	decoder := decode.New(decode.Options{})
	for {
		select {
		case <-ctx.Done():
			return nil
		case manifests := <-c:
			yield(decoder.File("in.yaml", []byte(manifests)))
		}
	}
}

// changed is what a process does with manifests, and after it has seen them changed.
func changed(t *testing.T, g *gate, before, after string) (first, then string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	source, made := make(change), make(chan string, 2)
	loop := config.Loop{
		Sources: []config.Source{source},
		Quiet:   time.Microsecond,
		Apply: func(w config.World, instead config.Instead) []config.Problem {
			s := g.compile(w, g.snap.Load())
			for better, ok := instead(s.Problems); ok; better, ok = instead(s.Problems) {
				s = g.compile(better, g.snap.Load())
			}
			made <- behaviour(s)
			return s.Problems
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()
	source <- before
	first = <-made
	source <- after
	select {
	case then = <-made:
	case <-ctx.Done():
		t.Fatal("the change was not taken up")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return first, then
}
