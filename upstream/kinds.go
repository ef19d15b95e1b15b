package upstream

import (
	"cmp"

	"legate/config"
)

// The kinds of resolver.
const (
	serviceResolver  = "KubernetesServiceResolver"
	endpointResolver = "KubernetesEndpointResolver"
	consulResolver   = "ConsulResolver"
)

// resolverKinds returns the kinds of all resolvers by name, those among them that
// are always there. Names are global: the first in order owns the bare name, and
// each is also "name.namespace".
func resolverKinds(w *config.World) map[string]string {
	kinds := map[string]string{}
	for i := range w.Resolvers {
		r := &w.Resolvers[i]
		for _, name := range []string{r.Name, r.FullName()} {
			if _, taken := kinds[name]; !taken {
				kinds[name] = r.Kind
			}
		}
	}
	for kind, names := range map[string][2]string{
		serviceResolver:  {"kubernetes-service", "kubernetes-service"},
		endpointResolver: {"kubernetes-endpoint", "endpoint"},
		consulResolver:   {"consul", "consul-endpoint"},
	} {
		// Whoever redefines one of a pair has redefined both.
		a, b := kinds[names[0]], kinds[names[1]]
		kinds[names[0]] = cmp.Or(a, b, kind)
		kinds[names[1]] = cmp.Or(b, a, kind)
	}
	return kinds
}
