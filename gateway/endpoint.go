package gateway

import (
	"time"

	"legate/authn"
	"legate/config"
	"legate/decision"
	"legate/routes"
)

// endpointIdle is how long the body of a request to them may rest.
const endpointIdle = 15 * time.Second

// maxEndpointBody bounds what the gateway's own endpoints read of a request.
const maxEndpointBody = 64 << 10

// answerEndpoint answers a path of the gateway's own, unless no Host serves the name or it
// wants requests to come securely. Nothing is asked of who calls: an endpoint judges for
// itself.
func (x *Exchange) answerEndpoint(e authn.Endpoint, by string, host *routes.Host) (Verdict, bool) {
	if host == nil {
		return Continue, false
	}
	x.Route = &x.Snap.none // it is no Mapping's
	if v, answered := x.insecureTo(host); answered {
		return v, true
	}
	c := x.fillCall()
	c.Reply.By = by
	switch {
	case x.Dry:
		c.Reply.Reason = decision.OwnEndpoint
		return x.take(decision.Authn), true
	case !x.Req.NoBody:
		if _, whole, err := x.Peek(maxEndpointBody); err != nil {
			return x.stop(decision.Accept, x.clientReason(x.clientFault(err).err), by, err), true
		} else if !whole {
			return x.stop(decision.Accept, decision.BodyTooLarge, by, nil), true
		}
	}
	e.Serve(c)
	return x.take(decision.Authn), true
}

// insecureTo answers a request that did not come securely where host does not serve such.
func (x *Exchange) insecureTo(host *routes.Host) (Verdict, bool) {
	if x.match.Secure {
		return Continue, false
	}
	switch host.Insecure {
	case config.InsecureReject:
		return x.stop(decision.Match, decision.InsecureRejected, "", nil), true
	case config.InsecureRedirect:
		x.reply = localReply{status: 301, location: x.httpsLocation()}
		return x.stop(decision.Match, decision.HTTPSRedirect, "", nil), true
	case config.InsecureRoute:
	}
	return Continue, false
}
