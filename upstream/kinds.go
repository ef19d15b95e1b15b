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

// resolvers returns all resolvers by name, those among them that are always there. Names are global: the first in order owns the bare name, and
// each is also "name.namespace".
func resolvers(w *config.World) map[string]*config.Resolver {
	byName := map[string]*config.Resolver{}
	for i := range w.Resolvers {
		r := &w.Resolvers[i]
		for _, name := range []string{r.Name, r.FullName()} {
			if _, taken := byName[name]; !taken {
				byName[name] = r
			}
		}
	}
	for kind, names := range map[string][2]string{
		serviceResolver:  {"kubernetes-service", "kubernetes-service"},
		endpointResolver: {"kubernetes-endpoint", "endpoint"},
		consulResolver:   {"consul", "consul-endpoint"},
	} {
		// Whoever redefines one of a pair has redefined both.
		a, b := byName[names[0]], byName[names[1]]
		usual := &config.Resolver{Meta: config.Meta{Kind: kind, Name: names[0]}, Datacenter: defaultDatacenter}
		byName[names[0]] = cmp.Or(a, b, usual)
		byName[names[1]] = cmp.Or(b, a, usual)
	}
	return byName
}

// Where a Consul resolver that does not say looks.
const (
	defaultConsul     = "127.0.0.1:8500"
	defaultDatacenter = "dc1"
)
