package config

import (
	"fmt"
	"maps"
	"slices"
)

// A Probe is what the Module says of one of Ambassador's internal routes: its liveness,
// readiness and diagnostics.
type Probe struct {
	Enabled *bool // nil: true
	Prefix  string
	Rewrite *string
	Service string // "" for the admin port
	Routed  bool   // it is a route like others, as something about it was said
}

// On reports whether the route is wanted.
func (p *Probe) On() bool { return p.Enabled == nil || *p.Enabled }

// The places that Ambassador's internal routes have and lead to by themselves.
const (
	AlivePath       = "/ambassador/v0/check_alive"
	ReadyPath       = "/ambassador/v0/check_ready"
	DiagnosticsPath = "/ambassador/v0/"

	adminService     = "127.0.0.1:8877"
	internalTimeouts = 10_000 // milliseconds
)

// internal adds the routes of the Module's probes, for every Host: by name where a Host
// takes Mappings by their names, by labels where it selects them.
func (w *World) internal() {
	if len(w.Modules) == 0 {
		return
	}
	m := &w.Modules[0]
	before := len(w.Mappings)
	for _, each := range []struct {
		name, path string
		probe      *Probe
		open       bool
	}{
		{"internal_liveness_probe_mapping", AlivePath, &m.Liveness, true}, {"internal_readiness_probe_mapping", ReadyPath, &m.Readiness, true},
		{"internal_diagnostics_probe_mapping", DiagnosticsPath, &m.Diagnostics, false},
	} {
		if !each.probe.On() || !each.probe.Routed {
			continue
		}
		timeout := internalTimeouts
		mapping := Mapping{Meta: m.Meta, Prefix: each.path, Rewrite: &each.path, Hostname: "*", Service: adminService, TimeoutMS: &timeout}
		mapping.Kind, mapping.Name, mapping.Labels = "Mapping", each.name, nil
		if each.open {
			mapping.BypassAuth = &each.open
		}
		if each.probe.Prefix != "" {
			mapping.Prefix = each.probe.Prefix
		}
		if each.probe.Rewrite != nil {
			mapping.Rewrite = each.probe.Rewrite
		}
		if each.probe.Service != "" {
			mapping.Service = each.probe.Service
		}
		w.everywhere(&mapping)
	}
	if len(w.Mappings) > before {
		w.Sort()
	}
}

// everywhere adds m for every Host.
func (w *World) everywhere(m *Mapping) {
	named := len(w.Hosts) == 0
	var selected []map[string]string
	for i := range w.Hosts {
		labels := w.Hosts[i].Selector
		switch {
		case len(labels) == 0:
			named = true
		case !slices.ContainsFunc(selected, func(l map[string]string) bool { return maps.Equal(l, labels) }):
			selected = append(selected, labels)
		}
	}
	if named {
		w.Mappings = append(w.Mappings, m)
	}
	for i, labels := range selected {
		of := *m
		of.Name = fmt.Sprintf("%s_%d", m.Name, i+1)
		of.Hostname, of.Labels = "", labels
		w.Mappings = append(w.Mappings, &of)
	}
}
