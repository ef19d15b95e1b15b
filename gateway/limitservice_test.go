package gateway

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"legate/decision"
)

// A counter is a RateLimitService that answers as it is told.
type counter struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	answer *ratelimitv3.RateLimitResponse
	err    error
	after  atomic.Int64 // nanoseconds
	seen   chan *ratelimitv3.RateLimitRequest
}

func (c *counter) ShouldRateLimit(ctx context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	c.seen <- r
	if after := time.Duration(c.after.Load()); after > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(after):
		}
	}
	return c.answer, c.err
}

// serve has c answer, and returns where.
func (c *counter) serve(t *testing.T) (addr string) {
	t.Helper()
	c.seen = make(chan *ratelimitv3.RateLimitRequest, 100)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	ratelimitv3.RegisterRateLimitServiceServer(s, c)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// asked shows the last question, "" for none.
func (c *counter) asked() string {
	select {
	case r := <-c.seen:
		var groups []string
		for _, d := range r.Descriptors {
			var entries []string
			for _, e := range d.Entries {
				entries = append(entries, e.Key+"="+e.Value)
			}
			groups = append(groups, strings.Join(entries, " "))
		}
		return fmt.Sprintf("%s: %s (%d)", r.Domain, strings.Join(groups, "; "), r.HitsAddend)
	default:
		return ""
	}
}

// limitsAt is a RateLimitService.
func limitsAt(addr string, fields ...string) string {
	return object("RateLimitService", "rls", fmt.Sprintf("{service: %q, timeout_ms: 5000, %s}", addr, strings.Join(append(fields, "protocol_version: v3"), ", ")))
}

func over(headers ...string) *ratelimitv3.RateLimitResponse {
	r := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OVER_LIMIT}
	r.ResponseHeadersToAdd = headerValues(headers)
	return r
}

func headerValues(lines []string) (list []*corev3.HeaderValue) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		list = append(list, &corev3.HeaderValue{Key: name, Value: value})
	}
	return list
}

const helloLabels = `labels: {ambassador: [{g: [{request_headers: {key: one, header_name: x-one}}, {request_headers: {key: two, header_name: x-two}}]}]}`

// What the service is asked, and when nobody is: Ambassador's own vectors first.
func TestRateLimitServiceAsked(t *testing.T) {
	const rl, hello = "RateLimitService default/rls", "Hello: Foo"
	refuses := over(hello, "content-type: application/json")
	for _, row := range []struct {
		name    string
		service []string // further fields
		fields  []string // of the Mapping
		beside  string
		header  []string
		asked   string // "" for nobody
		want    verdict
	}{
		{"neither header", nil, []string{helloLabels}, "", nil, "", served},
		{"one header of two", nil, []string{helloLabels}, "", []string{"x-one: 1"}, "", served},
		{"both headers", nil, []string{helloLabels}, "", []string{"x-one: 1", "x-two: 2"}, "ambassador: one=1 two=2 (0)", limited},
		{"an empty header is one", nil, []string{helloLabels}, "", []string{"x-one:", "x-two: 2"}, "ambassador: one= two=2 (0)", limited},
		{"no labels", nil, nil, "", nil, "", served},
		{"a group that is whole beside one that is not", nil, []string{`labels: {ambassador: [{g: [{request_headers: {key: one, header_name: x-one}}]}, {h: [b, {request_headers: {key: m, header_name: ":method"}}]}]}`}, "", nil,
			"ambassador: generic_key=b m=GET (0)", limited},
		{"groups in their order", nil, []string{`labels: {ambassador: [{g: [a]}, {h: [{generic_key: {key: k, value: b}}]}]}`}, "", nil, "ambassador: generic_key=a; k=b (0)", limited},
		{"all that labels can tell", nil, []string{`labels: {ambassador: [{g: [source_cluster, destination_cluster, remote_address, {request_headers: {key: p, header_name: ":path"}}]}]}`, "stats_name: x"}, "", nil,
			"ambassador: source_cluster=edge-default destination_cluster=CLUSTER remote_address=127.0.0.1 p=/x/?a=1 (0)", limited},
		{"the service's domain", []string{"domain: mine"}, []string{`labels: {ambassador: [{g: [a]}], mine: [{h: [b]}]}`}, "", nil, "mine: generic_key=b (0)", limited},
		{"the Module's domain", nil, []string{`labels: {ambassador: [{g: [a]}], mine: [{h: [b]}]}`}, module("default_label_domain: mine"), nil, "mine: generic_key=b (0)", limited},
		{"labels of other domains are nobody's", nil, []string{`labels: {mine: [{h: [b]}]}`}, "", nil, "", served},
		{"the Module's defaults", nil, nil, module("default_labels: {ambassador: {defaults: [all]}}"), nil, "ambassador: generic_key=all (0)", limited},
		{"RateLimits count nothing", nil, []string{`labels: {ambassador: [{g: [a]}]}`}, rateLimit("rl", "{pattern: [{generic_key: a}], rate: 0, unit: day}", "{pattern: [{generic_key: default}], rate: 0, unit: day}"), nil,
			"ambassador: generic_key=a (0)", limited},
		{"nor does one that waits for requests without labels", nil, nil, rateLimit("rl", "{pattern: [{generic_key: default}], rate: 0, unit: day}"), nil, "", served},
		{"what is no UTF-8 is told all the same", nil, []string{helloLabels}, "", []string{"x-one: caf\xe9", "x-two: 2"}, "ambassador: one=caf! two=2 (0)", limited},
		{"of several services the first", nil, []string{`labels: {ambassador: [{g: [a]}]}`}, object("RateLimitService", "second", `{service: "nowhere:1", protocol_version: v3, failure_mode_deny: true}`), nil, "ambassador: generic_key=a (0)", limited},
		{"a redirect has no labels", nil, []string{`labels: {ambassador: [{g: [a]}]}`, "host_redirect: true"}, "", nil, "", verdict{"proxy", "redirect", 301}},
		{"a preflight is answered before", nil, []string{`labels: {ambassador: [{g: [a]}]}`, `cors: {origins: "*", methods: PUT}`}, "", []string{"OPTIONS", "Origin: https://a.test", "Access-Control-Request-Method: PUT"}, "", verdict{"cors", "preflight", 200}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &counter{answer: refuses}
			up, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", up, row.fields...)+limitsAt(c.serve(t), row.service...)+row.beside, func(o *Options) { o.Limits.Cluster = "edge-default" })
			method := "GET"
			if len(row.header) > 0 && row.header[0] == "OPTIONS" {
				method, row.header = "OPTIONS", row.header[1:]
			}
			a, rec := g.send(request(method, "/x/?a=1", "", row.header...))
			if rec.verdict != row.want {
				t.Errorf("got %v, want %v", rec.verdict, row.want)
			}
			if got := strings.Replace(c.asked(), clusterName(up, "default"), "CLUSTER", 1); got != row.asked {
				t.Errorf("asked %q, want %q", got, row.asked)
			}
			if row.want == limited && (rec.By != rl || a.Header.Get("Hello") != "Foo" || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Envoy-Ratelimited") != "true" || a.body != "") {
				t.Errorf("by %s: %v %q", rec.By, a.Header, a.body)
			}
			if row.want != limited && (a.Header.Get("Hello") != "" || a.Header.Get("X-Envoy-Ratelimited") != "") {
				t.Errorf("got %v", a.Header)
			}
		})
	}
}

// What the service answers is what the upstream and the client see.
func TestRateLimitServiceAnswers(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"tier": "gold", "left": 3})
	if err != nil {
		t.Fatal(err)
	}
	down := verdict{"limit", "limit_store_down", 500}
	for _, row := range []struct {
		name    string
		service []string
		header  []string
		answer  *ratelimitv3.RateLimitResponse
		err     error
		want    verdict
		told    string // status, fields of interest, body
		up      string // what the upstream saw
	}{
		{"it passes, with headers for both", nil, []string{"X-Tier: own"}, &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK,
			RequestHeadersToAdd: headerValues([]string{"X-Tier: gold", "host: evil", ":path: /admin"}), ResponseHeadersToAdd: headerValues([]string{"X-Left: 3", "X-Left: 4", "content-type: a/b", "transfer-encoding: chunked"}), DynamicMetadata: metadata},
			nil, served, "200 X-Left=3,4 ok", "X-Tier=own,gold"},
		{"over, without a word", nil, nil, over(), nil, limited, "429 X-Envoy-Ratelimited=true ", ""},
		{"over, with a body", nil, nil, &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OVER_LIMIT, RawBody: []byte("slow down")}, nil, limited,
			"429 Content-Type=text/plain X-Envoy-Ratelimited=true slow down", ""},
		{"over, with a body of a type, and Retry-After", nil, nil, &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OVER_LIMIT, RawBody: []byte("{}"),
			ResponseHeadersToAdd: headerValues([]string{"Content-Type: application/json", "Retry-After: 7", "content-length: 99"})}, nil, limited,
			"429 Content-Type=application/json Retry-After=7 X-Envoy-Ratelimited=true {}", ""},
		{"a client of gRPC", nil, []string{"Content-Type: application/grpc"}, over("Hello: Foo"), nil, limited, "200 Content-Type=application/grpc Grpc-Status=14 Hello=Foo X-Envoy-Ratelimited=true ", ""},
		{"a client of gRPC, exhausted", []string{"grpc: {use_resource_exhausted_code: true}"}, []string{"Content-Type: application/grpc"}, over(), nil, limited,
			"200 Content-Type=application/grpc Grpc-Status=8 X-Envoy-Ratelimited=true ", ""},
		{"exhausted, in the compiler's word", []string{"grpc: {rate_limited_as_resource_exhausted: true}"}, []string{"Content-Type: application/grpc"}, over(), nil, limited,
			"200 Content-Type=application/grpc Grpc-Status=8 X-Envoy-Ratelimited=true ", ""},
		{"undecided", nil, nil, &ratelimitv3.RateLimitResponse{}, nil, served, "200 ok", ""},
		{"undecided, and to be denied", []string{"failure_mode_deny: true"}, nil, &ratelimitv3.RateLimitResponse{}, nil, down, "500 ", ""},
		{"an error", nil, nil, nil, grpcstatus.Error(codes.Internal, "a trace"), served, "200 ok", ""},
		{"an error, and to be denied", []string{"failure_mode_deny: true"}, nil, nil, grpcstatus.Error(codes.ResourceExhausted, "a trace"), down, "500 ", ""},
		{"a method that is not there", []string{"failure_mode_deny: true"}, nil, nil, grpcstatus.Error(codes.Unimplemented, ""), down, "500 ", ""},
		{"denied to a client of gRPC", []string{"failure_mode_deny: true"}, []string{"Content-Type: application/grpc"}, nil, grpcstatus.Error(codes.Unavailable, ""), down, "200 Content-Type=application/grpc Grpc-Status=2 ", ""},
		{"a line that begins another", []string{"failure_mode_deny: true"}, nil, over("x-a: b\r\nx-c: d"), nil, down, "500 ", ""},
		{"a name that is none", []string{"failure_mode_deny: true"}, nil, &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK, RequestHeadersToAdd: headerValues([]string{"a b: c"})}, nil, down, "500 ", ""},
		{"more than anybody has to say", []string{"failure_mode_deny: true"}, nil, &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK, RawBody: make([]byte, 1<<20)}, nil, down, "500 ", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &counter{answer: row.answer, err: row.err}
			up, seen := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+limitsAt(c.serve(t), row.service...))
			a, rec := g.send(request("GET", "/x/", "", row.header...))
			told := fmt.Sprint(a.StatusCode, " ")
			for _, name := range []string{"Content-Type", "Grpc-Status", "Hello", "Retry-After", "X-Left", "X-Envoy-Ratelimited"} {
				if v := a.Header.Values(name); v != nil {
					told += name + "=" + strings.Join(v, ",") + " "
				}
			}
			want := row.want
			if strings.HasPrefix(row.told, "200 Content-Type=application/grpc") {
				want.Status = 200
			}
			if rec.verdict.Stage != want.Stage || rec.Status != want.Status || want.Stage == "limit" && rec.verdict != want {
				t.Errorf("got %v, want %v", rec.verdict, want)
			}
			if told += a.body; told != row.told {
				t.Errorf("the client got %q, want %q", told, row.told)
			}
			if row.up != "" {
				if r := <-seen; "X-Tier="+strings.Join(r.Header.Values("X-Tier"), ",") != row.up || r.Host != "example.com" || r.URL.Path != "/" {
					t.Errorf("the service saw %v %v %v", r.Host, r.URL, r.Header)
				}
			}
		})
	}
}

// A service that cannot be asked costs a request its timeout at most, is told of once, and
// decides again as soon as it is back.
func TestRateLimitServiceDown(t *testing.T) {
	silent := service(t, func(p *peer) { p.wait() })
	garbage := service(t, func(p *peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n"); p.wait() })
	gone := service(t, func(p *peer) { p.reset() })
	for name, addr := range map[string]string{"accepts and never answers": silent, "speaks something else": garbage, "resets": gone, "is not there": "127.0.0.1:1"} {
		for _, deny := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deny %v", name, deny), func(t *testing.T) {
				t.Parallel()
				want := served
				if deny {
					want = verdict{"limit", "limit_store_down", 500}
				}
				up, _ := seeing(t, plainOK)
				g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+
					object("RateLimitService", "rls", fmt.Sprintf("{service: %q, protocol_version: v3, failure_mode_deny: %v}", addr, deny)))
				for range 3 {
					a, rec := g.send(request("GET", "/x/", ""))
					if rec.verdict.Stage != want.Stage || rec.Status != want.Status || deny && (rec.verdict != want || rec.By != "RateLimitService default/rls" || a.body != "") {
						t.Errorf("got %v by %s, want %v", rec.verdict, rec.By, want)
					}
					if rec.Took > 1000 {
						t.Errorf("it took %v ms", rec.Took)
					}
				}
				if n := strings.Count(g.log.String(), "rate limits cannot be asked for"); n != 1 {
					t.Errorf("the outage was told of %d times", n)
				}
				if got := fmt.Sprint(g.series("legate_ratelimit_store_errors_total")); got != "map[:3]" {
					t.Error(got)
				}
			})
		}
	}
}

// A service that was slow is asked again.
func TestRateLimitServiceComesBack(t *testing.T) {
	c := &counter{answer: over()}
	c.after.Store(int64(time.Minute))
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+object("RateLimitService", "rls", fmt.Sprintf("{service: %q, protocol_version: v3, timeout_ms: 400}", c.serve(t))))
	if _, rec := g.send(request("GET", "/x/", "")); rec.Status != 200 || rec.Took < 400 {
		t.Errorf("while it is slow: %v after %v ms", rec.verdict, rec.Took)
	}
	c.after.Store(0)
	if _, rec := g.send(request("GET", "/x/", "")); rec.verdict != limited {
		t.Errorf("once it is back: %v", rec.verdict)
	}
	if said := g.log.String(); strings.Count(said, "rate limits cannot be asked for") != 1 || strings.Count(said, "rate limits can be asked for again") != 1 {
		t.Errorf("the log says %s", said)
	}
}

// What is wrong with RateLimitServices is named.
func TestRateLimitServiceProblems(t *testing.T) {
	for _, row := range []struct {
		name, manifests string
		strict          bool
		want            string
	}{
		{"nothing", limitsAt("limits:8081"), false, ""},
		{"RateLimits beside it", limitsAt("limits:8081") + rateLimit("rl", "{pattern: [{generic_key: a}], rate: 0, unit: day}"), false,
			"RateLimit/rl.default: RateLimitService default/rls is asked about requests instead; its limits count nothing"},
		{"another one", limitsAt("limits:8081") + object("RateLimitService", "second", `{service: "limits:8081", protocol_version: v3}`), false,
			"RateLimitService/second.default: only one RateLimitService can be asked, and RateLimitService default/rls comes first; it is ignored"},
		{"another one, as strictly as Ambassador", limitsAt("limits:8081") + object("RateLimitService", "second", `{service: "limits:8081", protocol_version: v3}`), true,
			"Mapping/x.default: labels: no RateLimit counts requests with the labels generic_key=a; they are not limited by them\n" +
				"RateLimitService/second.default: only one RateLimitService can be asked, and RateLimitService default/rls comes first; nobody is asked, and nothing is limited"},
		{"a TLSContext that is not there", limitsAt("limits:8081", "tls: nowhere"), false, `RateLimitService/rls.default: tls: TLSContext "nowhere" is not defined; it counts as one that cannot be reached`},
		{"a service that is none", limitsAt("limits:none"), false, `RateLimitService/rls.default: service: "none" is no port; it counts as one that cannot be reached`},
		{"an older protocol", object("RateLimitService", "rls", `{service: "limits:8081", protocol_version: v2}`), false,
			"Mapping/x.default: labels: no RateLimit counts requests with the labels generic_key=a; they are not limited by them\n" +
				`RateLimitService/rls.default: protocol_version: must be "v3": no other version is spoken any more; nobody is asked, and nothing is limited`},
		{"nobody", object("RateLimitService", "rls", `{protocol_version: v3}`), false,
			"Mapping/x.default: labels: no RateLimit counts requests with the labels generic_key=a; they are not limited by them\n" +
				`RateLimitService/rls.default: service: is required; nobody is asked, and nothing is limited`},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGate(t, func(o *Options) { o.Limits.OneService = row.strict })
			var got []string
			for _, p := range g.Check(read(everyone + mapping("x", "/x/", "up:80", `labels: {ambassador: [{g: [a]}]}`) + row.manifests)) {
				p.Ref.File = ""
				got = append(got, p.String())
			}
			if strings.Join(got, "\n") != row.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), row.want)
			}
		})
	}
}

// Nobody limits where no service can be asked, or where there are several and only one may
// be: as in Ambassador.
func TestRateLimitServiceInactive(t *testing.T) {
	const rl = "{pattern: [{generic_key: a}], rate: 0, unit: day}"
	c := &counter{answer: over()}
	addr := c.serve(t)
	for name, services := range map[string]string{
		"v2": object("RateLimitService", "rls", fmt.Sprintf(`{service: %q, protocol_version: v2}`, addr)), "unset": object("RateLimitService", "rls", fmt.Sprintf(`{service: %q}`, addr)),
		"no service": object("RateLimitService", "rls", `{protocol_version: v3}`), "several": limitsAt(addr) + object("RateLimitService", "second", fmt.Sprintf(`{service: %q, protocol_version: v3}`, addr)),
	} {
		up, _ := seeing(t, plainOK)
		g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+rateLimit("rl", rl)+services, func(o *Options) { o.Limits.OneService = true })
		if _, rec := g.send(request("GET", "/x/", "")); rec.verdict != served || c.asked() != "" {
			t.Errorf("%s: got %v", name, rec.verdict)
		}
	}
}

// Asking about a request asks nobody else.
func TestRateLimitServiceExplained(t *testing.T) {
	for header, want := range map[string]string{
		"X-One: 1": "descriptor: generic_key=b\nlabels: one, two: the request does not have all of them\nRateLimitService default/rls would be asked at limits.example:8081 about the domain ambassador\nif it cannot be, the request passes",
		"X-None: ": "labels: one, two: the request does not have all of them\nRateLimitService default/rls would not be asked",
	} {
		labels := helloLabels
		if header == "X-One: 1" {
			labels = strings.Replace(labels, "[{g:", "[{h: [b]}, {g:", 1)
		}
		g := rehearsed(t, everyone+mapping("x", "/x/", "up:80", labels)+limitsAt("limits.example:8081"))
		e, err := g.Explain(Question{URL: "http://a/x/", Headers: []string{header}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range e.Stages {
			if got := strings.Join(s.Notes, "\n"); s.Stage == "limit" && got != want {
				t.Errorf("got %s", got)
			}
		}
	}
}

// A change that concerns other things leaves the connections to the service alone, and what
// it is.
func TestRateLimitServiceSurvivesReload(t *testing.T) {
	c := &counter{answer: over()}
	addr := c.serve(t)
	up, _ := seeing(t, plainOK)
	world := func(more string) string {
		return everyone + mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`) + limitsAt(addr) + more
	}
	g := open(t, world(""))
	for _, more := range []string{"", mapping("y", "/y/", up), module("default_labels: {ambassador: {defaults: [all]}}"), ""} {
		g.Apply(t.Context(), withListener(g, world(more)))
		if _, rec := g.send(request("GET", "/x/", "")); rec.verdict != limited {
			t.Errorf("got %v", rec.verdict)
		}
	}
	for _, u := range g.Upstreams() {
		if strings.HasPrefix(u.Name, "127_0_0_1_") && u.Opened > 1 && u.Active+u.Idle > 0 && strings.HasSuffix(addr, u.Name[len("127_0_0_1_"):]) {
			t.Errorf("%s: %d connections were opened", u.Name, u.Opened)
		}
	}
	if got := fmt.Sprint(g.series("legate_ratelimit_total")); got != "map[RateLimitService default/rls allowed:0 RateLimitService default/rls limited:4 RateLimitService default/rls logged:0]" && got != "map[RateLimitService default/rls limited:4]" {
		t.Error(got)
	}
}

// What limits say is told to the audit log once, and to the access log under the names of
// whoever said it.
func TestLimitsAreTold(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"tier": "gold"})
	if err != nil {
		t.Fatal(err)
	}
	answer := over()
	answer.DynamicMetadata = metadata
	c := &counter{answer: answer}
	labels := `labels: {ambassador: [{g: [a]}, {h: [b]}]}`
	for _, row := range []struct{ name, beside, format, logged, events string }{
		{"a service", limitsAt(c.serve(t)), "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:tier)%", "gold", "rate_limited deny over_limit RateLimitService default/rls 429 /x/"},
		{"a limit", rateLimit("rl", "{name: none, pattern: [{generic_key: a}], rate: 0, unit: minute}", "{action: LogOnly, pattern: [{generic_key: b}], rate: 0, unit: day}"),
			"%DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.name)% %DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.action)% %DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.retry_after)%", "none Enforce 45",
			"rate_limited deny over_limit RateLimit default/rl 429 /x/\nrate_limited allow over_limit RateLimit default/rl 0 /x/"},
		{"one that only logs", rateLimit("rl", "{action: LogOnly, pattern: [{generic_key: b}], rate: 0, unit: minute}"),
			"%DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.name)% %DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.action)%", "rl.default-0 LogOnly", "rate_limited allow over_limit RateLimit default/rl 0 /x/"},
		{"nobody", rateLimit("rl", "{pattern: [{generic_key: b}], rate: 9, unit: minute}"), "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:aes.ratelimit.name)%", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var events []string
			up, _ := seeing(t, plainOK)
			g := open(t, everyone+mapping("x", "/x/", up, labels, `add_response_headers: {x-told: {value: "`+row.format+`", append: false}}`)+row.beside, newStopped().use, func(o *Options) {
				o.Audit = func(e *decision.Event) {
					said := "deny"
					if e.Allowed {
						said = "allow"
					}
					events = append(events, fmt.Sprintf("%s %s %s %s %d %s", e.Kind, said, e.Reason, e.By, e.Status, e.Path))
					if e.RequestID == "" || e.Host != "example.com" || !e.Client.IsValid() || e.Time.IsZero() {
						t.Errorf("got %+v", e)
					}
				}
			})
			a, _ := g.send(request("GET", "/x/?secret=1", "", "Cookie: a=b"))
			if got := a.Header.Get("X-Told"); got != row.logged {
				t.Errorf("told %q, want %q", got, row.logged)
			}
			if got := strings.Join(events, "\n"); got != row.events {
				t.Errorf("got  %s\nwant %s", got, row.events)
			}
		})
	}
}
