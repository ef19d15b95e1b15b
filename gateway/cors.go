package gateway

import (
	"legate/decision"
	"legate/routes"
	"legate/wire"
)

// A cors is the stage that lets pages of other origins ask a route: it answers
// preflights, and tells browsers which answers their pages may read. Requests of other
// origins are served all the same: it is browsers that protect their users (Fetch §3.2).
type cors struct{ route *Route }

// cors returns nil for a route without a policy.
func (c *compiler) cors(r *Route) Stage {
	if r.CORS == nil {
		return nil
	}
	return cors{r}
}

var (
	nameAllowOrigin      = []byte("access-control-allow-origin")
	nameAllowCredentials = []byte("access-control-allow-credentials")
	nameAllowMethods     = []byte("access-control-allow-methods")
	nameAllowHeaders     = []byte("access-control-allow-headers")
	nameExposeHeaders    = []byte("access-control-expose-headers")
	nameMaxAge           = []byte("access-control-max-age")
)

// Enter answers a preflight of an allowed origin. Budget: 0 allocs.
func (c cors) Enter(x *Exchange) Verdict {
	origin := x.Req.Get(wire.FieldOrigin)
	if len(origin) == 0 || !c.route.CORS.Allows(origin) || !isPreflight(x.Req) {
		return Continue
	}
	return x.stop(decision.CORS, decision.Preflight, c.route.By, nil)
}

// isPreflight reports whether a browser asks if a page may send a request.
func isPreflight(req *wire.Head) bool {
	return req.Method() == wire.OPTIONS && len(req.Get(wire.FieldAccessControlRequestMethod)) > 0
}

// Respond tells browsers what their pages may do, whoever gave the answer: a denial
// that a page cannot read helps nobody. Budget: 0 allocs.
func (c cors) Respond(x *Exchange) {
	p, origin := c.route.CORS, x.Req.Get(wire.FieldOrigin)
	if len(origin) == 0 || !p.Allows(origin) {
		return
	}
	x.ToClient.SetName(nameAllowOrigin, origin)
	if p.Credentials {
		x.ToClient.SetName(nameAllowCredentials, valueTrue)
	}
	if x.Decision.Reason() == decision.Preflight {
		c.grant(x, p)
	} else if p.Exposed != nil {
		x.ToClient.SetName(nameExposeHeaders, p.Exposed)
	}
}

// grant tells what a preflight may count on.
func (c cors) grant(x *Exchange, p *routes.CORS) {
	methods, headers := p.Methods, p.Headers
	if p.AsksMethod {
		methods = x.Req.Get(wire.FieldAccessControlRequestMethod)
	}
	if p.AsksHeaders {
		headers = x.Req.Get(wire.FieldAccessControlRequestHeaders)
	}
	if len(methods) > 0 {
		x.ToClient.AddName(nameAllowMethods, methods)
	}
	if len(headers) > 0 {
		x.ToClient.AddName(nameAllowHeaders, headers)
	}
	if p.MaxAge != nil {
		x.ToClient.AddName(nameMaxAge, p.MaxAge)
	}
}
