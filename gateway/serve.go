// Package gateway is the data plane's heart: it pins a snapshot for each request,
// walks its route's stages, carries it to the upstream and back, and leaves one
// record of what happened. It knows neither where objects come from nor how bytes
// are framed.
package gateway

import (
	"legate/config"
	"legate/decision"
	"legate/wire"
)

// Serve answers one request: the whole life of a request, in one function.
// Budget: 0 allocs.
func (g *Gateway) Serve(s wire.Stream, req *wire.Head) {
	x := begin(g, s, req)
	x.count()
	defer g.recover(x)
	if x.admittedHere() == Continue && x.accept() == Continue && x.choose() == Continue {
		x.enter()
	}
	x.prepare()
	x.respond()
	if x.entered == 0 {
		x.scriptAnswer() // no stage has asked for it
	}
	x.answer()
	x.finish()
	x.leave()
	g.observe(x)
	g.metrics.InFlight.Add(-1)
	x.free()
}

// Refuse answers what an engine could not accept, and records it like any other
// request.
func (g *Gateway) Refuse(s wire.Stream, req *wire.Head, err *wire.ProtocolError) {
	x := begin(g, s, req)
	x.count()
	defer g.recover(x)
	x.Client = x.peer.Remote.Addr()
	x.stop(decision.Accept, refusals[err.Kind], "", err)
	if err.Kind == wire.StrayProxy {
		g.strayProxy(x.peer)
	}
	x.prepare()
	x.answer()
	g.observe(x)
	g.metrics.InFlight.Add(-1)
	x.free()
}

// refusals says which reason a broken rule of the protocol becomes.
var refusals = [...]decision.Reason{
	wire.BadSyntax:    decision.BadRequest,
	wire.BadAuthority: decision.BadHost,
	wire.BadTarget:    decision.BadPath,
	wire.BadFraming:   decision.BadFraming,
	wire.LineTooLong:  decision.URITooLong,
	wire.HeadTooLarge: decision.HeaderTooLarge,
	wire.TooManyLines: decision.TooManyHeaders,
	wire.HeadTooSlow:  decision.HeadTimeout,
	wire.BodyTooSlow:  decision.BodyTooSlow,
	wire.BadVersion:   decision.VersionUnsupported,
	wire.BadMethod:    decision.MethodUnsupported,
	wire.StrayProxy:   decision.ProxyHeaderUnexpected,
}

// stop notes that a stage answers the request itself.
func (x *Exchange) stop(s decision.Stage, r decision.Reason, by string, err error) Verdict {
	x.Decision.End(s, r, by, err)
	return Stop
}

// accept judges what concerns every request whatever its route, and works out who
// asks and how.
func (x *Exchange) accept() Verdict {
	edge := &x.Snap.edge
	if x.Req.Major == 1 && x.Req.Minor == 0 && !edge.http10 {
		x.Client = x.peer.Remote.Addr()
		return x.stop(decision.Accept, decision.HTTP10Disabled, "", nil)
	}
	if err := x.Req.NormalizePath(edge.paths); err != nil {
		x.Client = x.peer.Remote.Addr()
		return x.stop(decision.Accept, decision.BadPath, "", err)
	}
	if x.answerChallenge() {
		return Stop
	}
	if edge.underscores != config.AllowUnderscores && x.judgeNames(edge.underscores) == Stop {
		return Stop
	}
	x.sanitise()
	if !x.gateway.opts.KeepHeaders && x.Snap.authn.Sets() {
		x.Snap.authn.Strip(x.Req, &x.ToUp) // before the script, which may set them itself
	}
	if x.Snap.script != nil {
		return x.scripted()
	}
	return Continue
}

// choose finds the route.
func (x *Exchange) choose() Verdict {
	slot := x.Snap.listener(x.peer.Listener)
	if slot < 0 { // its Listener has just left the configuration
		x.stream.CloseAfter()
		return x.stop(decision.Match, decision.NoHost, "", nil)
	}
	x.match = matchRequest(x, slot)
	if x.roll != nil {
		x.match.Roll = uint8(*x.roll) //nolint:gosec // 0 to 99
	}
	rt, host, reason := x.Snap.table.Match(&x.match)
	if rt != nil {
		x.Route = readyRoute(rt)
	}
	if x.admit() == Stop {
		return Stop
	}
	if probe := x.Snap.edge.probe(x.Req.Path()); probe != noProbe {
		if v, answered := x.answerProbe(probe, rt, host); answered {
			return v
		}
	}
	if e, by := x.Snap.endpoints.Find(x.Req.Path()); e != nil {
		if v, answered := x.answerEndpoint(e, by, host); answered {
			return v
		}
	}
	switch reason {
	case decision.None:
		return Continue
	case decision.NoRoute:
		return x.routeless()
	case decision.HTTPSRedirect:
		x.reply = localReply{status: 301, location: x.httpsLocation()}
		return x.stop(decision.Match, reason, host.By, nil)
	default:
		return x.stop(decision.Match, reason, "", nil)
	}
}

// secureBy judges by a Listener's model whether a request came securely.
func secureBy(model config.SecurityModel, https bool) bool {
	switch model {
	case config.Secure:
		return true
	case config.Insecure:
		return false
	default:
		return https
	}
}
