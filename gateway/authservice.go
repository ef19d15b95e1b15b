package gateway

import (
	"legate/authn"
	"legate/decision"
	"legate/routes"
)

// An authService is the stage that asks the AuthServices about every request.
type authService struct{}

// asks returns nil for a route that nobody is asked about.
func (c *compiler) asks(r *Route) Stage {
	if c.next.authn.AuthService() == nil || r.Kind != routes.Forward || r.Mapping.BypassAuth != nil && *r.Mapping.BypassAuth {
		return nil
	}
	return authService{}
}

// Enter asks. Budget: 0 allocs for a request without a body that an HTTP service lets
// pass.
func (authService) Enter(x *Exchange) Verdict {
	c := x.seen()
	if x.Snap.authn.AuthService().Filter(c) == authn.Deny {
		return x.take(decision.Authn)
	}
	x.Decision.Steps[decision.Authn] = c.Passed
	return Continue
}

// explain tells who would be asked.
func (authService) explain(x *Exchange) []string {
	if e, ok := x.Snap.authn.AuthService().(authn.Explainer); ok {
		return e.Explain(&x.call)
	}
	return nil
}
