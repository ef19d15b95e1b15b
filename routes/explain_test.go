package routes

import (
	"fmt"
	"slices"
	"testing"

	"legate/config"
	"legate/wire"
)

// worked is the example by which Ambassador's order is best understood.
func worked() *config.World {
	query := func(m *config.Mapping) { m.QueryParameters = []config.NameValue{{Name: "v", Value: "1"}} }
	header := func(m *config.Mapping) { m.Headers = []config.NameValue{{Name: "x-v", Value: "2"}} }
	return &config.World{
		Listeners: listeners(),
		Hosts:     []config.Host{host("all", "*")},
		Mappings: []*config.Mapping{
			mapping("m8", "/"), mapping("m7", "/api/"), mapping("m6", "/api/", query), mapping("m5", "/api/", header),
			mapping("m4", "/api/", method("POST")), mapping("m3", "/api/", hostname("a.example.com")),
			mapping("m2", "/api/v1/"), mapping("m1", "/other/", precedence(10)),
		},
	}
}

func TestWhyRoutesStandWhereTheyStand(t *testing.T) {
	table, _ := Build(worked(), Options{})
	want := []string{
		"m1.default",
		"m2.default: precedence 0 < 10",
		"m3.default: prefix length 5 < 8",
		"m4.default: headers 22 < 23",
		"m5.default: headers 15 < 22",
		"m6.default: headers 11 < 15",
		"m7.default: query 0 < 2",
		"m8.default: prefix length 1 < 5",
	}
	var got []string
	for i, rt := range table.Routes {
		line := rt.Name
		if i > 0 {
			line += ": " + rt.After(table.Routes[i-1])
		}
		got = append(got, line)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestJudge(t *testing.T) {
	table, _ := Build(worked(), Options{})
	var h wire.Head
	h.BuildRequest("GET", "b.example.com", "/api/v2?v=1")
	var got []string
	for _, j := range table.Judge(&Request{Head: &h, Secure: true}) {
		got = append(got, fmt.Sprintf("%s %v: %s", j.Route.Mapping.Name, j.Fits, j.Lost))
	}
	want := []string{
		"m1 false: path: does not begin with /other/",
		"m2 false: path: does not begin with /api/v1/",
		"m3 true: hostname: is for a.example.com",
		`m4 true: method: must be "POST"`,
		`m5 true: header x-v: must be "2"`,
		"m6 true: ",
		"m7 true: comes after m6.default",
		"m8 true: comes after m6.default",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestJudgeSharesAndHosts(t *testing.T) {
	w := &config.World{
		Listeners: listeners(),
		Hosts:     []config.Host{host("a", "a.example.com"), host("b", "b.example.com")},
		Mappings:  []*config.Mapping{mapping("new", "/", weight(10)), mapping("none", "/", weight(0)), mapping("old", "/")},
	}
	table, _ := Build(w, Options{})
	var h wire.Head
	h.BuildRequest("GET", "A.example.com", "/")
	lost := map[string]string{}
	for _, j := range table.Judge(&Request{Head: &h, Secure: true, Roll: 42}) {
		lost[j.Route.Mapping.Name] = j.Lost
		if names := table.HostsOf(j.Route); len(names) != 2 {
			t.Errorf("%s is attached to %d Hosts, want 2", j.Route.Name, len(names))
		}
	}
	want := map[string]string{"new": "weight: takes rolls below 10, this one is 42", "none": "weight: takes rolls below 10, this one is 42", "old": ""}
	if fmt.Sprint(lost) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", lost, want)
	}
	h.BuildRequest("GET", "nowhere.example.com", "/")
	if judged := table.Judge(&Request{Head: &h, Secure: true}); judged != nil {
		t.Errorf("no Host serves, and %d routes are judged", len(judged))
	}
}
