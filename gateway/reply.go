package gateway

import (
	"legate/decision"
	"legate/wire"
)

// A localReply is an answer of our own. The zero value stands for the one that the
// reason has of itself.
type localReply struct {
	status      int
	location    []byte
	body        string
	contentType []byte
	headers     []wire.Add // further ones
	ready       bool       // whoever decided said all of it
	exhausted   bool       // a client of gRPC is told that something is used up
}

var (
	textPlain = []byte("text/plain")
	noCache   = []byte("no-cache, no-store")

	nameOverloaded = []byte("x-envoy-overloaded")
)

// prepareLocal settles our own answer: Envoy's words, so that nobody behind or before us
// can tell the difference. A reason without a status leaves the client without one: it
// is gone.
func (x *Exchange) prepareLocal() {
	reason := x.Decision.Reason()
	r := &x.reply
	if r.status == 0 {
		r.status = reason.Status()
		if !r.ready {
			r.body = reason.Body()
		}
	}
	if x.gateway.cut.Load() {
		r.status = 0 // nobody is there any more
	}
	if r.status >= 300 {
		if contentType := x.grpcReplyType(); contentType != nil {
			x.asGRPC(r, contentType)
		}
	}
	if r.status > 0 {
		x.localHead(r, reason)
	}
}

// local writes our own answer.
func (x *Exchange) local() {
	reason, r := x.Decision.Reason(), &x.reply
	x.Decision.Status = uint16(r.status) //nolint:gosec // 0 to 599
	if r.status == 0 {
		x.stream.Abort()
		return
	}
	if reason.Fault() == decision.ClientFault && reason.Status() != 403 && !r.ready {
		x.stream.CloseAfter() // where its next message begins is anybody's guess
	}
	if x.unwanted() {
		x.stream.CloseAfter()
	}
	x.answering = true
	if err := x.stream.WriteHead(r.status, nil, &x.ToClient, int64(len(r.body))); err != nil {
		x.clientGone(err)
		return
	}
	x.arena = append(x.arena, r.body...)
	if _, err := x.stream.WriteBody(x.arena[len(x.arena)-len(r.body):]); err != nil {
		x.clientGone(err)
		return
	}
	if err := x.stream.End(nil); err != nil {
		x.clientGone(err)
	}
}

// unwanted reports whether so much of the request's body is still to come, and is of no use
// to anybody, that its connection is not kept for another request. Budget: 0 allocs.
func (x *Exchange) unwanted() bool {
	if x.stream.Ready() {
		return false
	}
	return x.Req.Length == wire.LengthUnknown || x.Req.Length-x.stream.BytesIn() > wire.MaxUnwanted
}

func (x *Exchange) localHead(r *localReply, reason decision.Reason) {
	if r.location != nil {
		x.ToClient.Add(wire.FieldLocation, r.location)
	}
	if r.body != "" && r.contentType == nil && !r.ready {
		r.contentType = textPlain
	}
	if r.contentType != nil {
		x.ToClient.Add(wire.FieldContentType, r.contentType)
	}
	for _, line := range r.headers {
		x.ToClient.AddLine(line)
	}
	if reason == decision.UpstreamOverflow && !x.Snap.edge.suppressEnvoy {
		x.ToClient.AddName(nameOverloaded, valueTrue)
	}
	if reason == decision.HealthCheck {
		x.ToClient.Add(wire.FieldCacheControl, noCache)
	}
	if reason != decision.HealthCheck {
		x.apply(&x.Route.Response, &x.ToClient)
	}
	x.ToClient.Set(wire.FieldDate, x.gateway.date(x.Now))
	x.ToClient.Set(wire.FieldServer, x.Snap.edge.server)
}

func (x *Exchange) clientGone(err error) {
	x.Decision.Steps[x.Decision.Ended] = x.gone()
	x.Decision.Err = err
	x.stream.Abort()
}

// gone says why there is no client any more: it left, or we cut it off when a drain
// ran out of time.
func (x *Exchange) gone() decision.Reason {
	if x.gateway.cut.Load() {
		return decision.Draining
	}
	return decision.ClientGone
}

// httpsLocation is where an insecure request is sent.
func (x *Exchange) httpsLocation() []byte {
	x.location = x.Snap.table.HTTPSLocation(x.location[:0], &x.match)
	return x.location
}

// A redirect is the stage of a Mapping that answers with another address.
type redirect struct{ route *Route }

// Enter sends the client elsewhere. Budget: 0 allocs, but for regex_redirect.
func (r redirect) Enter(x *Exchange) Verdict {
	x.location = r.route.Location(x.location[:0], x.Snap.table, &x.match)
	x.reply = localReply{status: r.route.Status, location: x.location}
	return x.stop(decision.Proxy, decision.Redirect, r.route.By, nil)
}
