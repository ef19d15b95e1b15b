package upstream

import (
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
)

func meta(kind, name, namespace string) config.Meta {
	return config.Meta{Kind: kind, Name: name, Namespace: namespace}
}

func mapping(namespace, service string) *config.Mapping {
	return &config.Mapping{Meta: meta("Mapping", "m", namespace), Service: service}
}

// effects lists the problems as "field: effect".
func effects(problems []config.Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Field+": "+p.Effect.String())
	}
	return list
}

// The table of the reference: who says what in which namespace, and where it leads.
func TestServiceGrammar(t *testing.T) {
	const closed = "service: route_closed"
	for _, row := range []struct {
		namespace, service string
		want               string // Spec.Address, with "tls " before it
		label              string
		problems           []string
	}{
		{"ambassador", "foo", "foo:80", "foo", nil},
		{"team", "foo", "foo.team:80", "foo_team", nil},
		{"team", "https://foo", "tls foo.team:443", "foo_team", nil},
		{"team", "foo:8080", "foo.team:8080", "foo_team_8080", nil},
		{"team", "http://foo:8080", "foo.team:8080", "foo_team_8080", nil},
		{"ambassador", "http://foo:8080", "foo:8080", "foo_8080", nil},
		{"team", "foo.other:8080", "foo.other:8080", "foo_other_8080", nil},
		{"team", "foo.other", "foo.other:80", "foo_other", nil},
		{"team", "foo.bar.svc.cluster.local", "foo.bar.svc.cluster.local:80", "foo_bar_svc_cluster_local", nil},
		{"team", "https://api.ext.com", "tls api.ext.com:443", "api_ext_com", nil},
		{"team", "https://api.x.io", "tls api.x.io:443", "api_x_io", nil},
		{"team", "HTTPS://Foo.Team", "tls foo.team:443", "foo_team", nil},
		{"team", "HtTp://foo", "foo.team:80", "foo_team", nil},
		{"team", "localhost", "localhost:80", "localhost", nil},
		{"team", "localhost:9000", "localhost:9000", "localhost_9000", nil},
		{"team", "127.0.0.1:9000", "127.0.0.1:9000", "127_0_0_1_9000", nil},
		{"team", "[::1]", "[::1]:80", "___1_", nil},
		{"team", "https://[2001:DB8::1]:8443", "tls [2001:db8::1]:8443", "_2001_db8__1__8443", nil},
		{"team", "[fe80::1%25eth0]:80", "[fe80::1%eth0]:80", "_fe80__1_eth0__80", nil},
		{"team", "foo:0", "foo.team:80", "foo_team", nil},
		{"team", "https://foo:0", "tls foo.team:443", "foo_team", nil},
		{"team", "foo:", "foo.team:80", "foo_team", nil},
		{"team", "foo-bar_baz", "foo-bar_baz.team:80", "foo_bar_baz_team", nil},
		{"team", "api.ext.com.", "api.ext.com.:80", "api_ext_com_", nil},
		{"team", "foo/", "foo.team:80", "foo_team", nil},
		{"team", " foo ", "foo.team:80", "foo_team", nil},
		{"team", "//foo", "foo.team:80", "foo_team", nil},

		// Usable, but not as written.
		{"team", "foo/path", "foo.team:80", "foo_team", []string{"service: field_ignored"}},
		{"team", "https://foo:1?q", "tls foo.team:1", "foo_team_1", []string{"service: field_ignored"}},
		{"team", "ftp://foo", "foo.team:80", "foo_team", []string{"service: field_ignored"}},
		{"team", "user:secret@foo", "foo.team:80", "foo_team", []string{"service: field_ignored"}},

		// Not usable: the Mapping serves, without an endpoint.
		{"team", "", ":0", "invalid", []string{closed}},
		{"team", "https://", ":0", "invalid", []string{closed}},
		{"team", "foo:http", ":0", "invalid", []string{closed}},
		{"team", "foo:65536", ":0", "invalid", []string{closed}},
		{"team", "foo:-1", ":0", "invalid", []string{closed}},
		{"team", "::1", ":0", "invalid", []string{closed}},
		{"team", "[::1", ":0", "invalid", []string{closed}},
		{"team", "[foo]:80", ":0", "invalid", []string{closed}},
		{"team", "foo..bar", ":0", "invalid", []string{closed}},
		{"team", "fo o", ":0", "invalid", []string{closed}},
		{"team", "fo*", ":0", "invalid", []string{closed}},
		{"team", strings.Repeat("a", 64), ":0", "invalid", []string{closed}},
	} {
		spec, problems := SpecOf(mapping(row.namespace, row.service), nil, &config.World{}, Options{Namespace: "ambassador"})
		got := spec.Address()
		if spec.TLS.On {
			got = "tls " + got
		}
		if got != row.want || spec.Name() != row.label {
			t.Errorf("%s/%q: got %q named %q, want %q named %q", row.namespace, row.service, got, spec.Name(), row.want, row.label)
		}
		if got := effects(problems); !slices.Equal(got, row.problems) {
			t.Errorf("%s/%q: got problems %q, want %q", row.namespace, row.service, problems, row.problems)
		}
		for _, p := range problems {
			if strings.Contains(p.String(), "secret") {
				t.Errorf("%s/%q: the problem shows the password: %v", row.namespace, row.service, p)
			}
		}
	}
}

func TestNamespaceOfServices(t *testing.T) {
	own := &config.Module{UseOwnNamespaceForServices: true}
	for _, row := range []struct {
		module   *config.Module
		resolver string
		want     string
	}{
		{nil, "", "foo.team"},
		{own, "", "foo"},
		{nil, "kubernetes-service", "foo.team"},
		{nil, "kubernetes-endpoint", "foo.team"},
		{&config.Module{Resolver: "endpoint"}, "", "foo.team"},
	} {
		m := mapping("team", "foo")
		m.Resolver = row.resolver
		if spec, _ := SpecOf(m, row.module, &config.World{}, Options{}); spec.Host != row.want {
			t.Errorf("module %+v, resolver %q: got %q, want %q", row.module, row.resolver, spec.Host, row.want)
		}
	}
}

func TestResolverNames(t *testing.T) {
	defined := &config.World{Resolvers: []config.Resolver{
		{Meta: config.Meta{Kind: "ConsulResolver", Name: "dc2", Namespace: "default"}},
		{Meta: config.Meta{Kind: "KubernetesEndpointResolver", Name: "mine", Namespace: "a"}},
		{Meta: config.Meta{Kind: "KubernetesServiceResolver", Name: "mine", Namespace: "b"}},
	}}
	redefined := &config.World{Resolvers: []config.Resolver{
		{Meta: config.Meta{Kind: "KubernetesServiceResolver", Name: "endpoint", Namespace: "default"}},
	}}
	const dropped = "resolver: object_dropped"
	for _, row := range []struct {
		world       *config.World
		module      string
		name        string
		source      Source
		effect, msg string
	}{
		{nil, "", "", FromDNS, "", ""},
		{nil, "", "kubernetes-service", FromDNS, "", ""},
		{nil, "", "kubernetes-endpoint", FromEndpoints, "", ""},
		{nil, "", "endpoint", FromEndpoints, "", ""},
		{nil, "", "consul", FromConsul, "", ""},
		{nil, "", "consul-endpoint", FromConsul, "", ""},
		{nil, "", "nobody", FromDNS, dropped, "resolver nobody is unknown!"},
		{nil, "consul", "", FromConsul, "", ""},
		{nil, "consul", "kubernetes-service", FromDNS, "", ""},
		{defined, "", "dc2", FromConsul, "", ""},
		{defined, "", "mine", FromEndpoints, "", ""},
		{defined, "", "mine.b", FromDNS, "", ""},
		{defined, "", "mine.c", FromDNS, dropped, "resolver mine.c is unknown!"},
		{defined, "mine.b", "", FromDNS, "", ""},
		{redefined, "", "endpoint", FromDNS, "", ""},
		{redefined, "", "kubernetes-endpoint", FromDNS, "", ""},
	} {
		m := mapping("team", "foo")
		m.Resolver = row.name
		w := row.world
		if w == nil {
			w = &config.World{}
		}
		spec, problems := SpecOf(m, &config.Module{Resolver: row.module}, w, Options{})
		var effect, msg string
		if len(problems) > 0 {
			effect, msg = effects(problems)[0], problems[0].Msg
		}
		if len(problems) > 1 || effect != row.effect || msg != row.msg || spec.Source != row.source {
			t.Errorf("%q, by default %q: got source %v, %q %q, want %v, %q %q", row.name, row.module, spec.Source, effect, msg, row.source, row.effect, row.msg)
		}
		if want := map[Source]string{FromDNS: "foo.team", FromEndpoints: "foo.team", FromConsul: "foo"}[row.source]; spec.Host != want {
			t.Errorf("%q: got %q, want %q", row.name, spec.Host, want)
		}
	}
}

func TestConsulServices(t *testing.T) {
	w := &config.World{Resolvers: []config.Resolver{{Meta: meta("ConsulResolver", "mine", "a"), Address: "consul.example:8500", Datacenter: "dc9"}}}
	for _, row := range []struct {
		resolver, service string
		host              string
		consul            Consul
		problems          []string
	}{
		{"consul", "foo", "foo", Consul{"127.0.0.1:8500", "dc1"}, nil},
		{"mine", "foo", "foo", Consul{"consul.example:8500", "dc9"}, nil},
		{"mine", "foo:8080", "foo", Consul{"consul.example:8500", "dc9"}, []string{"service: notice"}},
		{"mine", "foo.bar", "foo.bar", Consul{"consul.example:8500", "dc9"}, []string{"service: object_dropped"}},
	} {
		m := mapping("team", row.service)
		m.Resolver = row.resolver
		spec, problems := SpecOf(m, nil, w, Options{})
		if got := effects(problems); spec.Host != row.host || spec.Consul != row.consul || !slices.Equal(got, row.problems) {
			t.Errorf("%s by %s: got %q at %+v, problems %q, want %q at %+v, %q", row.service, row.resolver, spec.Host, spec.Consul, got, row.host, row.consul, row.problems)
		}
	}
}

// Other ways than taking turns need endpoints: a Mapping that asks for one without them
// is dropped, what the Module wishes for does not hurt it.
func TestBalanceNeedsEndpoints(t *testing.T) {
	least := &config.LoadBalancer{Policy: config.LeastRequest}
	maglev := &config.LoadBalancer{Policy: config.Maglev, SourceIP: true}
	for _, row := range []struct {
		name            string
		mapping, module *config.LoadBalancer
		resolver        string
		disabled        bool
		want            config.BalancePolicy
		problems        []string
	}{
		{"nothing said", nil, nil, "endpoint", false, config.RoundRobin, nil},
		{"the Mapping's", least, nil, "endpoint", false, config.LeastRequest, nil},
		{"the Mapping's before the Module's", least, maglev, "endpoint", false, config.LeastRequest, nil},
		{"the Module's", nil, maglev, "endpoint", false, config.Maglev, nil},
		{"of Consul", nil, maglev, "consul", false, config.Maglev, nil},
		{"without endpoints", least, nil, "", false, config.RoundRobin, []string{"load_balancer: object_dropped"}},
		{"the Module's without endpoints", nil, least, "", false, config.RoundRobin, nil},
		{"endpoints disabled", least, nil, "endpoint", true, config.RoundRobin, []string{"resolver: field_ignored", "load_balancer: field_ignored"}},
	} {
		m := mapping("team", "foo")
		m.Resolver, m.LoadBalancer = row.resolver, row.mapping
		spec, problems := SpecOf(m, &config.Module{LoadBalancer: row.module}, &config.World{}, Options{DisableEndpoints: row.disabled})
		if got := effects(problems); spec.Balance != row.want || !slices.Equal(got, row.problems) {
			t.Errorf("%s: got %v, problems %q, want %v, %q", row.name, spec.Balance, got, row.want, row.problems)
		}
	}
}

func TestTimesAndFamilies(t *testing.T) {
	n := func(i int) *int { return &i }
	b := func(v bool) *bool { return &v }
	module := &config.Module{ClusterIdleTimeoutMS: n(1000), ClusterMaxConnectionLifetimeMS: n(2000), EnableIPv6: b(true)}
	for _, row := range []struct {
		name    string
		mapping config.Mapping
		module  *config.Module
		want    Spec
	}{
		{"nothing said", config.Mapping{}, nil,
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Hour}},
		{"the Module's", config.Mapping{}, module,
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Second, MaxLifetime: 2 * time.Second, Family: PreferIPv6}},
		{"the Mapping's", config.Mapping{ConnectTimeoutMS: n(5), ClusterIdleTimeoutMS: n(6), ClusterMaxConnectionLifetimeMS: n(7),
			EnableIPv4: b(false), RespectDNSTTL: true, ClusterTag: "tag", StatsName: "name"}, module,
			Spec{ConnectTimeout: 5 * time.Millisecond, IdleTimeout: 6 * time.Millisecond, MaxLifetime: 7 * time.Millisecond,
				Family: IPv6, RespectTTL: true, Tag: "tag", Label: "name"}},
		{"the Module's default of stats_name", config.Mapping{}, &config.Module{Defaults: config.Defaults{StatsName: "all"}},
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Hour, Label: "all"}},
		{"the Mapping's own stats_name", config.Mapping{StatsName: "name"}, &config.Module{Defaults: config.Defaults{StatsName: "all"}},
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Hour, Label: "name"}},
		{"0 is not said", config.Mapping{ConnectTimeoutMS: n(0), ClusterIdleTimeoutMS: n(0), ClusterMaxConnectionLifetimeMS: n(0)}, module,
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Second, MaxLifetime: 2 * time.Second, Family: PreferIPv6}},
		{"both families off", config.Mapping{EnableIPv4: b(false), EnableIPv6: b(false)}, nil,
			Spec{ConnectTimeout: 3 * time.Second, IdleTimeout: time.Hour, Family: IPv4}},
		{"no overflow", config.Mapping{ConnectTimeoutMS: n(1 << 62)}, nil,
			Spec{ConnectTimeout: 365 * 24 * time.Hour, IdleTimeout: time.Hour}},
	} {
		m := row.mapping
		m.Meta, m.Service = meta("Mapping", "m", "default"), "foo"
		want := row.want
		want.Host, want.Port = "foo", 80
		want.Breakers = config.CircuitBreakers{Default: config.DefaultLimits, High: config.DefaultLimits}
		if want.Label == "" {
			want.Label = "foo"
		}
		got, problems := SpecOf(&m, row.module, &config.World{}, Options{})
		if got != want || len(problems) > 0 {
			t.Errorf("%s:\n got %+v %v\nwant %+v", row.name, got, problems, want)
		}
	}
	m := mapping("default", "foo")
	m.ConnectTimeoutMS = n(-1)
	if got, problems := SpecOf(m, nil, &config.World{}, Options{}); got.ConnectTimeout != defaultConnectTimeout || len(problems) != 1 {
		t.Errorf("negative: got %v and %v, want the default and a problem", got.ConnectTimeout, problems)
	}
}

func TestFindContext(t *testing.T) {
	w := &config.World{TLSContexts: []config.TLSContext{
		{Meta: meta("TLSContext", "a", "one")},
		{Meta: meta("TLSContext", "a", "two")},
		{Meta: meta("TLSContext", "a.two", "zzz")},
	}}
	for name, want := range map[string]string{"a": "a.one", "a.one": "a.one", "a.two": "a.two.zzz", "b": ""} {
		got := ""
		if c := findContext(w, name); c != nil {
			got = c.FullName()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func FuzzService(f *testing.F) {
	for _, s := range []string{"foo", "https://foo:8080", "[::1]:80", "[fe80::1%25eth0]", "a@b", "foo/x?y#z", "::", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := parseService(text)
		if err != nil {
			return
		}
		if s.host == "" {
			t.Fatalf("%q: no host and no error", text)
		}
		spec := Spec{Host: s.host, Port: s.port}
		again, wrong, err := parseService(strings.Replace(spec.Address(), "%", "%25", 1))
		if err != nil || len(wrong) > 0 || again.host != s.host || again.port != s.port {
			t.Fatalf("%q became %q, which reads as %+v %v %v", text, spec.Address(), again, wrong, err)
		}
	})
}
