package gateway

import (
	"strconv"

	"legate/authn"
	"legate/decision"
	"legate/routes"
)

// An authService is the stage that asks the AuthServices about every request.
type authService struct{ filter authn.Filter }

// asks returns nil for a route that nobody is asked about.
func (c *compiler) asks(r *Route) Stage {
	if c.next.asked == nil || r.Kind != routes.Forward || r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth {
		return nil
	}
	return &authService{c.next.asked}
}

// Enter asks. Budget: 0 allocs for a request without a body that an HTTP service lets
// pass.
func (s *authService) Enter(x *Exchange) Verdict {
	c := x.fillCall()
	if s.filter.Filter(c) == authn.Deny {
		return x.take(decision.Authn)
	}
	x.Decision.Steps[decision.Authn] = c.Passed
	return Continue
}

// explain tells who would be asked.
func (s *authService) explain(x *Exchange) []string {
	if e, ok := s.filter.(authn.Explainer); ok {
		return e.Explain(&x.call)
	}
	return nil
}

// authServices makes the AuthServices ready.
func (c *compiler) authServices() {
	deps := authn.Deps{AuthService: c.authService, External: c.externalFilter, Clock: c.g.clock, Log: c.g.log}
	filter, problems := authn.NewAuthService(c.world, &deps)
	c.next.asked = filter
	c.problems = append(c.problems, problems...)
}

// serviceOf returns what who decides about r's requests is told of r.
func (c *compiler) serviceOf(r *Route) *authn.Service {
	m := r.Mapping
	s := &authn.Service{ContextExtensions: m.AuthContextExtensions}
	if r.Kind != routes.Forward {
		return s
	}
	spec := c.specOf(m)
	s.Host, s.Port = spec.Host, strconv.Itoa(int(spec.Port))
	return s
}
