package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"legate/limiter"
)

// A stopped store counts by a clock that a test moves: 15 seconds into a minute.
type stopped struct {
	*limiter.Memory
	ahead atomic.Int64 // of that moment
	down  atomic.Bool
}

func newStopped() *stopped { return &stopped{Memory: limiter.NewMemory(0)} }

var errDown = errors.New("store is down")

func (s *stopped) Take(_ time.Duration, takes []limiter.Take, _ time.Time, peek bool) error {
	if s.down.Load() {
		for i := range takes {
			takes[i].Unknown = takes[i].Window.Unit == time.Minute // others are elsewhere
		}
		err := s.take(takes, peek)
		if slices.ContainsFunc(takes, func(t limiter.Take) bool { return t.Unknown }) {
			err = errDown
		}
		return err
	}
	return s.take(takes, peek)
}

// take counts what is not Unknown.
func (s *stopped) take(takes []limiter.Take, peek bool) error {
	now := time.Date(2026, 3, 1, 12, 0, 15, 0, time.UTC).Add(time.Duration(s.ahead.Load()))
	for i := range takes {
		if takes[i].Unknown {
			continue
		}
		if err := s.Memory.Take(0, takes[i:i+1], now, peek); err != nil {
			return err
		}
	}
	return nil
}

func (s *stopped) use(o *Options) { o.Limits.Store = s }

func rateLimit(name string, limits ...string) string {
	return fmt.Sprintf("\n---\napiVersion: getambassador.io/v3alpha1\nkind: RateLimit\nmetadata: {name: %s}\nspec: {domain: ambassador, limits: [%s]}\n", name, strings.Join(limits, ", "))
}

var limited = verdict{"limit", "over_limit", 429}

// Which requests count together, and what the one too many is told.
func TestLimit(t *testing.T) {
	const ten, one = "rate: 10, unit: minute", "rate: 1, unit: minute"
	for _, row := range []struct {
		name, limits string
		fields       []string // of the Mapping
		beside       string   // further manifests
		requests     []string // each header lines, and after "=>" whether it is limited
	}{
		{"without labels nobody counts", "{pattern: [{generic_key: a}], " + one + "}", nil, "", []string{"", ""}},
		{"a label of the Mapping", "{pattern: [{generic_key: a}], " + one + "}", []string{`labels: {ambassador: [{g: [{generic_key: {value: a}}]}]}`}, "", []string{"", "=> limited"}},
		{"another domain", "{pattern: [{generic_key: a}], " + one + "}", []string{`labels: {other: [{g: [{generic_key: {value: a}}]}]}`}, "", []string{"", ""}},
		{"one counter for each user", "{pattern: [{user: \"*\"}], " + one + "}", []string{`labels: {ambassador: [{g: [{request_headers: {key: user, header_name: x-user}}]}]}`}, "",
			[]string{"x-user: ann", "x-user: bob", "x-user: ann => limited", "", "x-user: => ", "x-user: => limited"}},
		{"a repeated header counts by its first line", "{pattern: [{user: ann}], " + one + "}", []string{`labels: {ambassador: [{g: [{request_headers: {key: user, header_name: x-user}}]}]}`}, "",
			[]string{"x-user: ann|x-user: bob", "x-user: bob|x-user: ann", "x-user: ann => limited"}},
		{"any group that refuses", "{pattern: [{generic_key: a}], " + ten + "}, {pattern: [{generic_key: b}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}, {h: [b]}]}`}, "", []string{"", "=> limited"}},
		{"who only logs refuses nobody", "{action: LogOnly, pattern: [{generic_key: a}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}]}`}, "", []string{"", "", ""}},
		{"a rate of nothing", "{pattern: [{generic_key: a}], rate: 0, unit: day}", []string{`labels: {ambassador: [{g: [a]}]}`}, "", []string{"=> limited"}},
		{"the client's address", "{pattern: [{remote_address: 203.0.113.7}], " + one + "}", []string{`labels: {ambassador: [{g: [remote_address]}]}`}, module("xff_num_trusted_hops: 0"), []string{"", ""}},
		{"method and path", "{pattern: [{m: GET}, {p: \"/x/?a=1\"}], " + one + "}", []string{`labels: {ambassador: [{g: [{request_headers: {key: m, header_name: ":method"}}, {request_headers: {key: p, header_name: ":path"}}]}]}`}, "", []string{"", "=> limited"}},
		{"cluster names", "{pattern: [{source_cluster: edge-default}, {destination_cluster: \"\"}], " + one + "}", []string{`labels: {ambassador: [{g: [source_cluster, destination_cluster]}]}`}, "", []string{"", "=> limited"}},
		{"the Module's defaults alone", "{pattern: [{generic_key: all}], " + one + "}", nil, module(`default_labels: {ambassador: {defaults: [{generic_key: all}]}}`), []string{"", "=> limited"}},
		{"the Module's defaults before each group", "{pattern: [{generic_key: all}, {generic_key: a}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}]}`},
			module(`default_labels: {ambassador: {defaults: [{generic_key: all}]}}`), []string{"", "=> limited"}},
		{"a default that is missing drops the groups", "{pattern: [{user: \"\"}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}]}`},
			module(`default_labels: {ambassador: {defaults: [{request_headers: {key: user, header_name: x-user}}]}}`), []string{"", "", "x-user: u", "x-user: u => limited"}},
		{"defaults do not join labels of another domain", "{pattern: [{generic_key: all}], " + one + "}", []string{`labels: {other: [{g: [a]}]}`},
			module(`default_labels: {ambassador: {defaults: [{generic_key: all}]}}`), []string{"", ""}},
		{"the Module's domain", "{pattern: [{generic_key: a}], " + one + "}", []string{`labels: {mine: [{g: [a]}]}`}, module("default_label_domain: mine"), []string{"", ""}},
		{"the oldest spelling", "{pattern: [{generic_key: a}, {x-user: \"\"}], " + one + "}", []string{`rate_limits: [{descriptor: a, headers: [x-user]}]`}, "", []string{"", "", "x-user: u", "x-user: u => limited"}},
		{"the limit of who has no labels", "{pattern: [{generic_key: default}], " + one + "}", nil, "", []string{"", "=> limited"}},
		{"not where somebody has that label", "{pattern: [{generic_key: default}], " + one + "}", nil, mapping("y", "/y/", "y", `labels: {ambassador: [{g: [default]}]}`), []string{"", ""}},
		{"a built-in service's domain", "{pattern: [{generic_key: a}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}]}`},
			"\n---\napiVersion: getambassador.io/v3alpha1\nkind: RateLimitService\nmetadata: {name: rls}\nspec: {service: \"127.0.0.1:8500\", domain: ambassador}\n", []string{"", "=> limited"}},
		{"a service that speaks an old protocol limits nothing", "{pattern: [{generic_key: a}], " + one + "}", []string{`labels: {ambassador: [{g: [a]}]}`},
			"\n---\napiVersion: getambassador.io/v3alpha1\nkind: RateLimitService\nmetadata: {name: rls}\nspec: {service: \"limits:8081\"}\n", []string{"", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", up, row.fields...)+rateLimit("rl", row.limits)+row.beside, newStopped().use, func(o *Options) { o.Limits.Cluster = "edge-default" })
			for i, r := range row.requests {
				header, want, _ := strings.Cut(r, "=>")
				var lines []string
				for line := range strings.SplitSeq(strings.TrimSpace(header), "|") {
					if line != "" {
						lines = append(lines, line)
					}
				}
				a, rec := g.send(request("GET", "/x/?a=1", "", lines...))
				if strings.Contains(want, "limited") {
					if rec.verdict != limited || rec.By != "RateLimit default/rl" || a.Header.Get("Retry-After") == "" || a.Header.Get("X-Envoy-Ratelimited") != "true" || a.body != "" || a.Header.Get("Content-Type") != "" {
						t.Errorf("request %d: got %v by %q, %v %q", i, rec.verdict, rec.By, a.Header, a.body)
					}
				} else if rec.verdict != served || a.Header.Get("X-Envoy-Ratelimited") != "" {
					t.Errorf("request %d: got %v", i, rec.verdict)
				}
			}
		})
	}
}

// What a limit says in headers and bodies.
func TestLimitTells(t *testing.T) {
	up, seen := seeing(t, plainOK)
	store := newStopped()
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", `{pattern: [{generic_key: a}], rate: 1, unit: minute,
  injectRequestHeaders: [{name: X-Left, value: "{{ (index .RateLimitResponse.Statuses 0).LimitRemaining }}"}],
  injectResponseHeaders: [{name: X-Code, value: "{{ .RateLimitResponse.OverallCode }}"}, {name: X-Unit, value: "{{ (index .RateLimitResponse.Statuses 0).CurrentLimit.Unit }}"}, {name: X-Bad, value: "{{ index .RateLimitResponse.Statuses 7 }}"}],
  errorResponse: {headers: [{name: Content-Type, value: text/x}, {name: X-Wait, value: "{{ .RetryAfter }}"}], bodyTemplate: "wait {{ .RetryAfter.Seconds }} ({{ .status_code }})"}}`), store.use)
	a, rec := g.send(request("GET", "/x/", "", "X-Left: 99"))
	if rec.verdict != served || a.Header.Get("X-Code") != "1" || a.Header.Get("X-Unit") != "MINUTE" || a.Header.Values("X-Bad") != nil {
		t.Errorf("%v, %v", rec.verdict, a.Header)
	}
	if got := (<-seen).Header.Values("X-Left"); len(got) != 1 || got[0] != "0" {
		t.Errorf("the service saw %q", got)
	}
	a, rec = g.send(request("GET", "/x/", ""))
	if rec.verdict != limited || a.Header.Get("X-Code") != "2" || a.Header.Get("Retry-After") != "45" || a.Header.Get("X-Wait") != "45s" || a.Header.Get("Content-Type") != "text/x" || a.body != "wait 45 (429)" {
		t.Errorf("%v, %v, %q", rec.verdict, a.Header, a.body)
	}
	store.ahead.Store(int64(45 * time.Second))
	if _, rec = g.send(request("GET", "/x/", "")); rec.verdict != served {
		t.Errorf("in the next minute: %v", rec.verdict)
	}
}

// A limit that says itself when to come back, or that it was one, is the only one to say so.
func TestLimitTellsOnce(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", `{pattern: [{generic_key: a}], rate: 0, unit: minute,
  errorResponse: {headers: [{name: Retry-After, value: "{{ .RetryAfter.Seconds }}0"}, {name: X-Envoy-Ratelimited, value: "yes"}, {name: X-Own, value: a}]}}`), newStopped().use)
	a, _ := g.send(request("GET", "/x/", ""))
	for name, want := range map[string]string{"Retry-After": "450", "X-Envoy-Ratelimited": "yes", "X-Own": "a"} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %s", name, got, want)
		}
	}
}

// What templates are told of the time until something passes again is what Retry-After says:
// whole seconds, and never none while there is some.
func TestLimitTellsWholeSeconds(t *testing.T) {
	up, _ := seeing(t, plainOK)
	store := newStopped()
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", `{pattern: [{generic_key: a}], rate: 0, unit: minute, errorResponse: {bodyTemplate: "{{ .RetryAfter }}"}}`), store.use)
	for ahead, want := range map[time.Duration]string{0: "45", 600 * time.Millisecond: "45", 400 * time.Millisecond: "45", 44700 * time.Millisecond: "1"} {
		store.ahead.Store(int64(ahead))
		if a, _ := g.send(request("GET", "/x/", "")); a.Header.Get("Retry-After") != want || a.body != want+"s" {
			t.Errorf("%v on: told %s and %s, want %s", ahead, a.Header.Get("Retry-After"), a.body, want)
		}
	}
}

// A reload that does not touch a limit resets no counter, and one that raises it goes on
// from where it was.
func TestLimitSurvivesReload(t *testing.T) {
	up, _ := seeing(t, plainOK)
	world := func(rate int) string {
		return everyone + mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`) + rateLimit("rl", fmt.Sprintf("{pattern: [{generic_key: a}], rate: %d, unit: minute}", rate))
	}
	g := open(t, world(1), newStopped().use)
	want := func(v verdict) {
		t.Helper()
		if _, rec := g.send(request("GET", "/x/", "")); rec.verdict != v {
			t.Errorf("got %v, want %v", rec.verdict, v)
		}
	}
	want(served)
	g.Apply(t.Context(), withListener(g, world(1)))
	want(limited)
	g.Apply(t.Context(), withListener(g, world(3)))
	want(served) // the third: the refused one counted too
	want(limited)
}

// A store that cannot be asked lets requests pass, unless it must not.
func TestLimitStoreDown(t *testing.T) {
	const deny = "\n---\napiVersion: getambassador.io/v3alpha1\nkind: RateLimitService\nmetadata: {name: rls}\nspec: {service: \"127.0.0.1:8500\", failure_mode_deny: true}\n"
	for beside, want := range map[string]verdict{"": served, deny: {"limit", "limit_store_down", 500}} {
		up, _ := seeing(t, plainOK)
		store := newStopped()
		g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", "{pattern: [{generic_key: a}], rate: 1, unit: minute}")+beside, store.use)
		store.down.Store(true)
		for range 2 {
			if a, rec := g.send(request("GET", "/x/", "")); rec.verdict != want || a.StatusCode == 500 && a.body != "" {
				t.Errorf("got %v %q, want %v", rec.verdict, a.body, want)
			}
		}
		store.down.Store(false)
		if _, rec := g.send(request("GET", "/x/", "")); rec.verdict != served {
			t.Errorf("once it is back: %v", rec.verdict)
		}
	}
}

// What one limit says counts, though another's store cannot be asked.
func TestLimitStoreDownInPart(t *testing.T) {
	up, _ := seeing(t, plainOK)
	store := newStopped()
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}, {h: [b]}]}`)+
		rateLimit("rl", "{pattern: [{generic_key: a}], rate: 5, unit: minute}", "{pattern: [{generic_key: b}], rate: 1, unit: hour, injectResponseHeaders: [{name: x-codes, value: \"{{ range .RateLimitResponse.Statuses }}{{ .Code }}{{ end }}\"}]}"), store.use)
	store.down.Store(true)
	for i, want := range []struct {
		verdict verdict
		codes   string
	}{{served, "01"}, {limited, "02"}} {
		if a, rec := g.send(request("GET", "/x/", "")); rec.verdict != want.verdict || a.Header.Get("x-codes") != want.codes {
			t.Errorf("request %d: %v with codes %q, want %v", i, rec.verdict, a.Header.Get("x-codes"), want)
		}
	}
}

// Explaining takes nothing.
func TestLimitExplained(t *testing.T) {
	g := rehearsed(t, everyone+mapping("x", "/x/", "up:80", `labels: {ambassador: [{g: [a, {request_headers: {key: user, header_name: x-user}}]}]}`)+
		rateLimit("rl", "{pattern: [{generic_key: a}, {user: ann}], rate: 1, unit: minute}"))
	for range 3 {
		e, err := g.Explain(Question{URL: "http://a/x/", Headers: []string{"X-User: ann"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range e.Stages {
			if s.Stage == "limit" {
				if got := strings.Join(s.Notes, "\n"); got != "labels: generic_key=a, user\nlimit rl.default-0 of RateLimit default/rl: 1 every 1m0s, counter ambassador_generic_key_a_user_ann: 0 would remain" {
					t.Errorf("got %s", got)
				}
			}
		}
		if e.Refused || e.Stage != "proxy" {
			t.Errorf("got %+v", e)
		}
	}
}

// What counts nothing is named before it serves.
func TestLimitProblems(t *testing.T) {
	g := newGate(t)
	var got []string
	for _, p := range g.Check(read(everyone + mapping("x", "/x/", "up:80", `labels: {ambassador: [{g: [a]}]}`) + rateLimit("rl", "{pattern: [{generic_key: b}], rate: 1, unit: minute}", "{pattern: [{generic_key: default}], rate: 1, unit: minute}"))) {
		got = append(got, p.Field+": "+p.Msg)
	}
	want := `labels: no RateLimit counts requests with the labels generic_key=a
limits[0].pattern: no Mapping and no default_labels give a request such labels
limits[1].pattern: no Mapping and no default_labels give a request such labels
limits[1].pattern: no Mapping and no default_labels give a request the label generic_key: default`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// The counters of a limit are shown by its name.
func TestLimitMetrics(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", "{name: few, pattern: [{generic_key: a}], rate: 2, unit: minute}"), newStopped().use)
	for range 3 {
		g.send(request("GET", "/x/", ""))
	}
	if got := fmt.Sprint(g.series("legate_ratelimit_total")); got != "map[few allowed:2 few limited:1]" {
		t.Error(got)
	}
	if got := fmt.Sprint(g.series("ratelimit_near_limit"), g.series("ratelimit_total_hits")); got != "map[few:1] map[few:3]" {
		t.Error(got)
	}
}

// The names that Envoy would give to clusters, which labels tell.
func TestClusterNames(t *testing.T) {
	for _, row := range []struct{ service, namespace, want string }{
		{"service-a:8080", "default", "cluster_service_a_8080_default"},
		{"https://api.shop", "web", "cluster_https___api_shop_web"},
		{"a-service-of-exactly-the-length-that-fits", "namespace-x", "cluster_a_service_of_exactly_the_length_-"},
	} {
		got := clusterName(row.service, row.namespace)
		if long := strings.HasSuffix(row.want, "-"); !long && got != row.want || long && (!strings.HasPrefix(got, row.want) || len(got) != 40+1+16+2) {
			t.Errorf("%s of %s: got %s, want %s", row.service, row.namespace, got, row.want)
		}
		if again := clusterName(row.service, row.namespace); again != got {
			t.Errorf("%s, then %s", got, again)
		}
	}
}

// A client of gRPC is told what the RateLimitService says, also where that stands for the
// process.
func TestLimitTellsClientsOfGRPC(t *testing.T) {
	for grpc, want := range map[string]string{"{}": "14", "{use_resource_exhausted_code: true}": "8", "{rate_limited_as_resource_exhausted: true}": "8"} {
		up, _ := seeing(t, plainOK)
		g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", `{pattern: [{generic_key: a}], rate: 0, unit: minute, errorResponse: {bodyTemplate: "slow down"}}`)+
			object("RateLimitService", "rls", fmt.Sprintf(`{service: "127.0.0.1:8500", grpc: %s}`, grpc)), newStopped().use)
		a, rec := g.send(request("POST", "/x/", "", "Content-Type: application/grpc+proto"))
		if a.StatusCode != 200 || a.Header.Get("Grpc-Status") != want || a.Header.Get("Grpc-Message") != "slow down" || a.body != "" || a.Header.Get("Retry-After") != "45" || rec.Reason != "over_limit" {
			t.Errorf("%s: got %d %v %q", grpc, a.StatusCode, a.Header, a.body)
		}
	}
}
