package kube

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"legate/config"
)

func (s *status) brief() string {
	var b strings.Builder
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, "%s=%s %s %q; ", c.Type, c.Status, c.Reason, c.Message)
	}
	for i, r := range s.Rules {
		fmt.Fprintf(&b, "rule %d %s %s %q; ", i, r.Conditions[0].Status, r.Conditions[0].Reason, r.Conditions[0].Message)
	}
	return strings.TrimSpace(b.String() + s.State + " " + s.Reason + s.Error)
}

// Conditions say in Kubernetes' way what Problems say.
func TestJudged(t *testing.T) {
	name := Name{"shop", "a"}
	of := func(field string, effect config.Effect, msg string) config.Problem {
		m := config.Meta{Kind: "Mapping", Name: "a", Namespace: "shop"}
		return m.Problem(field, msg, effect)
	}
	problem := func(effect config.Effect, msg string) config.Problem { return of("f", effect, msg) }
	healthy := Outcome{Endpoints: map[Name]string{name: ""}}
	for _, test := range []struct {
		name, kind string
		problems   []config.Problem
		outcome    Outcome
		states     bool
		want       string
	}{
		{"all is well", "Mapping", nil, healthy, false, `Accepted=True Accepted ""; Attached=True Attached ""; Resolved=True EndpointsFound "";`},
		{"with Ambassador's state", "Mapping", nil, healthy, true, `Accepted=True Accepted ""; Attached=True Attached ""; Resolved=True EndpointsFound ""; Running`},
		{"a notice", "Mapping", []config.Problem{problem(config.Notice, "n")}, healthy, false,
			`Accepted=True Accepted "f: n; it is served as written"; Attached=True Attached ""; Resolved=True EndpointsFound "";`},
		{"a field that does not count", "Mapping", []config.Problem{problem(config.FieldIgnored, "x"), problem(config.Notice, "n")}, healthy, false,
			`Accepted=True FieldsIgnored "f: x; the field is ignored\nf: n; it is served as written"; Attached=True Attached ""; Resolved=True EndpointsFound "";`},
		{"broken", "Mapping", []config.Problem{problem(config.ObjectDropped, "x")}, Outcome{}, true,
			`Accepted=False Dropped "f: x; the object is dropped, the others serve"; Attached=False NotServed ""; Inactive f: x; the object is dropped, the others serve`},
		{"broken by a change", "Mapping", []config.Problem{problem(config.ObjectStale, "x")}, healthy, true,
			`Accepted=False LastGoodVersionServes "f: x; the last good version of the object keeps serving"; Attached=True Attached ""; Resolved=True EndpointsFound ""; Running`},
		{"no Host", "Mapping", nil, Outcome{Unattached: map[Name]bool{name: true}, Endpoints: map[Name]string{name: ""}}, false,
			`Accepted=True Accepted ""; Attached=False NoHost "no Host takes it, by its hostname or by a mappingSelector";`},
		{"nobody to ask", "Mapping", nil, Outcome{Endpoints: map[Name]string{name: "orders: no such host"}}, false,
			`Accepted=True Accepted ""; Attached=True Attached ""; Resolved=False NoEndpoints "orders: no such host";`},
		{"a redirect asks nobody", "Mapping", nil, Outcome{}, false, `Accepted=True Accepted ""; Attached=True Attached "";`},
		{"a lock that closes", "FilterPolicy", []config.Problem{problem(config.RouteClosed, "x")}, Outcome{}, false,
			`Accepted=False RoutesClosed "f: x; the routes that it guards answer 503"; rule 0 True Accepted ""; rule 1 True Accepted "";`},
		{"a rule that closes", "FilterPolicy", []config.Problem{of("rules[1].filters[0].name", config.RouteClosed, "x"), of("rules[0]", config.Notice, "n"), of("rules[10]", config.Notice, "m")}, Outcome{}, false,
			`Accepted=False RoutesClosed "rules[1].filters[0].name: x; the routes that it guards answer 503\nrules[0]: n; it is served as written\nrules[10]: m; it is served as written"; ` +
				`rule 0 True Accepted "n; it is served as written"; rule 1 False RoutesClosed "filters[0].name: x; the routes that it guards answer 503";`},
		{"a Host", "Host", nil, Outcome{}, false, `Accepted=True Accepted ""; Ready`},
		{"a Host that does not serve", "Host", []config.Problem{problem(config.ObjectDropped, "x")}, Outcome{}, false,
			`Accepted=False Dropped "f: x; the object is dropped, the others serve"; Error f: x; the object is dropped, the others serve`},
	} {
		s := judged(test.kind, name, 3, 2, test.problems, &test.outcome, test.states)
		if got := s.brief(); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
		if s.Conditions[0].Generation != 3 {
			t.Errorf("%s: of generation %d", test.name, s.Conditions[0].Generation)
		}
	}
}

// A Host whose certificate is ordered says how far that is, and what else is wrong before that.
func TestJudgedHost(t *testing.T) {
	name, at := Name{"shop", "a"}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dropped := []config.Problem{{Ref: config.Ref{Kind: "Host", Name: "a", Namespace: "shop"}, Msg: "x", Effect: config.ObjectDropped}}
	for _, test := range []struct {
		name     string
		problems []config.Problem
		host     HostState
		want     status
	}{
		{"in the clear", nil, HostState{Source: "None"}, status{State: "Ready", Source: "None"}},
		{"with a Secret", nil, HostState{Source: "Other"}, status{State: "Ready", Source: "Other"}},
		{"ordered", nil, HostState{Source: "ACME", State: "Ready", Done: "ACMECertificateChallenge"}, status{State: "Ready", Source: "ACME", Done: "ACMECertificateChallenge"}},
		{"not yet", nil, HostState{Source: "ACME", State: "Pending", Done: "DefaultsFilled", Next: "ACMEUserPrivateKeyCreated"},
			status{State: "Pending", Source: "ACME", Done: "DefaultsFilled", Next: "ACMEUserPrivateKeyCreated"}},
		{"refused", nil, HostState{Source: "ACME", State: "Error", Error: "no such name", ErrorAt: at, Retry: at.Add(5 * time.Minute)},
			status{State: "Error", Source: "ACME", Error: "no such name", ErrorAt: "2026-01-02T03:04:05Z", Backoff: "5m0s"}},
		{"broken", dropped, HostState{Source: "ACME", State: "Ready", Done: "ACMECertificateChallenge"},
			status{State: "Error", Source: "ACME", Error: "x; the object is dropped, the others serve", Done: "ACMECertificateChallenge"}},
	} {
		got := judged("Host", name, 1, 0, test.problems, &Outcome{Hosts: map[Name]HostState{name: test.host}}, false)
		before := got
		got.Conditions = nil
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.name, got, test.want)
		}
		before.since(&status{}, at)
		if again := before; again.since(&before, at) {
			t.Errorf("%s: the same is said again", test.name)
		}
		if later := before; test.host.Error != "" {
			if later.ErrorAt = "2026-01-02T04:00:00Z"; !later.since(&before, at) {
				t.Errorf("%s: that it failed once more is not said", test.name)
			}
		}
	}
}

// A status is written when it says something else, and times are those of transitions.
func TestSince(t *testing.T) {
	then, now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	say := func(problems ...config.Problem) status {
		return judged("Mapping", Name{}, 1, 0, problems, &Outcome{}, false)
	}
	before := say()
	if !before.since(&status{}, then) {
		t.Error("nothing was said before")
	}
	again := say()
	if again.since(&before, now) || again.Conditions[0].Since != "2026-01-02T03:04:05Z" {
		t.Errorf("the same is said again: %+v", again)
	}
	noted := say(config.Problem{Msg: "n"})
	if !noted.since(&before, now) || noted.Conditions[0].Since != "2026-01-02T03:04:05Z" {
		t.Errorf("another message is no transition: %+v", noted)
	}
	broken := say(config.Problem{Msg: "x", Effect: config.ObjectDropped})
	if !broken.since(&before, now) || broken.Conditions[0].Since != "2026-01-02T04:00:00Z" {
		t.Errorf("a transition: %+v", broken)
	}
	theirs := before
	theirs.Conditions = append([]condition{{Type: "Theirs", Status: "True"}}, before.Conditions...)
	if again := say(); again.since(&theirs, now) {
		t.Error("what others say is none of our business")
	}
	older := before
	older.Conditions = append([]condition{{Type: resolved, Status: "True"}}, before.Conditions...)
	if again := say(); !again.since(&older, now) {
		t.Error("what is not said any more has to go")
	}
	rules := func(n int, problems ...config.Problem) status {
		return judged("FilterPolicy", Name{}, 1, n, problems, &Outcome{}, false)
	}
	two := rules(2)
	two.since(&status{}, then)
	same, fewer, closed := rules(2), rules(1), rules(2, config.Problem{Field: "rules[1]", Msg: "x", Effect: config.RouteClosed})
	if same.since(&two, now) || !fewer.since(&two, now) || !closed.since(&two, now) {
		t.Error("what is said of rules counts too")
	}
	if closed.Rules[0].Conditions[0].Since != "2026-01-02T03:04:05Z" || closed.Rules[1].Conditions[0].Since != "2026-01-02T04:00:00Z" {
		t.Errorf("a transition of one rule: %+v", closed.Rules)
	}
}

// Problems are told to the object that they are about, and to no other.
func TestProblemsByObject(t *testing.T) {
	problem := func(kind, name, field string) config.Problem {
		return config.Problem{Ref: config.Ref{Kind: kind, Namespace: "x", Name: name}, Field: field}
	}
	file, part, elsewhere := problem("Mapping", "a", "f"), problem("Mapping", "a", "p"), problem("Mapping", "a", "late")
	file.Ref.File, part.Ref.Within = "a.yaml", "document 2"
	elsewhere.Ref.Line = 3
	got := byObject([]config.Problem{{}, problem("Host", "a", "h"), problem("Mapping", "a", "1"), problem("Mapping", "a", "2"), part, problem("Mapping", "b", "3"), elsewhere, file})
	for _, row := range []struct{ kind, name, fields string }{
		{"Host", "a", "h"}, {"Mapping", "a", "1 2 late"}, {"Mapping", "b", "3"},
	} {
		var fields []string
		for _, p := range got[subject{row.kind, Name{"x", row.name}}] {
			fields = append(fields, p.Field)
		}
		if said := strings.Join(fields, " "); said != row.fields {
			t.Errorf("%s %s is told of %q, want %q", row.kind, row.name, said, row.fields)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d objects are told", len(got))
	}
}
