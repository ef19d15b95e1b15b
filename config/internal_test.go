package config

import (
	"strings"
	"testing"
)

// The internal routes of a Module are for every Host, whatever it takes.
func TestInternalRoutes(t *testing.T) {
	yes, no, rewrite := true, false, "/healthy"
	host := func(name string, labels map[string]string) *Object {
		h := &Host{Meta: Meta{Kind: "Host", Name: name, Namespace: "x"}, Hostname: name, Selector: labels, HasSelector: labels != nil}
		return &Object{Meta: h.Meta, Value: h}
	}
	for _, row := range []struct {
		name   string
		module Module
		hosts  []*Object
		want   string
	}{
		{"nothing was said", Module{}, nil, ""},
		{"off", Module{Diagnostics: Probe{Enabled: &no, Routed: true}}, nil, ""},
		{"the dashboard", Module{Diagnostics: Probe{Enabled: &yes, Routed: true}}, nil, "internal_diagnostics_probe_mapping */ambassador/v0/ to 127.0.0.1:8877/ambassador/v0/"},
		{"another place", Module{Readiness: Probe{Prefix: "/ready", Routed: true}}, nil, "internal_readiness_probe_mapping */ready to 127.0.0.1:8877/ambassador/v0/check_ready open"},
		{"another service", Module{Liveness: Probe{Service: "alive.shop", Rewrite: &rewrite, Routed: true}}, nil, "internal_liveness_probe_mapping */ambassador/v0/check_alive to alive.shop/healthy open"},
		{"Hosts that select", Module{Readiness: Probe{Prefix: "/ready", Routed: true}}, []*Object{host("a", nil), host("b", map[string]string{"k": "1"}), host("c", map[string]string{"k": "1"})},
			"internal_readiness_probe_mapping */ready to 127.0.0.1:8877/ambassador/v0/check_ready open, internal_readiness_probe_mapping_1 k=1/ready to 127.0.0.1:8877/ambassador/v0/check_ready open"},
		{"no Host but such", Module{Readiness: Probe{Prefix: "/ready", Routed: true}}, []*Object{host("b", map[string]string{"k": "1"})},
			"internal_readiness_probe_mapping_1 k=1/ready to 127.0.0.1:8877/ambassador/v0/check_ready open"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := row.module
			m.Meta = Meta{Kind: "Module", Name: "ambassador", Namespace: "x"}
			w := Merge(Options{}, append(row.hosts, &Object{Meta: m.Meta, Value: &m}))
			var got []string
			for _, r := range w.Mappings {
				text := r.Name + " " + r.Hostname
				for k, v := range r.Labels {
					text += k + "=" + v
				}
				text += r.Prefix + " to " + r.Service + *r.Rewrite
				if r.BypassAuth != nil {
					text += " open"
				}
				got = append(got, text)
			}
			if strings.Join(got, ", ") != row.want {
				t.Errorf("got %s\nwant %s", strings.Join(got, ", "), row.want)
			}
		})
	}
}
