package routes

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// The Listeners of most tests.
const (
	onXFP = iota
	onSecure
	onInsecure
	onTrustedXFP // one proxy in front is trusted
)

func listeners() []config.Listener {
	stack := []config.Protocol{config.ProtoTLS, config.ProtoHTTP, config.ProtoTCP}
	var all []config.Listener
	for i, l := range []config.Listener{
		{Port: 8080, Security: config.XFP},
		{Port: 8443, Security: config.Secure},
		{Port: 8081, Security: config.Insecure},
		{Port: 8082, Security: config.XFP, L7Depth: 1},
	} {
		l.Meta = config.Meta{Kind: "Listener", Name: fmt.Sprint("l", i), Namespace: "default"}
		l.Stack, l.FromAll = stack, true
		all = append(all, l)
	}
	return all
}

// A mod changes a Mapping or a Host of a test.
type mod[T any] func(*T)

func mapping(name, prefix string, mods ...mod[config.Mapping]) *config.Mapping {
	m := &config.Mapping{Meta: config.Meta{Kind: "Mapping", Name: name, Namespace: "default"}, Prefix: prefix, Hostname: "*", Service: "svc"}
	for _, f := range mods {
		f(m)
	}
	return m
}

func host(name, hostname string, mods ...mod[config.Host]) config.Host {
	h := config.Host{Meta: config.Meta{Kind: "Host", Name: name, Namespace: "default"}, Hostname: hostname, Insecure: config.InsecureRoute}
	for _, f := range mods {
		f(&h)
	}
	return h
}

func hostname(s string) mod[config.Mapping]    { return func(m *config.Mapping) { m.Hostname = s } }
func weight(n int) mod[config.Mapping]         { return func(m *config.Mapping) { m.Weight = &n } }
func precedence(n int) mod[config.Mapping]     { return func(m *config.Mapping) { m.Precedence = n } }
func method(s string) mod[config.Mapping]      { return func(m *config.Mapping) { m.Method = s } }
func exact(m *config.Mapping)                  { m.PrefixExact = true }
func regex(m *config.Mapping)                  { m.PrefixRegex = true }
func anyCase(m *config.Mapping)                { m.CaseSensitive = new(bool) }
func rewriteTo(s string) mod[config.Mapping]   { return func(m *config.Mapping) { m.Rewrite = &s } }
func service(s string) mod[config.Mapping]     { return func(m *config.Mapping) { m.Service = s } }
func redirecting(m *config.Mapping)            { m.HostRedirect, m.Service = true, "foobar.com" }
func status(n int) mod[config.Mapping]         { return func(m *config.Mapping) { m.RedirectResponseCode = n } }
func pathTo(s string) mod[config.Mapping]      { return func(m *config.Mapping) { m.PathRedirect = s } }
func prefixTo(s string) mod[config.Mapping]    { return func(m *config.Mapping) { m.PrefixRedirect = s } }
func inNamespace(s string) mod[config.Mapping] { return func(m *config.Mapping) { m.Namespace = s } }
func header(n, v string) mod[config.Mapping] {
	return func(m *config.Mapping) { m.Headers = append(m.Headers, config.NameValue{Name: n, Value: v}) }
}
func regexHeader(n, v string) mod[config.Mapping] {
	return func(m *config.Mapping) { m.RegexHeaders = append(m.RegexHeaders, config.NameValue{Name: n, Value: v}) }
}
func query(n, v string) mod[config.Mapping] {
	return func(m *config.Mapping) {
		m.QueryParameters = append(m.QueryParameters, config.NameValue{Name: n, Value: v})
	}
}
func regexQuery(n, v string) mod[config.Mapping] {
	return func(m *config.Mapping) {
		m.RegexQueryParameters = append(m.RegexQueryParameters, config.NameValue{Name: n, Value: v})
	}
}
func labelled(kv ...string) mod[config.Mapping] {
	return func(m *config.Mapping) { m.Labels = pairs(kv) }
}

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func selecting(kv ...string) mod[config.Host] {
	return func(h *config.Host) { h.HasSelector, h.Selector = true, pairs(kv) }
}
func insecurely(a config.InsecureAction) mod[config.Host] {
	return func(h *config.Host) { h.Insecure = a }
}
func withTLS(h *config.Host) { h.TLSSecret.Name = "cert" }

func world(hosts []config.Host, mappings ...*config.Mapping) *config.World {
	w := &config.World{Hosts: hosts, Mappings: mappings, Listeners: listeners()}
	w.Secrets = []config.Secret{{Meta: config.Meta{Kind: "Secret", Name: "cert", Namespace: "default"}}}
	w.Sort()
	return w
}

func anyHost() []config.Host { return []config.Host{host("any", "*")} }

// ask makes a request of a test: "GET a.com/path" or "https a.com/path", then header
// fields. The scheme https is TLS with the name as SNI.
func ask(request string, fields ...string) *Request {
	verb, target, _ := strings.Cut(request, " ")
	r := &Request{Head: &wire.Head{}}
	if verb == "https" {
		verb, r.TLS, r.Secure = "GET", true, true
	} else if verb == "http" {
		verb = "GET"
	}
	authority, path := target, ""
	if i := strings.IndexByte(target, '/'); i >= 0 {
		authority, path = target[:i], target[i:]
	}
	r.Head.BuildRequest(verb, authority, path, fields...)
	if err := r.Head.NormalizePath(wire.PathRules{}); err != nil {
		panic(err)
	}
	if name, _, _ := wire.SplitPort([]byte(authority)); r.TLS && strings.Trim(string(name), "0123456789.") != "" {
		r.SNI = string(name)
	}
	return r
}

// answer is what Match says, in a word: the Mapping's name, or the reason, or both.
func answer(t *Table, r *Request) string {
	rt, _, reason := t.Match(r)
	switch {
	case rt == nil:
		return reason.String()
	case reason != decision.None:
		return reason.String() + " " + rt.Mapping.Name
	}
	return rt.Mapping.Name
}

type want struct{ request, want string }

func check(t *testing.T, table *Table, rows []want) {
	t.Helper()
	for _, row := range rows {
		if got := answer(table, ask(row.request)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.request, got, row.want)
		}
	}
}

func build(t *testing.T, w *config.World) *Table {
	t.Helper()
	table, problems := Build(w, Options{})
	for _, p := range problems {
		t.Errorf("unexpected problem: %v", p)
	}
	return table
}

func TestPathForms(t *testing.T) {
	table := build(t, world(anyHost(),
		mapping("plain", "/foo"),
		mapping("dir", "/dir/"),
		mapping("whole", "/exact", exact),
		mapping("rx", "/rx/[0-9]+", regex),
		mapping("alt", "/left|/right", regex),
		mapping("fold", "/CamelCase/", anyCase),
		mapping("foldexact", "/One", anyCase, exact),
		mapping("utf8", "/größe/"),
	))
	check(t, table, []want{
		{"GET x/foo", "plain"}, {"GET x/foobar", "plain"}, {"GET x/foo/", "plain"}, {"GET x/ffoo", "no_route"},
		{"GET x/FOO", "no_route"}, {"GET x/fo", "no_route"},
		{"GET x/dir", "no_route"}, {"GET x/dir/", "dir"}, {"GET x/a/../dir/b", "dir"},
		{"GET x/exact", "whole"}, {"GET x/exact/", "no_route"}, {"GET x/exact?q", "whole"},
		{"GET x/rx/12", "rx"}, {"GET x/rx/12a", "no_route"}, {"GET x/a/rx/12", "no_route"}, {"GET x/rx/12?q", "rx"},
		{"GET x/left", "alt"}, {"GET x/right", "alt"}, {"GET x/left/", "no_route"}, {"GET x/lefty/right", "no_route"},
		{"GET x/camelcase/y", "fold"}, {"GET x/CAMELCASE/", "fold"}, {"GET x/camel", "no_route"},
		{"GET x/ONE", "foldexact"}, {"GET x/ONES", "no_route"},
		{"GET x/größe/y", "utf8"},
	})
}

// The worked example of the reference, whose order it printed itself.
func TestOrder(t *testing.T) {
	w := world(anyHost(),
		mapping("m8", "/"), mapping("m7", "/api/"), mapping("m6", "/api/", query("v", "1")),
		mapping("m5", "/api/", header("x-v", "2")), mapping("m4", "/api/", method("POST")),
		mapping("m3", "/api/", hostname("a.example.com")), mapping("m2", "/api/v1/"), mapping("m1", "/", precedence(10)),
	)
	if got := order(build(t, w)); got != "m1 m2 m3 m4 m5 m6 m7 m8" {
		t.Errorf("order %s", got)
	}
	w.Mappings = w.Mappings[1:] // without m1
	table := build(t, w)
	check(t, table, []want{
		{"GET x/api/v1/", "m2"}, {"GET a.example.com/api/", "m3"}, {"POST a.example.com/api/", "m3"},
		{"POST x/api/", "m4"}, {"GET x/api/?v=1", "m6"}, {"GET x/api/?v=12", "m7"}, {"GET x/api/", "m7"},
		{"GET x/other", "m8"}, {"GET x/api", "m8"},
	})
	if got := answer(table, ask("GET x/api/?v=1", "X-V", "2")); got != "m5" {
		t.Errorf("with a header: got %s, want m5", got)
	}
}

func order(t *Table) string {
	var names []string
	for _, r := range t.Routes {
		names = append(names, r.Mapping.Name)
	}
	return strings.Join(names, " ")
}

func TestOrderOfTies(t *testing.T) {
	for _, row := range []struct {
		why      string
		mappings []*config.Mapping
		want     string
	}{
		{"prefix length before an exact hostname", []*config.Mapping{mapping("a", "/api/", hostname("very.long.example.com")), mapping("b", "/api/v1/")}, "b a"},
		{"longer hostname first", []*config.Mapping{mapping("a", "/", hostname("*")), mapping("b", "/", hostname("*.longer.com")), mapping("c", "/", hostname("a.x.com"))}, "b c a"},
		{"a header can outrank a host", []*config.Mapping{mapping("a", "/", hostname("abc.com")), mapping("b", "/", header("x-very-long-header", "v"))}, "b a"},
		{"exactness does not count", []*config.Mapping{mapping("a", "/ab", exact, hostname("b.c")), mapping("b", "/zb", hostname("b.c"))}, "b a"},
		{"larger prefix text first", []*config.Mapping{mapping("a", "/a"), mapping("b", "/b")}, "b a"},
		{"larger method first", []*config.Mapping{mapping("a", "/", method("PUT")), mapping("b", "/", method("GET")), mapping("c", "/", method("PAT"))}, "a c b"},
		{"method before the text of headers", []*config.Mapping{mapping("a", "/", method("PUT")), mapping("b", "/", header("zzzzz", "vvvvv"))}, "a b"},
		{"regex adds one", []*config.Mapping{mapping("a", "/", header("x", "yy")), mapping("b", "/", regexHeader("x", "yy"), header("z", ""))}, "b a"},
		{"length in characters", []*config.Mapping{mapping("a", "/ööö"), mapping("b", "/abcd")}, "b a"},
		{"negative precedence last", []*config.Mapping{mapping("a", "/long/", precedence(-1)), mapping("b", "/")}, "b a"},
		{"query after headers", []*config.Mapping{mapping("a", "/", query("q", "very long indeed")), mapping("b", "/", header("h", "1"))}, "b a"},
	} {
		if got := order(build(t, world(anyHost(), row.mappings...))); got != row.want {
			t.Errorf("%s: got %s, want %s", row.why, got, row.want)
		}
	}
}

func TestConditions(t *testing.T) {
	table := build(t, world(anyHost(),
		mapping("two", "/two", header("X-A", "1"), header("x-b", "2")),
		mapping("list", "/list", header("x-a", "1,2")),
		mapping("rxlist", "/rxlist", regexHeader("x-a", "1,.")),
		mapping("cookie", "/cookie", regexHeader("cookie", "a=1; b=2")),
		mapping("known", "/known", header("User-Agent", "curl")),
		mapping("here", "/here", regexHeader("x-a", ".*")),
		mapping("rxm", "/rxm", method("P.*"), func(m *config.Mapping) { m.MethodRegex = true }),
		mapping("odd", "/odd", method("PURGE")),
		mapping("q", "/q", query("a", "")),
		mapping("rxq", "/rxq", regexQuery("test_param", "^[a-z].*")),
		mapping("authority", "/authority", regexHeader(":authority", ".*\\.com")),
		mapping("path", "/path", header(":path", "/path?x=1")),
		mapping("xfp", "/xfp", header("X-Forwarded-Proto", "http")),
	))
	for _, row := range []struct {
		request string
		fields  []string
		want    string
	}{
		{"GET x/two", []string{"x-a", "1", "X-B", "2"}, "two"},
		{"GET x/two", []string{"x-a", "1"}, "no_route"},
		{"GET x/two", []string{"x-a", "1", "x-b", "3"}, "no_route"},
		{"GET x/list", []string{"x-a", "1", "x-c", "0", "x-a", "2"}, "list"},
		{"GET x/list", []string{"x-a", "1,2"}, "list"},
		{"GET x/list", []string{"x-a", "1", "x-a", "2", "x-a", "3"}, "no_route"},
		{"GET x/rxlist", []string{"x-a", "1", "x-a", "2"}, "rxlist"},
		{"GET x/cookie", []string{"cookie", "a=1", "cookie", "b=2"}, "cookie"},
		{"GET x/known", []string{"user-agent", "curl"}, "known"},
		{"GET x/known", []string{"user-agent", "CURL"}, "no_route"},
		{"GET x/known", nil, "no_route"},
		{"GET x/here", []string{"x-a", ""}, "here"},
		{"GET x/here", nil, "no_route"},
		{"POST x/rxm", nil, "rxm"}, {"GET x/rxm", nil, "no_route"}, {"XPUT x/rxm", nil, "no_route"},
		{"PURGE x/odd", nil, "odd"}, {"purge x/odd", nil, "no_route"},
		{"GET x/q?a", nil, "q"}, {"GET x/q?b&a=", nil, "q"}, {"GET x/q?a=1&a=", nil, "no_route"}, {"GET x/q", nil, "no_route"},
		{"GET x/rxq?test_param=hello", nil, "rxq"}, {"GET x/rxq?test_param=HeLlO", nil, "no_route"}, {"GET x/rxq", nil, "no_route"},
		{"GET A.COM/authority", nil, "authority"}, {"GET a.net/authority", nil, "no_route"},
		{"GET x/path?x=1", nil, "path"}, {"GET x/path", nil, "no_route"}, {"GET x/path?x=12", nil, "no_route"},
		{"http x/xfp", nil, "xfp"}, {"http x/xfp", []string{"x-forwarded-proto", "https"}, "xfp"},
	} {
		if got := answer(table, ask(row.request, row.fields...)); got != row.want {
			t.Errorf("%s %v: got %s, want %s", row.request, row.fields, got, row.want)
		}
	}
	r := ask("http x/xfp", "x-forwarded-proto", "https")
	if r.Listener = onTrustedXFP; answer(table, r) != "no_route" {
		t.Errorf("behind a trusted proxy X-Forwarded-Proto is what was sent")
	}
}

func TestHostChoice(t *testing.T) {
	mappings := []*config.Mapping{}
	for _, h := range []string{"*", "*.example.com", "*.b.example.com", "a.example.com", "foo.*", "foo.bar.*", "port.com:8500"} {
		mappings = append(mappings, mapping("for "+h, "/", hostname(h)))
	}
	hosts := anyHost()
	for _, h := range []string{"*.example.com", "*.B.example.com", "a.Example.com", "foo.*", "foo.bar.*", "port.com:8500", "empty.org"} {
		hosts = append(hosts, host("h "+h, h))
	}
	mappings[0].Hostname = "" // "*" would attach to every Host
	w := world(hosts, mappings[1:]...)
	check(t, build(t, w), []want{
		{"GET a.example.com/", "for a.example.com"}, {"GET A.EXAMPLE.COM/", "for a.example.com"},
		{"GET x.example.com/", "for *.example.com"}, {"GET x.y.example.com/", "for *.example.com"},
		{"GET x.b.example.com/", "for *.b.example.com"}, {"GET b.example.com/", "for *.example.com"},
		{"GET example.com/", "no_route"},
		{"GET foo.org/", "for foo.*"}, {"GET foo.bar.org/", "for foo.bar.*"}, {"GET foo.example.com/", "for *.example.com"},
		{"GET a.example.com:80/", "no_route"}, {"GET port.com:8500/", "for port.com:8500"}, {"GET port.com/", "no_route"},
		{"GET empty.org/", "no_route"}, // no fall-through to the star
	})
	w = world([]config.Host{host("a", "a.com")}, mapping("m", "/"))
	check(t, build(t, w), []want{{"GET b.com/", "no_host"}, {"GET a.com:8080/", "no_host"}, {"GET a.com/", "m"},
		{"GET " + strings.Repeat("a", 256) + "/", "no_host"}})
}

func TestStripMatchingHostPort(t *testing.T) {
	w := world([]config.Host{host("a", "a.com")}, mapping("m", "/", hostname("a.com")))
	w.Modules = []config.Module{{StripMatchingHostPort: true}}
	check(t, build(t, w), []want{{"GET a.com:8080/", "m"}, {"GET a.com:8443/", "no_host"}, {"GET a.com/", "m"}})
}

func TestCompatible(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"a.com", "a.com", true}, {"a.com", "b.com", false}, {"*", "x", true}, {"x", "*", true}, {"*", "*", true},
		{".com", "*.com", false}, {".com", ".com", true}, {".com", "*", true},
		{"*x*", "x", false}, {"*x*", "*x*", true}, {"*x*", "*", true},
		{"*.com", "a.*", true}, {"*.com", "a.com", true}, {"*example.com", "example.com", false},
		{"*.com", "*.a.com", true}, {"*.a.com", "*.b.com", false}, {"a.*", "a.b.*", true}, {"a.*", "b.*", false},
		{"a.*", "a.", false}, {"a.*", "a.b", true}, {"a.*", "b.a", false}, {"foo.*.com", "foo.x.com", false},
	} {
		for _, got := range []bool{compatible(row.a, row.b), compatible(row.b, row.a)} {
			if got != row.want {
				t.Errorf("compatible(%q, %q) = %v, want %v", row.a, row.b, got, row.want)
			}
		}
	}
}

func TestAssociation(t *testing.T) {
	hosts := []config.Host{
		host("open", "open.com"),
		host("sel", "sel.com", selecting("team", "a", "env", "prod")),
		host("all", "all.com", selecting()),
	}
	w := world(hosts,
		mapping("star", "/star"),
		mapping("named", "/named", hostname("open.com")),
		mapping("none", "/none", hostname("")),
		mapping("picked", "/picked", hostname(""), labelled("team", "a", "env", "prod", "more", "1")),
		mapping("half", "/half", hostname(""), labelled("team", "a")),
		mapping("both", "/both", labelled("team", "a", "env", "prod")),
		mapping("wronghost", "/wronghost", hostname("open.com"), labelled("team", "a", "env", "prod")),
		mapping("hostrx", "/hostrx", hostname(""), func(m *config.Mapping) { m.Host, m.HostRegex = "(open|ALL)\\.com", true }),
	)
	check(t, build(t, w), []want{
		{"GET open.com/star", "star"}, {"GET sel.com/star", "no_route"}, {"GET all.com/star", "star"},
		{"GET open.com/named", "named"}, {"GET all.com/named", "no_route"},
		{"GET open.com/none", "no_route"}, {"GET sel.com/none", "no_route"}, {"GET all.com/none", "none"},
		{"GET open.com/picked", "no_route"}, {"GET sel.com/picked", "picked"}, {"GET all.com/picked", "picked"},
		{"GET sel.com/half", "no_route"},
		{"GET sel.com/both", "both"}, {"GET open.com/both", "both"},
		{"GET sel.com/wronghost", "no_route"}, {"GET open.com/wronghost", "wronghost"},
		{"GET open.com/hostrx", "hostrx"}, {"GET all.com/hostrx", "hostrx"}, {"GET sel.com/hostrx", "no_route"},
	})
	loose, _ := Build(w, Options{LooseSelectors: true})
	check(t, loose, []want{
		{"GET sel.com/star", "star"}, {"GET sel.com/half", "half"}, {"GET open.com/none", "no_route"},
		{"GET open.com/picked", "no_route"}, {"GET sel.com/picked", "picked"},
	})
}

// Without a host, Mappings that different Hosts select are no canaries of each other.
func TestSelectorsTellGroupsApart(t *testing.T) {
	hosts := []config.Host{host("1", "1.com", selecting("x", "1")), host("2", "2.com", selecting("x", "2"))}
	table := build(t, world(hosts, mapping("a", "/", hostname(""), labelled("x", "1")), mapping("b", "/", hostname(""), labelled("x", "2"))))
	for request, want := range map[string]string{"GET 1.com/": "a:100", "GET 2.com/": "b:100"} {
		if got := shares(table, request); got != want {
			t.Errorf("%s: got %s, want %s", request, got, want)
		}
	}
}

func TestAttachedToNoHost(t *testing.T) {
	hosts := []config.Host{host("a", "a.com"), host("s", "s.com", selecting("x", "y"))}
	_, problems := Build(world(hosts,
		mapping("none", "/1", hostname("")), mapping("other", "/2", hostname("b.com")), mapping("suffix", "/3", hostname("*.a.com")),
		mapping("picked", "/4", hostname("b.com"), labelled("x", "y")), mapping("ok", "/5", hostname("*.com")),
		mapping("ok2", "/6", hostname("a.*")), mapping("ok3", "/7", hostname(""), labelled("x", "y")),
	), Options{})
	var names []string
	for _, p := range problems {
		if p.Msg != "attached to 0 Hosts" || p.Effect != config.Notice {
			t.Errorf("unexpected %v", p)
		}
		names = append(names, p.Ref.Name)
	}
	if got := strings.Join(names, " "); got != "suffix picked other none" {
		t.Errorf("got %s", got)
	}
}

// The vector of the reference: one Mapping, three Hosts.
func TestSecureAndInsecure(t *testing.T) {
	w := world([]config.Host{
		host("any", "*", withTLS, insecurely(config.InsecureRedirect)),
		host("wc", "*.domain.com", withTLS),
		host("a", "a.domain.com", withTLS, insecurely(config.InsecureRedirect)),
	}, mapping("m", "/foo/"), mapping("acme", acmePrefix))
	check(t, build(t, w), []want{
		{"https a.domain.com/foo/", "m"}, {"https wc.domain.com/foo/", "m"}, {"https 127.0.0.1/foo/", "m"},
		{"http a.domain.com/foo/", "https_redirect m"}, {"http wc.domain.com/foo/", "m"}, {"http 127.0.0.1/foo/", "https_redirect m"},
		{"http a.domain.com/bar/", "no_route"}, {"http a.domain.com/.well-known/acme-challenge/x", "acme"},
	})
}

func TestSelectorsAndPolicies(t *testing.T) {
	var hosts []config.Host
	mappings := []*config.Mapping{mapping("shared", "/shared/", labelled("h", "1", "g", "2", "f", "3"))}
	for i, row := range []struct {
		label  string
		action config.InsecureAction
	}{{"h", config.InsecureRoute}, {"g", config.InsecureRedirect}, {"f", config.InsecureReject}} {
		name := fmt.Sprintf("h%d.com", i+1)
		hosts = append(hosts, host(name, name, withTLS, selecting(row.label, fmt.Sprint(i+1)), insecurely(row.action)))
		mappings = append(mappings, mapping(fmt.Sprint("own", i+1), fmt.Sprintf("/target-%d/", i+1), labelled(row.label, fmt.Sprint(i+1))))
	}
	mappings = append(mappings, mapping("acme", acmePrefix, labelled("f", "3")))
	check(t, build(t, world(hosts, mappings...)), []want{
		{"https h1.com/target-1/", "own1"}, {"https h2.com/target-2/", "own2"}, {"https h3.com/target-3/", "own3"},
		{"https h1.com/shared/", "shared"}, {"https h3.com/shared/", "shared"}, {"https h1.com/target-2/", "no_route"},
		{"http h1.com/target-1/", "own1"}, {"http h1.com/shared/", "shared"}, {"http h1.com/target-2/", "no_route"},
		{"http h2.com/target-2/", "https_redirect own2"}, {"http h2.com/shared/", "https_redirect shared"}, {"http h2.com/target-1/", "no_route"},
		{"http h3.com/target-3/", "insecure_rejected"}, {"http h3.com/shared/", "insecure_rejected"}, {"http h3.com/target-1/", "no_route"},
		{"http h3.com/.well-known/acme-challenge/x", "acme"}, {"http h2.com/.well-known/acme-challenge/x", "no_route"},
	})
}

// A route that comes before the challenge's must not shadow it on a Host that rejects.
func TestRejectLooksForChallengeOnly(t *testing.T) {
	w := world([]config.Host{host("r", "*", insecurely(config.InsecureReject))}, mapping("first", "/", precedence(1)), mapping("acme", acmePrefix))
	check(t, build(t, w), []want{{"http x/.well-known/acme-challenge/t", "acme"}, {"http x/", "insecure_rejected"}})
}

func TestTLSChains(t *testing.T) {
	w := world([]config.Host{
		host("any", "*", insecurely(config.InsecureRedirect)),
		host("one", "tls-context-host-1", withTLS),
		host("wild", "*.x.com", withTLS),
		host("port", "tls-context-host-1:8443", withTLS),
		host("clear", "clear.com"),
	}, mapping("m", "/foo/"))
	table := build(t, w)
	check(t, table, []want{
		{"http nonmatching/foo/", "https_redirect m"}, {"http nonmatching/bar/", "no_route"}, {"https nonmatching/foo/", "no_host"},
		{"https tls-context-host-1/foo/", "m"}, {"https tls-context-host-1:8443/foo/", "m"}, {"https a.b.x.com/foo/", "m"},
		{"https clear.com/foo/", "no_host"}, {"http clear.com/foo/", "m"},
	})
	r := ask("https a.x.com/foo/") // a connection that was opened for another name
	if r.SNI = "TLS-context-host-1"; answer(table, r) != "no_host" {
		t.Errorf("a Host behind another certificate was served")
	}
	r = ask("https TLS-context-host-1/foo/")
	if r.SNI = "TLS-context-host-1"; answer(table, r) != "m" {
		t.Errorf("server names are not compared regardless of case")
	}
}

func TestHostsOfTheSameName(t *testing.T) {
	first := host("a", "a.com", withTLS)
	second := host("b", "A.com", withTLS, insecurely(config.InsecureRedirect))
	second.TLSContext = "other"
	w := world([]config.Host{first, second}, mapping("m", "/"))
	table, problems := Build(w, Options{})
	if len(problems) != 1 || !strings.Contains(problems[0].Msg, "mismatching TLSContext") || problems[0].Ref.Name != "b" {
		t.Errorf("problems %v", problems)
	}
	if _, h, _ := table.Match(ask("https a.com/")); h.Config.Name != "a" {
		t.Errorf("with TLS %s serves, want the first", h.Config.Name)
	}
	if _, h, _ := table.Match(ask("http a.com/")); h.Config.Name != "b" {
		t.Errorf("without TLS %s serves, want the later", h.Config.Name)
	}
}

func TestHostWithoutItsSecret(t *testing.T) {
	w := world([]config.Host{host("a", "a.com", withTLS), host("b", "*")}, mapping("m", "/"))
	w.Hosts[0].TLSSecret.Namespace = "elsewhere"
	table, problems := Build(w, Options{})
	if len(problems) != 1 || problems[0].Effect != config.ObjectDropped || problems[0].Field != "tlsSecret" {
		t.Errorf("problems %v", problems)
	}
	if _, h, _ := table.Match(ask("http a.com/")); h.Config.Name != "b" {
		t.Errorf("%s serves", h.Config.Name)
	}
}

func TestImplicitHost(t *testing.T) {
	w := world(nil, mapping("m", "/", hostname("")), mapping("n", "/n", hostname("a.com")))
	check(t, build(t, w), []want{{"http x/", "m"}, {"http a.com/n", "n"}, {"http b.com/n", "m"}, {"https x/", "no_host"}})
	w.Secrets = append(w.Secrets, config.Secret{Meta: config.Meta{Name: fallbackSecret, Namespace: "default"}})
	check(t, build(t, w), []want{{"http x/", "https_redirect m"}, {"https x/", "m"}})
}

func TestListenerBinding(t *testing.T) {
	w := world([]config.Host{host("a", "a.com"), host("b", "b.com")}, mapping("m", "/"))
	w.Hosts[0].Namespace = "other"
	w.Listeners[onXFP].FromAll = false
	check(t, build(t, w), []want{{"http a.com/", "no_host"}, {"http b.com/", "m"}})
}

// shares counts what each Mapping gets of all rolls.
func shares(t *Table, request string) string {
	count := map[string]int{}
	r := ask(request)
	for r.Roll = range uint8(100) {
		count[answer(t, r)]++
	}
	return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(count), "map["), "]")
}

func TestWeights(t *testing.T) {
	for _, row := range []struct {
		why      string
		mappings []*config.Mapping
		want     string
		problem  string
	}{
		{"alone", []*config.Mapping{mapping("a", "/", weight(0))}, "a:100", ""},
		{"canary 0", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(0))}, "a:100", ""},
		{"canary 10", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(10))}, "a:90 b:10", ""},
		{"canary 50", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(50))}, "a:50 b:50", ""},
		{"canary 100", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(100))}, "b:100", ""},
		{"rest is shared", []*config.Mapping{mapping("a", "/"), mapping("b", "/"), mapping("c", "/"), mapping("d", "/", weight(50))}, "a:17 b:17 c:16 d:50", ""},
		{"half to even", []*config.Mapping{mapping("a", "/"), mapping("b", "/"), mapping("c", "/", weight(95))}, "a:2 b:3 c:95", ""},
		{"not rescaled", []*config.Mapping{mapping("a", "/x", weight(20)), mapping("b", "/x", weight(30)), mapping("c", "/")}, "a:20 b:30 c:50", ""},
		{"not rescaled, nobody else", []*config.Mapping{mapping("a", "/x", weight(20)), mapping("b", "/x", weight(30))}, "a:20 b:30 no_route:50", ""},
		{"over 100", []*config.Mapping{mapping("a", "/", weight(60)), mapping("b", "/", weight(60)), mapping("c", "/")}, "a:60 b:40", "Total weight of mappings exceeds 100"},
		{"one over 100", []*config.Mapping{mapping("a", "/", weight(101)), mapping("b", "/")}, "b:100", "invalid weight 101"},
		{"namespaces do not matter", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(10), inNamespace("other"))}, "a:90 b:10", ""},
		{"precedence splits", []*config.Mapping{mapping("a", "/"), mapping("b", "/", weight(10), precedence(1))}, "b:100", ""},
	} {
		table, problems := Build(world(anyHost(), row.mappings...), Options{})
		if got := shares(table, "GET x/x"); got != row.want {
			t.Errorf("%s: got %s, want %s", row.why, got, row.want)
		}
		expectProblem(t, row.why, problems, row.problem)
	}
}

// expectProblem wants one problem that contains text, or none if text is "".
func expectProblem(t *testing.T, why string, problems []config.Problem, text string) {
	t.Helper()
	switch {
	case text == "" && len(problems) > 0, text != "" && len(problems) != 1,
		text != "" && !strings.Contains(problems[0].String(), text):
		t.Errorf("%s: problems %v, want one with %q", why, problems, text)
	}
}

func TestAgreement(t *testing.T) {
	timeout := func(n int) mod[config.Mapping] { return func(m *config.Mapping) { m.ConnectTimeoutMS = &n } }
	bypass := func(v bool) mod[config.Mapping] { return func(m *config.Mapping) { m.BypassAuth = &v } }
	for _, row := range []struct {
		why          string
		first, later mod[config.Mapping]
		problem      string
	}{
		{"later omits", timeout(1), func(*config.Mapping) {}, ""},
		{"same", timeout(1), timeout(1), ""},
		{"differs", timeout(1), timeout(2), "cannot accept new mapping b with mismatched connect_timeout_ms: 2 != 1"},
		{"first does not set it", func(*config.Mapping) {}, bypass(true), "mismatched bypass_auth: true != -unset-"},
		{"exact beside prefix", func(*config.Mapping) {}, exact, "mismatched prefix_exact"},
		{"prefix beside exact", exact, func(*config.Mapping) {}, ""},
		{"header and regex header", header("x", "y"), regexHeader("x", "y"), "mismatched headers"},
		{"two redirects", redirecting, redirecting, "cannot accept b as second host_redirect after a"},
		{"redirect later", func(*config.Mapping) {}, redirecting, "cannot accept b with host_redirect after mappings without host_redirect (eg a)"},
		{"redirect first", redirecting, func(*config.Mapping) {}, "cannot accept b without host_redirect after a with host_redirect"},
	} {
		table, problems := Build(world(anyHost(), mapping("a", "/", row.first), mapping("b", "/", row.later, weight(50))), Options{})
		expectProblem(t, row.why, problems, row.problem)
		if want := 2; row.problem == "" && len(table.Routes) != want || row.problem != "" && len(table.Routes) != 1 {
			t.Errorf("%s: %d routes serve", row.why, len(table.Routes))
		}
	}
}

func TestDroppedMappings(t *testing.T) {
	for _, row := range []struct {
		mod   mod[config.Mapping]
		field string
		text  string
	}{
		{func(m *config.Mapping) { m.Prefix = "" }, "prefix", "empty"},
		{func(m *config.Mapping) { m.PrefixRegex, m.Prefix = true, "/(" }, "prefix", "missing closing"},
		{func(m *config.Mapping) { m.PrefixRegex, m.Prefix = true, "/a)|(/b" }, "prefix", "unexpected )"},
		{func(m *config.Mapping) { m.PrefixRegex, m.Prefix = true, "/([a-z0-9]{100}x){2}" }, "prefix", "regex_max_size 200"},
		{func(m *config.Mapping) { m.Hostname, m.Host = "", "*.com" }, "host", "cannot match anything"},
		{header(":authority", "*.com"), "headers", "cannot match anything"},
		{regexHeader("x", "["), "regex_headers.x", "missing closing"},
		{regexQuery("x", "["), "regex_query_parameters.x", "missing closing"},
		{func(m *config.Mapping) { m.Hostname, m.Host, m.HostRegex = "", "[", true }, "host", "missing closing"},
		{func(m *config.Mapping) { m.Method, m.MethodRegex = "[", true }, "method", "missing closing"},
		{func(m *config.Mapping) { m.RegexRewrite = &config.RegexSub{Pattern: "["} }, "regex_rewrite", "missing closing"},
		{func(m *config.Mapping) { m.RegexRewrite = &config.RegexSub{Pattern: "a", Substitution: `\1`} }, "regex_rewrite", "no group"},
		{adding("x", "a\r\nb: c"), "add_request_headers.x", "line break"},
		{adding("x", "%NO_SUCH%"), "add_request_headers.x", "there is no command %NO_SUCH%"},
		{adding("x", "50%"), "add_request_headers.x", "a % by itself is written %%"},
		{func(m *config.Mapping) { m.Response.Add = []config.HeaderAdd{{Name: "y", Value: "%REQ%"}} }, "add_response_headers.y", "name of a header"},
		{status(300), "", ""},
		{func(m *config.Mapping) { redirecting(m); status(300)(m) }, "redirect_response_code", "300"},
	} {
		table, problems := Build(world(anyHost(), mapping("bad", "/bad", row.mod), mapping("good", "/")), Options{})
		if row.field == "" {
			expectProblem(t, "no redirect", problems, "")
			continue
		}
		expectProblem(t, row.field, problems, row.text)
		if p := problems[0]; p.Field != row.field || p.Effect != config.ObjectDropped || order(table) != "good" {
			t.Errorf("%s: got %v; routes %s", row.field, p, order(table))
		}
	}
}

func TestGroupSettings(t *testing.T) {
	w := world(anyHost(),
		mapping("a", "/x/", rewriteTo("/a/"), func(m *config.Mapping) {
			m.Request.Add = []config.HeaderAdd{{Name: "X-One", Value: "a", Append: true}, {Name: "x-two", Value: "100%%", Append: false}}
			m.Request.Remove = []string{"Cookie", "x-gone"}
		}),
		mapping("b", "/x/", weight(50), anyCase, func(m *config.Mapping) {
			m.Request.Add = []config.HeaderAdd{{Name: "x-one", Value: "b", Append: true}, {Name: "server", Value: "s", Append: false}}
			m.Response.Add = []config.HeaderAdd{{Name: "x-empty", Value: "", Append: false}}
			m.Response.Remove = []string{"x-powered-by"}
		}),
		mapping("c", "/x/", func(m *config.Mapping) { m.RegexRewrite = &config.RegexSub{Pattern: "x", Substitution: "y"} }),
	)
	table := build(t, w)
	want := HeaderEdits{
		removed:  names{wire.SetOf(wire.FieldCookie), [][]byte{[]byte("x-gone")}},
		replaced: names{wire.SetOf(wire.FieldServer), [][]byte{[]byte("x-two")}},
		adds: []wire.Add{
			{Name: []byte("x-one"), Value: []byte("b")}, {Name: []byte("x-two"), Value: []byte("100%")},
			{ID: wire.FieldServer, Name: []byte("server"), Value: []byte("s")},
		},
	}
	if got := order(table); got != "b a c" {
		t.Errorf("members are asked in the order %s", got)
	}
	for _, r := range table.Routes {
		if !reflect.DeepEqual(r.Request, want) {
			t.Errorf("%s: request edits %s", r.Name, r.Request.adds)
		}
		if r.CaseSensitive || len(r.Response.removed.others) != 1 || len(r.Response.adds) != 0 {
			t.Errorf("%s: case sensitive %v, response %v", r.Name, r.CaseSensitive, r.Response)
		}
		if got, _ := r.RewritePath(nil, []byte("/x/x")); string(got) != "/y/y" {
			t.Errorf("%s: rewritten to %s", r.Name, got)
		}
	}
}

func TestRewrite(t *testing.T) {
	sub := func(pattern, substitution string) mod[config.Mapping] {
		return func(m *config.Mapping) {
			m.RegexRewrite = &config.RegexSub{Pattern: pattern, Substitution: substitution}
		}
	}
	for _, row := range []struct {
		prefix   string
		mod      mod[config.Mapping]
		path     string
		want     string
		rewrites bool
	}{
		{"/foo/", func(*config.Mapping) {}, "/foo/bar", "/bar", true},
		{"/foo", func(*config.Mapping) {}, "/foo/bar", "//bar", true},
		{"/foo", func(*config.Mapping) {}, "/foobar", "/bar", true},
		{"/foo/", rewriteTo(""), "/foo/bar", "", false},
		{"/foo/", rewriteTo("/v2/"), "/foo/bar", "/v2/bar", true},
		{"/foo", func(m *config.Mapping) { exact(m); rewriteTo("/x")(m) }, "/foo", "/x", true},
		{"/f.*", regex, "/foo/bar", "/", true},
		{"/f.*", func(m *config.Mapping) { regex(m); rewriteTo("")(m) }, "/foo/bar", "", false},
		{"/Foo/", anyCase, "/fOO/Bar", "/Bar", true},
		{"/", func(*config.Mapping) {}, "/x", "/x", true},
		{"/foo/", sub("/foo/baz", "/baz/foo"), "/foo/bar", "/foo/bar", true},
		{"/foo/", sub("/foo/baz", "/baz/foo"), "/foo/baz", "/baz/foo", true},
		{"/foo/", sub("/foo/([0-9]*)/list", `/bar/\1`), "/foo/123456789/list", "/bar/123456789", true},
		{"/foo/", sub("o", `<\0\\>`), "/foo/o", `/f<o\><o\>/<o\>`, true},
		{"/foo/", sub("(a)|b", `[\1]`), "/foo/ab", `/foo/[a][]`, true},
	} {
		table := build(t, world(anyHost(), mapping("m", row.prefix, row.mod)))
		got, rewrites := table.Routes[0].RewritePath([]byte(nil), []byte(row.path))
		if string(got) != row.want || rewrites != row.rewrites {
			t.Errorf("%s on %s: got %q %v, want %q %v", row.prefix, row.path, got, rewrites, row.want, row.rewrites)
		}
	}
}

func TestRedirects(t *testing.T) {
	rx := func(m *config.Mapping) {
		m.RegexRedirect = &config.RegexSub{Pattern: "/N-5/assets/([a-f0-9]{12})/images", Substitution: `/images/\1`}
	}
	table := build(t, world(anyHost(),
		mapping("plain", "/N/", redirecting),
		mapping("fold", "/N-2/", redirecting, anyCase),
		mapping("path", "/N-3/foo/", redirecting, pathTo("/redirect/"), status(302)),
		mapping("pathquery", "/N-6/", redirecting, pathTo("/r?a=b")),
		mapping("prefix", "/N-4/foo/bar/baz", redirecting, prefixTo("/foobar/baz"), status(307)),
		mapping("regex", "/N-5/assets/([a-f0-9]{12})/images", redirecting, regex, rx, status(308)),
		mapping("schemed", "/N-7/", redirecting, service("https://foobar.com:8443/x")),
	))
	for _, row := range []struct {
		request string
		status  int
		want    string
	}{
		{"http x/N/anything?itworked=true", 301, "http://foobar.com/N/anything?itworked=true"},
		{"https x/N/anything?", 301, "https://foobar.com/N/anything?"},
		{"http x/n-2/Anything", 301, "http://foobar.com/n-2/Anything"},
		{"http x/N-3/foo/anything?q=1", 302, "http://foobar.com/redirect/?q=1"},
		{"http x/N-6/foo/anything?q=1", 301, "http://foobar.com/r?a=b"},
		{"http x/N-4/foo/bar/baz/anything", 307, "http://foobar.com/foobar/baz/anything"},
		{"http x/N-5/assets/abcd0000f123/images?itworked=true", 308, "http://foobar.com/images/abcd0000f123?itworked=true"},
		{"http x/N-7/y", 301, "http://foobar.com:8443/N-7/y"},
	} {
		r := ask(row.request)
		if r.TLS { // no Host has a certificate here
			r.TLS, r.Listener = false, onTrustedXFP
			r.Head.BuildRequest("GET", "x", strings.TrimPrefix(row.request, "https x"), "x-forwarded-proto", "https")
		}
		rt, _, reason := table.Match(r)
		if rt == nil || rt.Kind != Redirect || reason != decision.None {
			t.Errorf("%s: %v %v", row.request, rt, reason)
			continue
		}
		if got := string(rt.Location(nil, table, r)); got != row.want || rt.Status != row.status {
			t.Errorf("%s: got %d %s, want %d %s", row.request, rt.Status, got, row.status, row.want)
		}
	}
	check(t, table, []want{{"http x/n/anything", "no_route"}})
}

func TestRedirectFieldsThatClash(t *testing.T) {
	for _, row := range []struct {
		mods []mod[config.Mapping]
		want string
	}{
		{[]mod[config.Mapping]{pathTo("/x")}, "path_redirect: only host_redirect redirects"},
		{[]mod[config.Mapping]{redirecting, pathTo("/x"), prefixTo("/y")}, "prefix_redirect: path_redirect is given too"},
		{[]mod[config.Mapping]{redirecting, prefixTo("/y"), func(m *config.Mapping) { m.RegexRedirect = &config.RegexSub{} }}, "regex_redirect: prefix_redirect is given too"},
	} {
		_, problems := Build(world(anyHost(), mapping("m", "/", row.mods...)), Options{})
		expectProblem(t, row.want, problems, row.want)
	}
}

func TestHTTPSLocation(t *testing.T) {
	table := build(t, world(anyHost()))
	for _, row := range []want{
		{"http a.com/x?y", "https://a.com/x?y"}, {"https a.com:80/x", "https://a.com:80/x"}, {"http a.com:80/x", "https://a.com/x"}, {"http a.com:8080/x", "https://a.com:8080/x"},
		{"http [::1]:80/", "https://[::1]/"}, {"http [::80]/", "https://[::80]/"}, {"http a.com:443/x?", "https://a.com:443/x?"},
	} {
		r := ask(row.request)
		if got := string(table.HTTPSLocation(nil, r)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.request, got, row.want)
		}
	}
}

func TestSameTableWhateverTheOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		w, opts := randomWorld(&source{data})
		table, problems := Build(w, opts)
		shuffled := *w
		shuffled.Mappings = append([]*config.Mapping{}, w.Mappings...)
		shuffled.Hosts = append([]config.Host{}, w.Hosts...)
		rng.Shuffle(len(shuffled.Mappings), func(i, j int) {
			shuffled.Mappings[i], shuffled.Mappings[j] = shuffled.Mappings[j], shuffled.Mappings[i]
		})
		rng.Shuffle(len(shuffled.Hosts), func(i, j int) {
			shuffled.Hosts[i], shuffled.Hosts[j] = shuffled.Hosts[j], shuffled.Hosts[i]
		})
		shuffled.Sort()
		again, problemsAgain := Build(&shuffled, opts)
		if order(table) != order(again) || !reflect.DeepEqual(problems, problemsAgain) {
			t.Fatalf("order %s and %s\nproblems %v\nand %v", order(table), order(again), problems, problemsAgain)
		}
	}
}

func TestAllocsMatch(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	w := world(append(anyHost(), host("tls", "*.x.com", withTLS)),
		mapping("a", "/a/", hostname("a.x.com"), header("x-a", "1")), mapping("b", "/a/", hostname("*.x.com"), query("q", "1")),
		mapping("c", "/A/[0-9]+", regex), mapping("d", "/", anyCase), mapping("e", "/a/", hostname(""), func(m *config.Mapping) { m.Host, m.HostRegex = "a.*", true }))
	w.Modules = []config.Module{{StripMatchingHostPort: true}}
	table := build(t, w)
	for _, r := range []*Request{
		ask("GET A.x.com/a/1", "x-a", "1"), ask("GET a.x.com:8080/a/1?q=1"), ask("https a.x.com/a/"), ask("GET y/A/12"), ask("GET y/none"),
	} {
		if n := testing.AllocsPerRun(100, func() { table.Match(r) }); n != 0 {
			t.Errorf("%s%s: %v allocations", r.Head.Host(), r.Head.Path(), n)
		}
	}
	rt, r, buf := table.Routes[0], ask("GET a.x.com/a/1"), make([]byte, 0, 256)
	var edits wire.Edits
	if n := testing.AllocsPerRun(100, func() {
		edits.Reset()
		rt.Request.Apply(&edits)
		rt.RewritePath(buf, r.Head.Path())
		rt.Location(buf, table, r)
		table.HTTPSLocation(buf, r)
	}); n != 0 {
		t.Errorf("edits: %v allocations", n)
	}
}
