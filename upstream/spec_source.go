package upstream

import (
	"cmp"
	"fmt"
	"strings"

	"legate/config"
)

// A Consul is where Consul is asked: an agent, and the datacenter that is meant.
type Consul struct{ Address, Datacenter string }

// source settles where the endpoints come from, by the kind of resolver that the
// Mapping names.
func (r *specReader) source(spec *Spec, svc *service) {
	name := cmp.Or(r.mapping.Resolver, r.module.Resolver, "kubernetes-service")
	res := r.resolvers[name]
	if res == nil {
		r.problem(r.mapping.Problem("resolver", fmt.Sprintf("resolver %s is unknown!", name), config.ObjectDropped), "")
		return
	}
	switch res.Kind {
	case endpointResolver:
		spec.Source = FromEndpoints
		if r.opts.DisableEndpoints {
			spec.Source = FromDNS
			r.problem(r.mapping.Problem("resolver", "AMBASSADOR_DISABLE_ENDPOINTS is set, so endpoints are not looked at", config.FieldIgnored),
				"the service's name is looked up in DNS")
		}
	case consulResolver:
		spec.Source = FromConsul
		spec.Consul = Consul{cmp.Or(res.Address, defaultConsul), res.Datacenter}
		if strings.Contains(svc.host, ".") {
			r.problem(r.serviceProblem("the Consul resolver does not allow dots in service names", config.ObjectDropped), "")
		}
		if svc.port != 0 {
			r.problem(r.serviceProblem("the Consul resolver ignores service ports", config.Notice), "each instance's own port is used")
			svc.port = 0
		}
	}
}

// balance settles how the endpoints share requests. Other ways than taking turns need
// to know the endpoints; the Module may wish for one all the same, for those Mappings
// that do.
func (r *specReader) balance(spec *Spec) {
	lb := cmp.Or(r.mapping.LoadBalancer, r.module.LoadBalancer)
	switch {
	case lb == nil:
	case spec.Source != FromDNS:
		spec.Balance = lb.Policy
	case r.mapping.LoadBalancer != nil && !r.opts.DisableEndpoints:
		r.problem(r.mapping.Problem("load_balancer", "needs a KubernetesEndpointResolver or a ConsulResolver", config.ObjectDropped), "")
	case r.mapping.LoadBalancer != nil:
		r.problem(r.mapping.Problem("load_balancer", "needs endpoints, which AMBASSADOR_DISABLE_ENDPOINTS turns off", config.FieldIgnored), "addresses take turns")
	}
}
