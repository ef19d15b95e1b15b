package routes

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"legate/config"
	"legate/wire"
)

func policy(namespace, name string, rules ...config.GuardRule) config.Guard {
	return config.Guard{Meta: config.Meta{Kind: "FilterPolicy", Name: name, Namespace: namespace}, Rules: rules}
}

func TestGuards(t *testing.T) {
	guard := func(bypassable bool, rules ...config.GuardRule) config.Guard {
		g := policy("ns", "p", rules...)
		g.Bypassable = bypassable
		return g
	}
	bypass := func(m *config.Mapping) { v := true; m.BypassAuth = &v }
	rxHost := func(m *config.Mapping) { m.Hostname, m.Host, m.HostRegex = "", ".*", true }
	for _, row := range []struct {
		guard  config.Guard
		m      *config.Mapping
		closed bool
	}{
		{guard(false, config.GuardRule{}), mapping("m", "/"), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/"), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/api/v1/"), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/web/"), false},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/API/", anyCase), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/", exact), false},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/api/x", exact), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/web/.*", regex), false},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "^/api/[0-9]+", regex), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/items/([0-9]+)", regex), false},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/a.*", regex), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "/items|/web", regex), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "(?i)/items/.*", regex), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*"}), mapping("m", "([a-z/]+)/items", regex), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/*/admin"}), mapping("m", "/api/v1/user", exact), false},
		{guard(false, config.GuardRule{Host: "*", Path: "/api/?/admin"}), mapping("m", "/api/1/", anyCase), true},
		{guard(false, config.GuardRule{Host: "*", Path: "/[a-z]/x"}), mapping("m", "/b/x", exact), true},
		{guard(false, config.GuardRule{Host: "*", Path: `/\a*`}), mapping("m", "/a/", exact), true},
		{guard(false, config.GuardRule{Host: "?.com", Path: "*"}), mapping("m", "/", hostname("a.com")), true},
		{guard(false, config.GuardRule{Host: "*", Path: "*/secret"}), mapping("m", "/web/"), true},
		{guard(false, config.GuardRule{Host: "A.com", Path: "*"}), mapping("m", "/", hostname("a.com")), true},
		{guard(false, config.GuardRule{Host: "a.com", Path: "*"}), mapping("m", "/", hostname("a.com:8443")), true},
		{guard(false, config.GuardRule{Host: "a.com:*", Path: "*"}), mapping("m", "/", hostname("a.com")), true},
		{guard(false, config.GuardRule{Host: "a.com", Path: "*"}), mapping("m", "/", hostname("b.com")), false},
		{guard(false, config.GuardRule{Host: "*.com", Path: "*"}), mapping("m", "/", hostname("a.*")), true},
		{guard(false, config.GuardRule{Host: "a*b*c", Path: "*"}), mapping("m", "/", hostname("*.bc")), true},
		{guard(false, config.GuardRule{Host: "a*b*c", Path: "*"}), mapping("m", "/", hostname("*.bd")), false},
		{guard(false, config.GuardRule{Host: "a.com", Path: "*"}), mapping("m", "/", rxHost), true},
		{guard(false, config.GuardRule{Host: "a.com"}, config.GuardRule{Host: "b.com"}), mapping("m", "/", hostname("b.com")), true},
		{guard(true, config.GuardRule{}), mapping("m", "/", bypass), false},
		{guard(false, config.GuardRule{}), mapping("m", "/", bypass), true},
		{guard(false, config.GuardRule{}), mapping("m", "/", redirecting), false},
	} {
		w := world(anyHost(), row.m)
		w.Guards = []config.Guard{row.guard}
		want := map[bool]string{true: "FilterPolicy ns/p"}[row.closed]
		if got := build(t, w).Routes[0].ClosedBy; got != want {
			t.Errorf("guard %v, mapping %s %s: closed by %q, want %q", row.guard.Rules, row.m.Hostname, row.m.Prefix, got, want)
		}
	}
	table := build(t, world(anyHost(), mapping("m", "/", func(m *config.Mapping) { m.JWTBroken = true })))
	if got := table.Routes[0].ClosedBy; got != "Mapping default/m" {
		t.Errorf("jwt: closed by %q", got)
	}
}

func TestExemptions(t *testing.T) {
	exempt := func(host, path string) config.GuardRule {
		return config.GuardRule{Host: host, Path: path, Exempt: true}
	}
	protect := func(host, path string) config.GuardRule { return config.GuardRule{Host: host, Path: path} }
	first := func(r config.GuardRule) config.GuardRule { r.Precedence = 1; return r }
	everything := protect("*", "*")
	broken := policy("z", "broken", everything)
	broken.Broken = true
	other := policy("z", "other", everything)
	other.Kind = "AuthService"
	for _, row := range []struct {
		name   string
		guards []config.Guard
		m      *config.Mapping
		want   string // what closes it
	}{
		{"before", []config.Guard{policy("a", "p", exempt("*", "/public/*"), everything)}, mapping("m", "/public/"), ""},
		{"below", []config.Guard{policy("a", "p", exempt("*", "/public/*"), everything)}, mapping("m", "/public/css/"), ""},
		{"after", []config.Guard{policy("a", "p", everything, exempt("*", "/public/*"))}, mapping("m", "/public/"), "p"},
		{"in part", []config.Guard{policy("a", "p", exempt("*", "/public/*"), everything)}, mapping("m", "/public"), "p"},
		{"elsewhere", []config.Guard{policy("a", "p", exempt("*", "/public/*"), everything)}, mapping("m", "/web/"), "p"},
		{"case matters", []config.Guard{policy("a", "p", exempt("*", "/public/*"), everything)}, mapping("m", "/public/", anyCase), "p"},
		{"no letters", []config.Guard{policy("a", "p", exempt("*", "/1/*"), everything)}, mapping("m", "/1/a", anyCase), ""},
		{"exact", []config.Guard{policy("a", "p", exempt("*", "/health"), everything)}, mapping("m", "/health", exact), ""},
		{"only exact", []config.Guard{policy("a", "p", exempt("*", "/health"), everything)}, mapping("m", "/health"), "p"},
		{"regex", []config.Guard{policy("a", "p", exempt("*", "/items/*"), everything)}, mapping("m", "/items/[0-9]+", regex), ""},
		{"vague regex", []config.Guard{policy("a", "p", exempt("*", "/items/*"), everything)}, mapping("m", "/it(ems)?/.*", regex), "p"},
		{"question mark", []config.Guard{policy("a", "p", exempt("*", "/?/*"), everything)}, mapping("m", "/a/"), "p"},
		{"star in the middle", []config.Guard{policy("a", "p", exempt("*", "/*/x"), everything)}, mapping("m", "/a/x"), "p"},
		{"star in the middle, exact", []config.Guard{policy("a", "p", exempt("*", "/*/x"), everything)}, mapping("m", "/a/x", exact), ""},
		{"every host", []config.Guard{policy("a", "p", exempt("", ""), everything)}, mapping("m", "/"), ""},
		{"its host", []config.Guard{policy("a", "p", exempt("a.com", "*"), everything)}, mapping("m", "/", hostname("a.com")), ""},
		{"its host, with a port", []config.Guard{policy("a", "p", exempt("a.com", "*"), everything)}, mapping("m", "/", hostname("A.com:8443")), ""},
		{"one port", []config.Guard{policy("a", "p", exempt("a.com:8443", "*"), everything)}, mapping("m", "/", hostname("a.com")), "p"},
		{"one host of many", []config.Guard{policy("a", "p", exempt("a.com", "*"), everything)}, mapping("m", "/"), "p"},
		{"names below", []config.Guard{policy("a", "p", exempt("*.com", "*"), everything)}, mapping("m", "/", hostname("*.a.com")), ""},
		{"names above", []config.Guard{policy("a", "p", exempt("*.a.com", "*"), everything)}, mapping("m", "/", hostname("*.com")), "p"},
		{"names before", []config.Guard{policy("a", "p", exempt("a*", "*"), everything)}, mapping("m", "/", hostname("a.*")), ""},
		{"by a policy before", []config.Guard{policy("b", "q", everything), policy("a", "z", exempt("*", "/x/*"))}, mapping("m", "/x/"), ""},
		{"by a policy after", []config.Guard{policy("a", "q", everything), policy("b", "a", exempt("*", "/x/*"))}, mapping("m", "/x/"), "q"},
		{"by precedence", []config.Guard{policy("a", "q", everything), policy("b", "a", first(exempt("*", "/x/*")))}, mapping("m", "/x/"), ""},
		{"against precedence", []config.Guard{policy("a", "q", exempt("*", "*")), policy("b", "p", first(everything))}, mapping("m", "/x/"), "p"},
		{"of a broken policy", []config.Guard{policy("a", "p", exempt("*", "*")), broken}, mapping("m", "/x/"), "broken"},
		{"of another kind", []config.Guard{policy("a", "p", exempt("*", "*")), other}, mapping("m", "/x/"), "other"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := world(anyHost(), row.m)
			w.Guards = row.guards
			w.Sort()
			got := build(t, w).Routes[0].ClosedBy
			if _, name, _ := strings.Cut(got, "/"); name != row.want {
				t.Errorf("closed by %q, want %q", got, row.want)
			}
		})
	}
}

// TestGuardsInRandomWorlds holds the closing of routes to what single requests say:
// if the first rule that matches some request of a route protects it, the route is closed.
func TestGuardsInRandomWorlds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	of := func(texts ...string) string { return texts[rng.IntN(len(texts))] }
	var paths []string
	for _, a := range []string{"/", "/a", "/b", "/A", "//a"} {
		for _, b := range []string{"", "/", "/a", "/b", "a", "/B/"} {
			for _, c := range []string{"", "/", "a", "/b"} {
				paths = append(paths, a+b+c)
			}
		}
	}
	hosts := []string{"a.com", "b.com", "a.b.com", "a.com:80", "a.org"}
	open := 0
	for range 3000 {
		m := mapping("m", of("/", "/a", "/a/", "/a/b", "//a", "/A"), hostname(of("*", "a.com", "*.com", "a.*", "*.b.com", "a.com:80")))
		switch rng.IntN(5) {
		case 0:
			exact(m)
		case 1:
			anyCase(m)
		case 2:
			regex(m)
			m.Prefix = of("/a.*", "^/a/[ab]", "/(a|b)/?", "(?i)/a/b", "/a|/b/.*", "//?a+")
		}
		var rules []config.GuardRule
		for range 1 + rng.IntN(3) {
			rules = append(rules, config.GuardRule{
				Host:       of("*", "*", "a.com", "*.com", "a.*", "?.com", "[ab].com", "a.com:80", "a*m"),
				Path:       of("*", "/*", "/a*", "/a/*", "/a", "/?/b", "*b", "/[ab]*", `/\a*`, "/*/b*", "//a/b"),
				Precedence: rng.IntN(2), Exempt: rng.IntN(2) == 0,
			})
		}
		w := world(anyHost(), m)
		w.Guards = []config.Guard{policy("a", "p", rules...)}
		table := build(t, w)
		route := table.Routes[0]
		if route.ClosedBy != "" {
			continue
		}
		open++
		for _, h := range hosts {
			for _, p := range paths {
				r := &Request{Head: &wire.Head{}}
				r.Head.BuildRequest("GET", h, p)
				if rt, _, _ := table.Match(r); rt == nil {
					continue
				}
				if rule := firstRule(rules, h, p); rule != nil && !rule.Exempt {
					t.Fatalf("%s%s of Mapping %s %s %+v is protected by %+v of %+v, but the route is open", h, p, m.Hostname, m.Prefix, route.path, *rule, rules)
				}
			}
		}
	}
	if open < 300 {
		t.Errorf("only %d routes stayed open: too little was tried", open)
	}
}

// firstRule returns the rule that decides about a request, tried rule by rule.
func firstRule(rules []config.GuardRule, host, path string) *config.GuardRule {
	bare, _, _ := strings.Cut(host, ":")
	for _, precedence := range []int{1, 0} {
		for i := range rules {
			r := &rules[i]
			if r.Precedence == precedence && globFits(r.Path, path) && (globFits(r.Host, host) || globFits(r.Host, bare)) {
				return r
			}
		}
	}
	return nil
}

func globFits(glob, text string) bool {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteByte('.')
		case '[':
			end := i + strings.IndexByte(glob[i:], ']')
			b.WriteString(glob[i : end+1])
			i = end
		case '\\':
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
	}
	return regexp.MustCompile(fmt.Sprintf("(?s)^(?:%s)$", b.String())).MatchString(text)
}
