package routes

import (
	"testing"

	"legate/config"
)

// Which Mappings of one match serve, and with what of the settings that a group shares.
func TestGroupPolicies(t *testing.T) {
	limits := &config.CircuitBreakers{Default: config.DefaultLimits, High: config.DefaultLimits}
	equal := *limits
	maglev := &config.LoadBalancer{Policy: config.Maglev, SourceIP: true}
	high := config.HighPriority
	first, second := &config.RetryPolicy{Times: 1}, &config.RetryPolicy{Times: 2}
	for _, row := range []struct {
		name   string
		a, b   config.Mapping
		routes int
		want   Route
	}{
		{"nothing said", config.Mapping{}, config.Mapping{}, 2, Route{}},
		{"equal limits", config.Mapping{CircuitBreakers: limits}, config.Mapping{CircuitBreakers: &equal}, 2, Route{}},
		{"limits only here", config.Mapping{CircuitBreakers: limits}, config.Mapping{}, 1, Route{}},
		{"limits only there", config.Mapping{}, config.Mapping{CircuitBreakers: limits}, 1, Route{}},
		{"a balancer only here", config.Mapping{LoadBalancer: maglev}, config.Mapping{}, 2, Route{LoadBalancer: maglev}},
		{"a balancer only there", config.Mapping{}, config.Mapping{LoadBalancer: maglev}, 1, Route{}},
		{"keepalive only there", config.Mapping{}, config.Mapping{Keepalive: &config.Keepalive{Probes: 1}}, 1, Route{}},
		{"the last retries count", config.Mapping{Retry: first}, config.Mapping{Retry: second}, 2, Route{Retry: second}},
		{"those of the first too", config.Mapping{Retry: first}, config.Mapping{}, 2, Route{Retry: first}},
		{"the priority is the group's", config.Mapping{Priority: &high}, config.Mapping{}, 2, Route{Priority: high}},
	} {
		w := &config.World{}
		for i, m := range []*config.Mapping{&row.a, &row.b} {
			m.Meta = config.Meta{Kind: "Mapping", Name: string(rune('a' + i)), Namespace: "default"}
			m.Prefix, m.Hostname, m.Service = "/r/", "*", "web"
			w.Mappings = append(w.Mappings, m)
		}
		table, _ := Build(w, Options{})
		if len(table.Routes) != row.routes {
			t.Errorf("%s: %d Mappings serve, want %d", row.name, len(table.Routes), row.routes)
			continue
		}
		for _, r := range table.Routes {
			if r.Retry != row.want.Retry || r.LoadBalancer != row.want.LoadBalancer || r.Priority != row.want.Priority {
				t.Errorf("%s: %s got %v, %v, %v", row.name, r.Name, r.Retry, r.LoadBalancer, r.Priority)
			}
		}
	}
}
