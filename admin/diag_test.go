package admin

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"legate/authn"
	"legate/config"
	"legate/gateway"
)

const diagPath = "/ambassador/v0/diag/"

// lively is a state with something in every table, some of it hostile.
func lively() *state {
	s := healthy()
	s.routes = []gateway.RouteView{{Name: "orders.shop", Prefix: "/<script>alert(1)</script>/", Hostname: "*", Service: "orders:8080", Share: 100}}
	s.upstreams = []gateway.UpstreamView{{Name: "orders_8080", Endpoints: []gateway.EndpointView{{Address: "10.0.0.7:8080", Healthy: true}, {Address: "10.0.0.8:8080"}}, Active: 3}}
	until := time.Unix(0, 0)
	s.identity.Rules = []authn.RuleView{{Rule: "FilterPolicy shop/p rule 1", Host: "*", Path: "/<script>/*", Filters: []authn.UseView{{Filter: "Filter shop/lost", If: "header x", Invalid: true, Why: "the Filter lost.shop is missing or invalid"}}}, {Path: "/open/*"}}
	s.identity.KeySets = []authn.KeySetView{{URI: "https://id.example.com/keys", Keys: []string{"kid-1"}, Until: &until, Error: "no answer"}}
	s.limits = gateway.LimitsView{Store: "memory", Limits: []gateway.LimitView{
		{Name: "per-user", By: "RateLimit shop/orders", Pattern: "user=<script>", Rate: 100, Unit: "minute", Burst: 3, Reached: true, Allowed: 4711, Limited: 815}, {Name: "dead", Unit: "day", LogOnly: true}}}
	s.decisions = []gateway.DecisionView{{Time: time.Unix(0, 0), Method: "GET", Host: "a", Path: `/"><img src=x>`, Status: 404, Stage: "match", Reason: "no_route"}}
	s.problems = []config.Problem{
		{Ref: config.Ref{Kind: "Mapping", Namespace: "shop", Name: "orders"}, Field: "weight", Msg: "is broken", Effect: config.ObjectDropped},
		{Ref: config.Ref{Kind: "Mapping", Namespace: "shop", Name: "old"}, Msg: "is old", Effect: config.Notice},
		{Msg: "is nobody's", Effect: config.FieldIgnored},
	}
	return s
}

func TestDashboardPage(t *testing.T) {
	cert := Certificate{Hostname: "a.example.com", NotAfter: time.Now().Add(100 * time.Hour)}
	h := Handler(Options{State: lively(), Version: "v1", Certificates: func() []Certificate { return []Certificate{cert} }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", diagPath, nil))
	page := w.Body.String()
	for _, want := range []string{"<html lang=\"en\">", "orders_8080", "10.0.0.8:8080 (unhealthy)", "1 broken", "a.example.com", "(4 days)", "match, no_route", "is broken", "Filter shop/lost (invalid: the Filter lost.shop is missing or invalid)", "nobody is asked", "kid-1", "no answer",
		"counted in this process, by itself", "user=&lt;script&gt;", "100 every minute, saved up for 3", "4711", "815", "dead <span class=\"warn\">(no request leads to it)", "0 every day, only logs"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	for _, hostile := range []string{"<script>", "<img"} {
		if strings.Contains(page, hostile) {
			t.Errorf("the page holds %s as a tag", hostile)
		}
	}
	if csp := w.Header().Get("Content-Security-Policy"); w.Code != 200 || !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("status %d, policy %q", w.Code, csp)
	}
}

// Where a service is asked instead, the page tells of that.
func TestDashboardOfRateLimitService(t *testing.T) {
	s := lively()
	s.limits = gateway.LimitsView{Service: &gateway.LimitServiceView{By: "RateLimitService shop/limits", Address: "limits.shop:8081", Down: true, Allowed: 12, Limited: 3}}
	_, page := ask(Handler(Options{State: s}), "GET", diagPath)
	if want := `RateLimitService shop/limits at <code>limits.shop:8081</code> <span class="bad">cannot be asked</span>: 12 requests passed, 3 were refused.`; !strings.Contains(page, want) {
		t.Errorf("the page does not show %q", want)
	}
}

func TestDashboardIsBounded(t *testing.T) {
	s := lively()
	s.routes = make([]gateway.RouteView, 10*shownAtMost)
	_, page := ask(Handler(Options{State: s}), "GET", diagPath)
	if !strings.Contains(page, "4500 more") || strings.Count(page, "<tr>") > 2*shownAtMost {
		t.Errorf("%d rows", strings.Count(page, "<tr>"))
	}
}

func TestDashboardAsJSON(t *testing.T) {
	h := Handler(Options{State: lively(), Version: "v1"})
	for filter, want := range map[string]string{
		"errors":        `[["orders.shop.1","Mapping/orders.shop: weight: is broken; the object is dropped, the others serve"],["","is nobody's; the field is ignored"]]`,
		"notices":       `["Mapping/old.shop: is old; it is served as written"]`,
		"loginfo":       `{"all":"INFO"}`,
		"cluster_stats": `{"orders_8080":{"healthy_members":1,"total_members":2,"upstream_cx_active":3,"upstream_cx_connect_fail":0,"upstream_cx_idle":0,"upstream_cx_total":0,"valid":true}}`,
		"nothing":       `null`,
	} {
		status, body := ask(h, "GET", diagPath+"?json=true&filter="+filter)
		var got any
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
			t.Fatalf("%s: %d, %v in %q", filter, status, err, body)
		}
		if text, _ := json.Marshal(got); string(text) != want {
			t.Errorf("%s: got %s, want %s", filter, text, want)
		}
	}
	_, body := ask(h, "GET", diagPath+"?json=true")
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"errors", "notices", "system", "envoy_status", "loginfo", "cluster_stats", "route_info"} {
		if all[key] == nil {
			t.Errorf("%s is missing", key)
		}
	}
}

func TestDashboardAccess(t *testing.T) {
	closed := lively()
	closed.closed = true
	for _, test := range []struct {
		name, from, forwarded string
		state                 *state
		status                int
	}{
		{"open to others", "10.0.0.9:1234", "", lively(), 200},
		{"closed to others", "10.0.0.9:1234", "", closed, 404},
		{"closed, from here", "127.0.0.1:1234", "", closed, 200},
		{"closed, from here by IPv6", "[::1]:1234", "", closed, 200},
		{"closed, through a gateway here", "127.0.0.1:1234", "203.0.113.7", closed, 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", diagPath, nil)
			r.RemoteAddr = test.from
			if test.forwarded != "" {
				r.Header.Set("X-Forwarded-For", test.forwarded)
			}
			if Handler(Options{State: test.state}).ServeHTTP(w, r); w.Code != test.status {
				t.Errorf("got %d %q, want %d", w.Code, w.Body, test.status)
			}
			if test.status == 404 && w.Body.String() != "Not found\n" {
				t.Errorf("said %q", w.Body)
			}
		})
	}
}

func TestLogLevel(t *testing.T) {
	var level slog.LevelVar
	h := Handler(Options{State: lively(), Level: &level})
	if status, _ := ask(h, "GET", diagPath+"?loglevel=debug"); status != 200 || level.Level() != slog.LevelDebug {
		t.Errorf("status %d, level %s", status, level.Level())
	}
	if status, _ := ask(h, "GET", diagPath+"?loglevel=loud"); status != 400 || level.Level() != slog.LevelDebug {
		t.Errorf("status %d, level %s", status, level.Level())
	}
}
