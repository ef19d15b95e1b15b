package gateway

import "legate/decision"

// chain lists a route's stages in the order in which a request meets them. What
// comes later may rely on what came before; each line says why it stands where it
// does.
func (c *compiler) chain(r *Route) (ch Chain) {
	ch.add(decision.Accept, c.grpcBridge(r)) // has the last word about an answer: it holds all of it back
	ch.add(decision.Accept, c.grpcWeb())     // what follows speaks gRPC, also where it refuses
	ch.add(decision.Accept, c.grpcStats(r))  // counts what is gRPC by now, refusals too
	ch.add(decision.Accept, c.scriptStage()) // sees the answer as the client gets it, but for what gRPC asks
	ch.add(decision.Accept, c.gzip())        // compresses what all others have settled
	ch.add(decision.Accept, c.buffer())      // nothing is decided about a request that may not come to an end
	ch.add(decision.CORS, c.cors(r))         // a preflight carries no token, and a page must be able to read why it was denied
	ch.add(decision.Authn, c.guard(r))       // what cannot be protected is closed before anything is spent on it
	ch.add(decision.Authn, c.policies(r))    // who asks: Filters, each of which sees what those before it changed
	ch.add(decision.Authn, c.asks(r))        // once what can be decided here is: it costs a question
	ch.add(decision.Authn, c.tokens(r))      // what the Mapping itself asks of whom was recognised
	ch.add(decision.Authn, c.reroutes(r))    // what was changed may lead to another route, whose stages follow
	ch.settled = len(ch.steps)
	ch.add(decision.Limit, c.limit(r))     // after who asks is known, so that limits can be theirs; what is denied costs nothing
	ch.add(decision.Break, c.breaker(r))   // what fails is left alone, and takes no place among what goes on
	ch.add(decision.Break, c.threshold(r)) // what the upstream cannot bear it is not asked for
	ch.add(decision.Mint, c.mint(r))       // signs only what will be sent: a refused request costs no signature
	ch.add(decision.Proxy, c.shadow(r))    // copies what is sent, and nothing that is not
	ch.add(decision.Proxy, c.answer(r))    // the upstream's answer, or a redirect
	return ch
}

// A guard closes a route whose protector cannot be enforced.
type guard struct{ by string }

// guard returns nil for a route that needs no closing.
func (c *compiler) guard(r *Route) Stage {
	if r.ClosedBy == "" {
		return nil
	}
	return guard{by: r.ClosedBy}
}

// Enter refuses every request. Budget: 0 allocs.
func (g guard) Enter(x *Exchange) Verdict {
	return x.stop(decision.Authn, decision.PolicyInvalid, g.by, nil)
}
