package authn

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/decision"
	"legate/wire"
)

// A tester is a Filter that does as it is told and notes that it was asked.
type tester struct {
	name    string
	outcome Outcome
	sets    string // a header of the request
	asked   *[]string
}

func (f *tester) Filter(c *Call) Outcome {
	*f.asked = append(*f.asked, f.name)
	if f.outcome == Deny {
		c.Reply = Reply{Reason: decision.FilterInvalid, By: f.name}
	}
	if f.sets != "" {
		c.Edits.AddName([]byte(f.sets), []byte("1"))
	}
	return f.outcome
}

// testPolicies makes policies whose Filters are testers: those whose names begin with "no"
// deny, and one called "sets-x" sets the header x.
func testPolicies(t testing.TB, list ...config.FilterPolicy) (p *policies, problems []config.Problem, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	all, problems := newPolicies(&config.World{FilterPolicies: list}, asking(t, nil), func(_ *config.FilterPolicy, _ string, u *config.FilterUse) (Filter, []config.Problem) {
		f := &tester{name: u.Name, asked: asked}
		if strings.HasPrefix(u.Name, "no") {
			f.outcome = Deny
		}
		f.sets, _ = strings.CutPrefix(u.Name, "sets-")
		if f.sets == u.Name {
			f.sets = ""
		}
		return f, nil
	})
	return &all, problems, asked
}

func policy(name string, rules ...config.FilterRule) config.FilterPolicy {
	return config.FilterPolicy{Meta: config.Meta{Kind: "FilterPolicy", Name: name, Namespace: "shop"}, Rules: rules}
}

// asks is a rule that asks one Filter, which is named after it.
func asks(host, path, name string) config.FilterRule {
	return config.FilterRule{Host: host, Path: path, Filters: []config.FilterUse{{Name: name, Namespace: "shop"}}}
}

// testCall is a request for host and path, with further fields.
func testCall(t testing.TB, host, path string, fields ...string) *Call {
	t.Helper()
	h := &wire.Head{}
	h.BuildRequest("GET", host, path, fields...)
	return &Call{Head: h, Edits: &wire.Edits{}, Path: []byte(path)}
}

func TestPolicyOrder(t *testing.T) {
	urgent := asks("*", "/urgent/*", "urgent")
	urgent.Precedence = 10
	late := asks("*", "*", "late")
	late.Precedence = -1
	p, _, asked := testPolicies(t,
		policy("z", asks("*", "/a/*", "z"), urgent),
		policy("b", asks("*", "/a/b/*", "b"), asks("*", "/a/*", "b2"), config.FilterRule{Host: "*", Path: "/open/*"}, asks("*", "/open/*", "never")),
		policy("a", asks("host.com", "*", "host"), asks("*.wild.com", "/w*", "wild"), asks("port.com:8080", "*", "port"), asks("HOST2.com", "/[a-c]", "set")),
		policy("y", late),
	)
	for _, row := range []struct{ host, path, want string }{
		{"x.com", "/a/x", "b2"},
		{"x.com", "/a/b/x", "b"},
		{"x.com", "/urgent/x", "urgent"},
		{"host.com", "/urgent/x", "urgent"},
		{"host.com", "/a/x", "host"},
		{"HOST.com", "/a/x", "host"},
		{"host.com:8443", "/a/x", "host"},
		{"host.com.", "/a/x", "host"},
		{"Host.com.:8443", "/a/x", "host"},
		{"a.wild.com.", "/w", "wild"},
		{"a.wild.com", "/w", "wild"},
		{"a.wild.com:1", "/w/x", "wild"},
		{"wild.com", "/w", "late"},
		{"port.com:8080", "/", "port"},
		{"port.com:8081", "/", "late"},
		{"host2.com", "/b", "set"},
		{"host2.com", "/d", "late"},
		{"x.com", "/open/x", ""},
		{"x.com", "/open", "late"},
		{"[::1]:80", "/", "late"},
		{"x.com", "*", "late"},
	} {
		*asked = nil
		p.Filter(testCall(t, row.host, row.path))
		if got := strings.Join(*asked, " "); got != row.want {
			t.Errorf("%s%s: asked %q, want %q", row.host, row.path, got, row.want)
		}
	}
}

// Nobody gets around a rule by a spelling that some service reads as another path, nor
// out of one into an exception.
func TestPolicyReadings(t *testing.T) {
	p, _, asked := testPolicies(t, policy("p", config.FilterRule{Host: "*", Path: "/public/*"}, asks("*", "/admin/*", "admin"), asks("*", "/api/exact", "exact")))
	for _, row := range []struct{ path, want string }{
		{"/admin/x", "admin"},
		{"//admin/x", "admin"},
		{"/admin;a=b/x", "admin"},
		{"/admin%2Fx", "admin"},
		{"/admin%5cx", "admin"},
		{"/admin%3bx/y", "admin"},
		{"/x/..;/admin/x", "admin"},
		{"/public/..;/admin/x", "admin"},
		{"/public/..%2Fadmin/x", "admin"},
		{"/public/%2e%2e/admin/x", "admin"},
		{"/public//x", ""},
		{"/api//exact", "exact"},
		{"/api/exact;x", "exact"},
		{"/api/exact/..;", ""},
		{"/api;x/exact", "exact"},
		{"/administrator/x", ""},
		{"/a%20dmin/x", ""},
		{"/..%2Fadmin/x", "admin"},                           // above the root is the root
		{"/..%2F..%2Fadmin/x", "admin"},                      //
		{"/public%2F..%2F..%2F..%2Fadmin/x", "admin"},        //
		{"/..;/..;/admin/x", "admin"},                        //
		{"/..%2F..;", ""},                                    //
		{"/x%2F..%2Fadmin%2F;x%2F..%2Fx", "admin"},           // who knows no parameters, as nginx
		{"/x%2F..%2Fadmin%2F%2F..%2Fx", "admin"},             // who goes up from an empty segment (RFC 3986)
		{"/public%2Fx/..;/admin/x", "admin"},                 // who knows no escaped slashes
		{"/admin%2F../x", "admin"},                           // who knows no dots
		{"/x%2F..%2Fadmin/..%5C../x", "admin"},               // who knows no backslashes
		{"/x%2F..%2Fapi%2F;x%2F..%2Fexact;y", "exact"},       //
		{"/public/x%2F..%2F..%2Fadmin%2F;x%2F..;y", "admin"}, //
	} {
		*asked = nil
		p.Filter(testCall(t, "x.com", row.path))
		if got := strings.Join(*asked, " "); got != row.want {
			t.Errorf("%s: asked %q, want %q", row.path, got, row.want)
		}
	}
}

// A route that takes paths regardless of case gets nobody around a rule.
func TestPolicyRegardlessOfCase(t *testing.T) {
	p, _, asked := testPolicies(t, policy("p", asks("*", "/Admin/[A-C]*", "admin"), asks("x.com", "/api/x", "api"), config.FilterRule{Host: "*", Path: "/open/*"}, asks("*", "/OPEN/x", "late")))
	for _, row := range []struct{ path, exactly, regardless string }{
		{"/Admin/Bx", "admin", "admin"},
		{"/admin/bx", "", "admin"},
		{"/ADMIN/CX", "", "admin"},
		{"/ADMIN/d", "", ""},
		{"/ADMIN%2Fa", "", "admin"},
		{"/API/x", "", "api"},
		{"/OPEN/x", "late", "late"},
		{"/open/x", "", ""},
	} {
		for _, folds := range []bool{false, true} {
			*asked = nil
			c := testCall(t, "x.com", row.path)
			c.Service = &Service{FoldsCase: folds}
			want := row.exactly
			if folds {
				want = row.regardless
			}
			p.Filter(c)
			if got := strings.Join(*asked, " "); got != want {
				t.Errorf("%s (%v): asked %q, want %q", row.path, folds, got, want)
			}
		}
	}
}

// Whatever a service makes of a path, the rule that is about it has been asked.
func TestEveryReadingIsAsked(t *testing.T) {
	p, _, asked := testPolicies(t, policy("p", asks("*", "/admin/*", "admin")))
	pieces := []string{"/", "//", "%2F", "%5c", ";", "%3B", "..", ".", "admin", "x"}
	r := rand.New(rand.NewPCG(1, 2))
	guarded := 0
	for range 40_000 {
		path := "/"
		for range 1 + r.IntN(9) {
			path += pieces[r.IntN(len(pieces))]
		}
		h := &wire.Head{}
		h.BuildRequest("GET", "x.com", path)
		if err := h.NormalizePath(wire.PathRules{}); err != nil {
			t.Fatal(path, err)
		}
		path = string(h.Path())
		read := asService(r, path)
		if !strings.HasPrefix(read, "/admin/") {
			continue
		}
		guarded++
		*asked = nil
		p.Filter(testCall(t, "x.com", path))
		if len(*asked) == 0 {
			t.Fatalf("%s: a service reads %s, and nobody was asked", path, read)
		}
	}
	if guarded < 200 {
		t.Errorf("only %d paths were about the rule", guarded)
	}
}

// asService reads path as some service would, by steps that are each as simple as may be.
func asService(r *rand.Rand, path string) string {
	if r.IntN(2) == 0 {
		path = strings.NewReplacer("%2F", "/", "%2f", "/", "%3B", ";", "%3b", ";").Replace(path)
	}
	if r.IntN(2) == 0 {
		path = strings.NewReplacer("%5C", "/", "%5c", "/").Replace(path)
	}
	segments := strings.Split(path, "/")[1:]
	if r.IntN(2) == 0 {
		for i, s := range segments {
			segments[i], _, _ = strings.Cut(s, ";")
		}
	}
	if r.IntN(2) == 0 {
		last := segments[len(segments)-1]
		segments = slices.DeleteFunc(segments, func(s string) bool { return s == "" })
		if last == "" {
			segments = append(segments, "")
		}
	}
	if r.IntN(2) == 0 {
		var up []string
		for i, s := range segments {
			switch {
			case s == "..":
				up = up[:max(len(up)-1, 0)]
			case s != ".":
				up = append(up, s)
				continue
			}
			if i == len(segments)-1 {
				up = append(up, "")
			}
		}
		segments = up
	}
	return "/" + strings.Join(segments, "/")
}

func TestPolicyChain(t *testing.T) {
	header := func(name string, negate bool) *config.HeaderCondition {
		return &config.HeaderCondition{Name: name, Negate: negate}
	}
	one := func(name string) config.FilterUse { return config.FilterUse{Name: name} }
	goOn := func(name string) config.FilterUse { return config.FilterUse{Name: name, ContinueOnDeny: true} }
	enough := func(name string) config.FilterUse {
		return config.FilterUse{Name: name, ContinueOnDeny: true, BreakOnAllow: true}
	}
	when := func(name string, c *config.HeaderCondition) config.FilterUse {
		return config.FilterUse{Name: name, If: c}
	}
	for _, row := range []struct {
		name   string
		uses   []config.FilterUse
		fields []string
		asked  string
		want   Outcome
	}{
		{"all must let pass", []config.FilterUse{one("a"), one("b")}, nil, "a b", Allow},
		{"the first refusal ends it", []config.FilterUse{one("no-a"), one("b")}, nil, "no-a", Deny},
		{"a refusal that is passed over", []config.FilterUse{goOn("no-a"), one("b")}, nil, "no-a b", Allow},
		{"at the end of the list the request goes on", []config.FilterUse{goOn("no-a"), goOn("no-b")}, nil, "no-a no-b", Allow},
		{"one is enough: the first", []config.FilterUse{enough("a"), one("no-b")}, nil, "a", Allow},
		{"one is enough: the second", []config.FilterUse{enough("no-a"), one("b")}, nil, "no-a b", Allow},
		{"one is enough: none", []config.FilterUse{enough("no-a"), one("no-b")}, nil, "no-a no-b", Deny},
		{"by a header: the one", []config.FilterUse{when("a", header("authorization", false)), when("b", header("authorization", true))}, []string{"Authorization", "x"}, "a", Allow},
		{"by a header: the other", []config.FilterUse{when("a", header("authorization", false)), when("b", header("authorization", true))}, nil, "b", Allow},
		{"all passed over", []config.FilterUse{when("no-a", header("x", false))}, nil, "", Allow},
		{"a header that an earlier one sets", []config.FilterUse{one("sets-x"), when("b", header("x", false))}, nil, "sets-x b", Allow},
	} {
		p, _, asked := testPolicies(t, policy("p", config.FilterRule{Host: "*", Path: "*", Filters: row.uses}))
		c := testCall(t, "x.com", "/", row.fields...)
		got := p.Filter(c)
		if got != row.want || strings.Join(*asked, " ") != row.asked {
			t.Errorf("%s: asked %q with outcome %v, want %q and %v", row.name, *asked, got, row.asked, row.want)
		}
		if (c.Reply.Reason == decision.None) != (got == Allow) {
			t.Errorf("%s: outcome %v with the reply %+v", row.name, got, c.Reply)
		}
	}
}

func TestConditions(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, row := range []struct {
		name      string
		condition config.HeaderCondition
		fields    []string
		want      bool
	}{
		{"there", config.HeaderCondition{Name: "x"}, []string{"X", "1"}, true},
		{"there, known to the engine", config.HeaderCondition{Name: "authorization"}, []string{"AUTHORIZATION", "1"}, true},
		{"empty", config.HeaderCondition{Name: "x"}, []string{"X", ""}, false},
		{"missing", config.HeaderCondition{Name: "x"}, nil, false},
		{"missing, negated", config.HeaderCondition{Name: "x", Negate: true}, nil, true},
		{"the value", config.HeaderCondition{Name: "x", Value: text("a")}, []string{"X", "a"}, true},
		{"another case", config.HeaderCondition{Name: "x", Value: text("a")}, []string{"X", "A"}, false},
		{"more than the value", config.HeaderCondition{Name: "x", Value: text("a")}, []string{"X", "ab"}, false},
		{"the empty value", config.HeaderCondition{Name: "x", Value: text("")}, []string{"X", ""}, true},
		{"the empty value, missing", config.HeaderCondition{Name: "x", Value: text("")}, nil, false},
		{"a regex anywhere", config.HeaderCondition{Name: "x", Regex: "b"}, []string{"X", "abc"}, true},
		{"a regex for all", config.HeaderCondition{Name: "x", Regex: "^b$"}, []string{"X", "abc"}, false},
		{"a regex that nothing matches", config.HeaderCondition{Name: "x", Regex: ".*"}, nil, false},
		{"negated regex", config.HeaderCondition{Name: "x", Regex: "b", Negate: true}, []string{"X", "abc"}, false},
	} {
		k, err := newCondition(&row.condition)
		if err != nil {
			t.Fatal(err)
		}
		if got := k.holds(testCall(t, "x.com", "/", row.fields...)); got != row.want {
			t.Errorf("%s: %v holds: %v, want %v", row.name, k, got, row.want)
		}
	}
}

func TestPolicyOverlaps(t *testing.T) {
	higher := asks("*", "/api/*", "high")
	higher.Precedence = 1
	for _, row := range []struct {
		name string
		list []config.FilterPolicy
		want string
	}{
		{"apart", []config.FilterPolicy{policy("a", asks("*", "/a/*", "a")), policy("b", asks("*", "/b/*", "b"))}, ""},
		{"one policy", []config.FilterPolicy{policy("a", asks("*", "/a/*", "a"), asks("*", "*", "b"))}, ""},
		{"other hosts", []config.FilterPolicy{policy("a", asks("a.com", "*", "a")), policy("b", asks("b.com", "*", "b"))}, ""},
		{"settled by precedence", []config.FilterPolicy{policy("a", asks("*", "*", "a")), policy("b", higher)}, ""},
		{
			"one within the other",
			[]config.FilterPolicy{policy("b", asks("shop.com", "/api/*", "b")), policy("a", asks("*.com", "/*/x", "a"))},
			"FilterPolicy/b.shop: rules[0]: FilterPolicy shop/a rule 1 matches shop.com/api/x too; FilterPolicy shop/a decides there, being first by name; precedence would settle it",
		},
		{
			"sets",
			[]config.FilterPolicy{policy("a", asks("*", "/[a-f]", "a")), policy("b", asks("h", "/[f-z]", "b"))},
			"FilterPolicy/b.shop: rules[0]: FilterPolicy shop/a rule 1 matches h/f too; FilterPolicy shop/a decides there, being first by name; precedence would settle it",
		},
		{"sets that are apart", []config.FilterPolicy{policy("a", asks("*", "/[a-e]", "a")), policy("b", asks("h", "/[f-z]", "b"))}, ""},
	} {
		_, problems, _ := testPolicies(t, row.list...)
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if strings.Join(got, "\n") != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// thousand is a thousand rules of one path each, and one for the rest.
func thousand(t testing.TB) (*policies, *[]string) {
	t.Helper()
	var rules []config.FilterRule
	for i := range 1000 {
		rules = append(rules, asks("*", fmt.Sprintf("/service-%03d/*", i), "some"))
	}
	rules = append(rules, asks("*", "*", "rest"))
	p, _, asked := testPolicies(t, policy("p", rules...))
	return p, asked
}

func TestAllocsPolicies(t *testing.T) {
	p, asked := thousand(t)
	for _, path := range []string{"/service-999/x", "/other/x", "/service-500;a=b/x", "/a%2F..%2Fservice-500%2F;x%5Cy"} {
		c := testCall(t, "shop.example.com:8443", path, "X-Tenant", "a")
		if n := testing.AllocsPerRun(100, func() { *asked = (*asked)[:0]; p.Filter(c) }); n != 0 {
			t.Errorf("%s: %v allocs", path, n)
		}
	}
	k, err := newCondition(&config.HeaderCondition{Name: "x-tenant", Regex: "^a"})
	if err != nil {
		t.Fatal(err)
	}
	c := testCall(t, "x.com", "/", "X-Tenant", "a")
	if n := testing.AllocsPerRun(100, func() { k.holds(c) }); n != 0 {
		t.Errorf("a condition: %v allocs", n)
	}
}

func BenchmarkPolicies(b *testing.B) {
	p, asked := thousand(b)
	c := testCall(b, "shop.example.com:8443", "/service-999/orders/1")
	b.ReportAllocs()
	for b.Loop() {
		*asked = (*asked)[:0]
		p.Filter(c)
	}
}

func TestPatience(t *testing.T) {
	now := time.Unix(1000, 0)
	c := &Call{Patience: 4 * time.Second}
	for _, row := range []struct {
		after, limit, want time.Duration
	}{
		{0, time.Second, time.Second},
		{time.Second, 5 * time.Second, 3 * time.Second},
		{3500 * time.Millisecond, time.Second, 500 * time.Millisecond},
		{time.Minute, time.Second, time.Millisecond},
	} {
		if got := c.wait(row.limit, now.Add(row.after)); got != row.want {
			t.Errorf("after %v, of %v: %v, want %v", row.after, row.limit, got, row.want)
		}
	}
	for _, endless := range []*Call{nil, {}} {
		if got := endless.wait(time.Hour, now); got != time.Hour {
			t.Errorf("without an end: %v", got)
		}
	}
}
