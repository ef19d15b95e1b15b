package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"legate/authn"
	"legate/config"
)

// A leftover is an object of the stack before that nobody needs any more, and why.
type leftover struct{ name, why string }

// leftovers returns those among objects, which opts owns, in the order of their names.
func leftovers(opts config.Options, objects []*config.Object, getenv func(string) string) (list []leftover) {
	var w config.World
	for _, o := range objects {
		if f, ok := o.Value.(*config.Filter); ok && opts.Owns(o.IDs) {
			w.Filters = append(w.Filters, *f)
		}
	}
	for _, o := range objects {
		if o.IDs != nil && !opts.Owns(o.IDs) {
			continue
		}
		if why := notNeeded(o, &w, getenv); why != "" {
			ref := o.Meta.Ref()
			list = append(list, leftover{title(&ref), why})
		}
	}
	slices.SortFunc(list, func(a, b leftover) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.why, b.why)) })
	return slices.Compact(list)
}

// notNeeded says why nobody needs o any more, "" where somebody may.
func notNeeded(o *config.Object, w *config.World, getenv func(string) string) string {
	switch v := o.Value.(type) {
	case *config.AuthService:
		if v.BuiltIn {
			return "filters are asked in the gateway itself"
		}
		if f := authn.StandsInFor(w, v); f != nil {
			return fmt.Sprintf("the Filter %s.%s stands in for it, and for the service behind it", f.Name, f.Namespace)
		}
	case *config.RateLimitService:
		if v.BuiltIn {
			return "limits are counted in the gateway itself"
		}
	}
	switch o.Meta.Kind {
	case "Secret":
		if o.Meta.Name == cmp.Or(getenv("AMBASSADOR_AES_SECRET_NAME"), "ambassador-edge-stack") {
			return "there is no licence"
		}
	case "Deployment", "StatefulSet", "DaemonSet":
		return ofCharts(&o.Meta)
	}
	return ""
}

// ofCharts says why nobody needs a workload with the names of Ambassador's charts.
func ofCharts(m *config.Meta) string {
	name := cmp.Or(m.Labels["app.kubernetes.io/name"], m.Name)
	product, part := name, ""
	for _, p := range []string{"-redis", "-agent", "-apiext"} {
		if before, ok := strings.CutSuffix(name, p); ok {
			product, part = before, p
		}
	}
	if !slices.Contains([]string{"ambassador", "edge-stack", "emissary", "emissary-ingress"}, product) {
		return ""
	}
	switch part {
	case "-redis":
		return "sessions and counters need no Redis, but for replicas that are to share them"
	case "-agent":
		return "nothing is told to Ambassador Cloud"
	case "-apiext":
		return "objects are read in the versions that they have, once the CRDs are replaced"
	}
	return "the gateway that this one takes the place of, once its traffic has moved"
}
