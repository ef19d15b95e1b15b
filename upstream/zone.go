package upstream

import (
	"slices"

	"legate/config"
)

// zoneOf returns where the node is, as far as endpoints that run on it tell; "" for
// unknown.
func zoneOf(node string, list []config.EndpointSlice) string {
	for i := range list {
		for j := range list[i].Endpoints {
			if e := &list[i].Endpoints[j]; e.Node == node && e.Zone != "" {
				return e.Zone
			}
		}
	}
	return ""
}

// zone returns where the gateway runs, "" for unknown. What is known stays: no node moves.
func (r *Resolver) zone(w *config.World) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own == "" && r.opts.Node != "" {
		if r.own = zoneOf(r.opts.Node, w.EndpointSlices); r.own != "" {
			r.log.Info("endpoints of the own zone are preferred", "zone", r.own, "node", r.opts.Node)
		}
	}
	return r.own
}

// zoned reports whether endpoints are preferred that are near. Where requests are shared
// by hashes all replicas must send the same one to the same endpoint, wherever they are.
func (s *Spec) zoned() bool {
	return s.Balance != config.RingHash && s.Balance != config.Maglev
}

// near returns those of list that requests from zone go to. What the cluster would have
// counts first, as it does for kube-proxy: if every instance says for whom it is. Else it
// is those in zone, unless they are fewer than half of a zone's share: they could not bear
// what all the gateways there are asked. list may be changed.
func near(list []instance, zone string) []instance {
	if zone == "" {
		return list
	}
	if !slices.ContainsFunc(list, func(i instance) bool { return len(i.zones) == 0 }) {
		return orAll(list, func(i instance) bool { return slices.Contains(i.zones, zone) })
	}
	own, zones := 0, map[string]bool{zone: true}
	for _, i := range list {
		zones[i.zone] = true
		if i.zone == zone {
			own++
		}
	}
	if 2*own*len(zones) < len(list) {
		return list
	}
	return orAll(list, func(i instance) bool { return i.zone == zone })
}

// orAll returns those of list that are wanted, all of them if none is.
func orAll(list []instance, wanted func(instance) bool) []instance {
	if slices.ContainsFunc(list, wanted) {
		list = slices.DeleteFunc(list, func(i instance) bool { return !wanted(i) })
	}
	return list
}
