package upstream

import "legate/config"

// collectorTag keeps collectors of telemetry apart from where requests go: neither takes
// connections from the other, or room by circuit_breakers.
const collectorTag = "\x00collector"

// OfCollector returns the Spec of the service that an object named m tells of requests,
// and what is wrong with how it is written. Over HTTP/2 it is spoken to if h2 says so.
func (s *Specs) OfCollector(m *config.Meta, service, statsName string, h2 bool) (Spec, []config.Problem) {
	r := specReader{Specs: s, refused: "nothing can be sent to it", mapping: &config.Mapping{
		Meta: *m, Service: service, StatsName: statsName, GRPC: h2,
	}}
	spec := r.read()
	spec.Tag = collectorTag
	for i := range r.problems { // no route is closed over it
		if p := &r.problems[i]; p.Effect == config.RouteClosed {
			p.Effect = config.ObjectDropped
		}
	}
	return spec, r.problems
}
