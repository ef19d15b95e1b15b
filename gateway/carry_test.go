package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/config/decode"
)

// A history is a configuration that changes object by object.
type history struct {
	rand    *rand.Rand
	decoder *decode.Decoder
	objects map[int]string // texts; the first belong to no Mapping
	next    int
}

// around are what Mappings depend on: one of each is chosen, so that it can change.
var around = [][]string{
	{everyone, everyone + host("second", `{hostname: "*.example", mappingSelector: {matchLabels: {team: a}}}`), host("a", "{hostname: a.example, tlsSecret: {name: nowhere}}")},
	{"", ambassadorModule("{cluster_request_timeout_ms: 7000}"), ambassadorModule("{resolver: nobody}"), ambassadorModule("{error_response_overrides: [{on_status_code: 503, body: {text_format_source: {filename: /nowhere}}}]}"), ambassadorModule("{default_labels: {ambassador: {defaults: [edge]}}}")},
	{"", "---\napiVersion: getambassador.io/v3alpha1\nkind: TLSContext\nmetadata: {name: context-1}\nspec: {alpn_protocols: h2, secret: nowhere}\n"},
	{"", limitsOf("{pattern: [{generic_key: default}], rate: 1, unit: day}, {pattern: [{generic_key: a}], rate: 2, unit: day}")},
	{"", "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: torn}\nspec: {prefix: [\n"},
}

func host(name, spec string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func ambassadorModule(config string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {name: ambassador}\nspec: {config: " + config + "}\n"
}

func limitsOf(limits string) string {
	return "---\napiVersion: getambassador.io/v3alpha1\nkind: RateLimit\nmetadata: {name: limits}\nspec: {domain: ambassador, limits: [" + limits + "]}\n"
}

// change changes one object or a few: mostly Mappings.
func (h *history) change() {
	for range 1 + h.rand.IntN(3) {
		switch n := h.rand.IntN(20); {
		case n == 0:
			i := h.rand.IntN(len(around))
			h.objects[i] = pick(h.rand, around[i])
		case n < 8 || h.next < 20:
			h.objects[h.next] = h.mapping(h.next)
			h.next++
		default:
			i := len(around) + h.rand.IntN(h.next-len(around))
			if h.objects[i] == "" || n < 14 {
				h.objects[i] = h.mapping(i)
			} else {
				delete(h.objects, i)
			}
		}
	}
}

// mapping is a Mapping of some kind, on one line so that nothing else moves.
func (h *history) mapping(i int) string {
	spec := strings.TrimSuffix(randomMapping(h.rand), "}")
	for _, f := range []string{
		"shadow: true", "grpc: true", "add_request_headers: {x-a: b}", "labels: {ambassador: [{g: [a]}]}", "labels: {ambassador: [{g: [default]}]}", "host_redirect: true",
		"resolver: nobody", "error_response_overrides: [{on_status_code: 503, body: {text_format: oops}}]",
		"add_response_headers: {\"bad name\": x}", "circuit_breakers: [{max_requests: 3}]", "cluster_tag: t",
		"failure_breaker: {consecutive_failures: 2}", "failure_breaker: {failure_ratio: 0.5}",
	} {
		if h.rand.IntN(12) == 0 && !strings.Contains(spec, strings.Fields(f)[0]) {
			spec += ", " + f
		}
	}
	return fmt.Sprintf("---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: m-%d, labels: {team: %s}}\nspec: %s}\n", i, pick(h.rand, teams), spec)
}

// world reads what is there now: Mappings from a file of their own, in which none of them
// ever moves.
func (h *history) world() config.World {
	var beside, mappings strings.Builder
	for i := range h.next {
		switch text := h.objects[i]; {
		case i < len(around):
			beside.WriteString(text)
		case text == "":
			mappings.WriteString(strings.Repeat("\n", strings.Count(h.mapping(i), "\n")))
		default:
			mappings.WriteString(text)
		}
	}
	return config.Merge(config.Options{}, h.decoder.File("beside.yaml", []byte(beside.String())), h.decoder.File("in.yaml", []byte(mappings.String())))
}

// Whatever happens to a configuration, what is made with the help of what was made before
// says and does what is made of nothing.
func TestCarriedOver(t *testing.T) {
	carried, all := 0, 0
	rounds := 15
	if testing.Short() || raceEnabled {
		rounds = 8
	}
	for seed := range uint64(rounds) {
		h := &history{rand: rand.New(rand.NewPCG(seed, 2)), decoder: decode.New(decode.Options{}), objects: map[int]string{0: everyone}, next: len(around)}
		g := newGate(t, func(o *Options) { o.Upstream.Resolve = everywhere(t) })
		for step := range 40 {
			h.change()
			w := h.world()
			before := g.snap.Load().routes
			got := told(g, w)
			if want := told(newGate(t, func(o *Options) { o.Upstream.Resolve = everywhere(t) }), w); got != want {
				t.Fatalf("seed %d, change %d: %s", seed, step, difference(got, want))
			}
			for _, r := range g.snap.Load().routes {
				if all++; slices.Contains(before, r) {
					carried++
				}
			}
		}
	}
	if carried < all/2 {
		t.Errorf("%d of %d routes are carried over", carried, all)
	}
}

// told makes w current and renders all that the gateway says and does by it.
func told(g *gate, w config.World) string {
	problems := g.Rehearse(w)
	s := g.snap.Load()
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String() + "\n")
	}
	views, err := json.MarshalIndent(g.Routes(), "", " ")
	if err != nil {
		g.t.Fatal(err)
	}
	b.Write(views)
	upstreams := g.Upstreams()
	names := make([]string, len(upstreams))
	for i := range upstreams {
		names[i] = upstreams[i].Name
	}
	slices.Sort(names)
	fmt.Fprintf(&b, "\nupstreams %v, revived %v\n", names, s.limits.revived)
	for _, r := range s.routes {
		fmt.Fprintf(&b, "%s: %v %v %s %v, %d overrides, to %+v within %+v:", r.name, r.timeout, r.idle, r.hostRewrite, r.retry, len(r.overrides), specOf(r), r.thresholds)
		for i := range r.chain.steps {
			st := &r.chain.steps[i]
			fmt.Fprintf(&b, " %s %T", st.name, st.stage)
		}
		fmt.Fprintf(&b, " breaker %v", r.breakerKey.settings)
		if r.limit != nil {
			fmt.Fprintf(&b, " %v of %d", r.limit.rules.Descriptors, len(r.limit.rules.Table.Limits))
		}
		b.WriteString("\n")
	}
	return pointer.ReplaceAllString(b.String()+behaviour(s), "")
}

var pointer = regexp.MustCompile(`0x[0-9a-f]+`)

func specOf(r *Route) string {
	if r.upstream == nil {
		return "nowhere"
	}
	return fmt.Sprintf("%+v", *r.upstream.Spec())
}

// difference shows the first line in which two texts differ.
func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// What is carried over holds on to no Snapshot: they would never be freed.
func TestCarriedOverLetsGo(t *testing.T) {
	g := newGate(t, func(o *Options) { o.Upstream.Resolve = everywhere(t) })
	decoder := decode.New(decode.Options{})
	text := func(timeout int) []byte {
		return []byte(everyone + ambassadorModule("{grpc_stats: {all_methods: true}, gzip: {enabled: true}, buffer: {max_request_bytes: 1000}}") +
			mappingTo("a", 1000) + mappingTo("b", timeout))
	}
	apply := func(timeout int) *Snapshot {
		w := config.Merge(config.Options{}, decoder.File("in.yaml", text(timeout)))
		w.Listeners = []config.Listener{plain(0)}
		g.Apply(t.Context(), w)
		return g.snap.Load()
	}
	freed := make(chan struct{})
	kept := func() *Route {
		first := apply(1)
		runtime.AddCleanup(first, func(struct{}) { close(freed) }, struct{}{})
		return first.routes[1]
	}()
	if next := apply(2); !slices.Contains(next.routes, kept) {
		t.Fatal("a route that did not change was made anew")
	}
	for range 20 {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Error("the last Snapshot is still held")
}

func mappingTo(name string, timeout int) string {
	return fmt.Sprintf("---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: %s}\nspec: {hostname: '*', prefix: /%s/, service: up, timeout_ms: %d}\n", name, name, timeout)
}

// A text that is read from a file is read again with every change, as it may be another.
func TestFilesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sorry.txt")
	rule := "error_response_overrides: [{on_status_code: 503, body: {text_format_source: {filename: " + file + "}}}]"
	for name, text := range map[string]string{
		"of the Module":  everyone + ambassadorModule("{"+rule+"}") + mappingTo("a", 1000),
		"of the Mapping": everyone + strings.Replace(mappingTo("a", 1000), "timeout_ms", rule+", timeout_ms", 1),
	} {
		g := newGate(t, func(o *Options) { o.Upstream.Resolve = everywhere(t) })
		decoder := decode.New(decode.Options{})
		var lengths []int
		for i, say := range []string{"sorry", "very sorry"} {
			if err := os.WriteFile(file, []byte(say), 0o600); err != nil {
				t.Fatal(err)
			}
			g.Rehearse(config.Merge(config.Options{}, decoder.File("in.yaml", []byte(text+mappingTo("b", i)))))
			text, _ := g.snap.Load().routes[1].overrides[0].body.Constant() // b comes before a
			lengths = append(lengths, len(text))
		}
		if want := []int{5, 10}; !slices.Equal(lengths, want) {
			t.Errorf("%s: got texts of %v bytes, want %v", name, lengths, want)
		}
	}
}
