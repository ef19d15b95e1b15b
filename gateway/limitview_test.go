package gateway

import (
	"encoding/json"
	"strings"
	"testing"
)

// What operators are shown of limits is what requests meet.
func TestLimitsView(t *testing.T) {
	up, _ := seeing(t, plainOK)
	manifests := everyone + mapping("x", "/x/", up, `labels: {ambassador: [{g: [a, {request_headers: {key: user, header_name: x-user}}]}, {h: [nobody]}]}`) + mapping("y", "/y/", up) +
		rateLimit("rl", `{name: few, pattern: [{generic_key: a, tier: gold}, {user: "*"}], rate: 1, unit: Minute}`, `{pattern: [{generic_key: a}], action: LogOnly, rate: 0, unit: day, burstFactor: 2}`, `{name: dead, pattern: [{b: ""}], rate: 7, unit: second}`)
	g := open(t, manifests, newStopped().use)
	for range 3 {
		g.send(request("GET", "/x/", "", "X-User: ann"))
	}
	v := g.Limits()
	for i := range v.Limits {
		if v.Limits[i].Written != "in.yaml:28" {
			t.Errorf("written at %s", v.Limits[i].Written)
		}
		v.Limits[i].Written = ""
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"domain":"ambassador","store":"memory","keys":1,"denies":false,"failed":0,"limits":[` +
		`{"name":"dead","by":"RateLimit default/rl","pattern":"b=*","rate":7,"unit":"second","reached":false,"allowed":0,"limited":0,"logged":0},` +
		`{"name":"few","by":"RateLimit default/rl","pattern":"generic_key=a or tier=gold, user=*","rate":1,"unit":"minute","reached":true,"allowed":1,"limited":2,"logged":0},` +
		`{"name":"rl.default-1","by":"RateLimit default/rl","pattern":"generic_key=a","rate":0,"unit":"day","burst_factor":2,"log_only":true,"reached":true,"allowed":0,"limited":0,"logged":0}],` +
		`"routes":[{"route":"x.default","labels":["generic_key=a, user"],"limits":["few","rl.default-1"]}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLimitsViewOfAService(t *testing.T) {
	c := &counter{answer: over()}
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", up, `labels: {ambassador: [{g: [a]}]}`)+limitsAt(c.serve(t), "failure_mode_deny: true"))
	g.send(request("GET", "/x/", ""))
	v := g.Limits()
	if s := v.Service; s == nil || s.By != "RateLimitService default/rls" || !strings.HasPrefix(s.Address, "127.0.0.1:") || s.Down || s.Limited != 1 || s.Allowed != 0 || v.Store != "" || !v.Denies || len(v.Routes) != 1 {
		t.Errorf("got %+v, %+v", v, v.Service)
	}
	if v := newGate(t).Limits(); v.Domain != "" || len(v.Limits) > 0 {
		t.Errorf("before a configuration: %+v", v)
	}
}
