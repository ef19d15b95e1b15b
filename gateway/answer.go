package gateway

import (
	"cmp"
	"errors"
	"io"
	"time"

	"legate/authn"
	"legate/decision"
	"legate/format"
	"legate/wire"
)

// prepare makes the answer what it is before stages have their say in it: the
// upstream's, with what changes about it on the way, or our own. Budget: 0 allocs.
func (x *Exchange) prepare() {
	x.relayed, x.keptEarly = x.link != nil, false
	x.ToClient.Casing = x.Snap.edge.casing
	if x.link != nil {
		x.editAnswer()
	} else {
		x.prepareLocal()
	}
	if x.tellID {
		x.ToClient.Set(wire.FieldXRequestID, x.requestID)
	}
	if len(x.Route.overrides) > 0 {
		x.overrideBody()
	}
	for i := range x.call.Depending {
		x.tellDepending(&x.call.Depending[i])
	}
}

// tellDepending sets a header where the answer is one that gets it.
func (x *Exchange) tellDepending(d *authn.Depending) {
	head := &x.Resp
	if x.link == nil {
		head = &wire.Head{}
	}
	if _, there := field(head, &x.ToClient, &format.Field{ID: d.ID, Name: string(d.Name)}); there != d.Replaces {
		return
	}
	if d.ID != wire.FieldOther {
		x.ToClient.Set(d.ID, d.Value)
		return
	}
	x.ToClient.SetName(d.Name, d.Value)
}

// replace puts the answer of a reason in the place of the one that was prepared, and has
// the stages that spoke of that speak of it.
func (x *Exchange) replace(s decision.Stage, r decision.Reason, err error) {
	x.stop(s, r, x.Route.By, err)
	x.ToClient.Reset()
	x.reply = localReply{}
	x.prepare()
	x.respondAnew()
}

// told is the first value of a field that the client is about to be told, nil for none.
// Budget: 0 allocs.
func (x *Exchange) told(f wire.Field) []byte {
	if x.link != nil && !x.ToClient.Drops(f, nil) && x.Resp.Has(f) {
		return x.Resp.Get(f)
	}
	for _, a := range x.ToClient.Adds() {
		if a.ID == f {
			return a.Value
		}
	}
	return nil
}

// shape is what the client is about to be told of the answer's length, and whether no
// body follows. Budget: 0 allocs.
func (x *Exchange) shape() (status int, length int64, empty bool) {
	if x.link == nil {
		n := int64(len(x.reply.body))
		return x.reply.status, n, n == 0 || x.Req.Method() == wire.HEAD
	}
	if x.worn != nil {
		return x.Resp.Status, int64(len(x.worn)), len(x.worn) == 0 || x.Req.Method() == wire.HEAD
	}
	if x.kept != nil {
		return cmp.Or(x.status, x.Resp.Status), int64(len(x.kept)), len(x.kept) == 0
	}
	return cmp.Or(x.status, x.Resp.Status), x.Resp.Length, x.Resp.NoBody
}

// answer sends the client whatever answer there is: the upstream's, or our own.
// Budget: 0 allocs.
func (x *Exchange) answer() {
	switch {
	case x.link == nil:
		x.local()
	case x.Resp.Status == 101:
		x.tunnel()
	default:
		x.relay()
	}
}

// relay carries the upstream's answer to the client. Budget: 0 allocs.
func (x *Exchange) relay() {
	x.Decision.Ended = decision.Proxy
	status := cmp.Or(x.status, x.Resp.Status)
	x.Decision.Status = uint16(status) //nolint:gosec // 100 to 599
	x.Decision.By = x.Route.By
	x.answering = true
	err := x.stream.WriteHead(status, &x.Resp, &x.ToClient, x.answerLength())
	if err == nil {
		err = x.copyAnswer()
	} else {
		err = &clientError{err}
	}
	if err != nil {
		x.stopPump() // it may know why
		x.broken(err)
		x.stream.Abort()
		x.dropLink()
		return
	}
	x.waitPump()
	x.stopPump()
	x.keepEarly()
	x.noteCall()
	x.link.Release()
}

// answerLength is the length that the answer's framing tells the client. HTTP/2 can end
// an answer with its head and say no length; HTTP/1.1 says that it is 0.
func (x *Exchange) answerLength() int64 {
	r := &x.Resp
	if x.worn != nil {
		return int64(len(x.worn))
	}
	switch {
	case x.kept != nil && !x.bridges && x.link.Trailer() != nil:
		return wire.LengthUnknown // HTTP/1.1 lets nothing follow a body whose length is told
	case x.kept != nil:
		return int64(len(x.kept))
	}
	if r.NoBody && r.Length == wire.LengthUnknown && x.Req.Method() != wire.HEAD && r.Status != 304 && x.Req.Major < 2 {
		return 0
	}
	return r.Length
}

// cachedPiece is how much of a long answer is carried at a time in the clear: what one
// read brought is still in the processor's cache when it is written. Over TLS larger
// pieces cost less, as each is sealed and sent at once.
const cachedPiece = 32 << 10

// copyAnswer streams the body through one bounded buffer and flushes whenever the
// upstream pauses.
func (x *Exchange) copyAnswer() error {
	if x.worn != nil {
		return x.tellWorn()
	}
	if x.kept != nil {
		if _, err := x.stream.WriteBody(x.kept); err != nil {
			return &clientError{err}
		}
		if x.bridges {
			return clientSide(x.stream.End(nil))
		}
		return clientSide(x.stream.End(x.link.Trailer()))
	}
	if x.Resp.NoBody || x.link.Done() {
		return clientSide(x.stream.End(x.link.Trailer()))
	}
	if rest, ok := x.link.Rest(); ok {
		if _, err := x.stream.WriteBody(rest); err != nil {
			return &clientError{err}
		}
		return clientSide(x.stream.End(x.link.Trailer()))
	}
	pool := bodyPool(x.Resp.Length)
	b := pool.Get()
	defer pool.Put(b)
	if x.peer.TLS == nil && x.Resp.Length > int64(len(b)) {
		b = b[:cachedPiece]
	}
	if x.link.Buffered() == 0 { // the head does not wait for a body that may be long in coming
		if err := x.stream.Flush(); err != nil {
			return &clientError{err}
		}
	}
	for {
		n, err := x.link.ReadBody(b, x.bodyDeadline(), x.tickFunc)
		if n > 0 {
			if _, werr := x.stream.WriteBody(b[:n]); werr != nil {
				return &clientError{werr}
			}
			if x.pumping {
				x.moved.Store(int64(x.gateway.clock().Sub(x.Now)))
			}
		}
		switch {
		case errors.Is(err, io.EOF) || err == nil && x.link.Done():
			return clientSide(x.stream.End(x.link.Trailer()))
		case err != nil:
			return err
		case x.link.Buffered() == 0:
			if err := x.stream.Flush(); err != nil {
				return &clientError{err}
			}
		}
	}
}

func clientSide(err error) error {
	if err != nil {
		return &clientError{err}
	}
	return nil
}

// bodyDeadline avoids reading the clock while the rest of a body is at hand.
func (x *Exchange) bodyDeadline() time.Time {
	if x.link.Buffered() > 0 {
		return time.Time{}
	}
	return x.deadline(x.gateway.clock())
}

// broken notes why an answer that had begun is not whole.
func (x *Exchange) broken(err error) {
	reason := decision.UpstreamResetAfterHead
	client := x.clientFault(err)
	switch outcome := wire.OutcomeOf(err); {
	case x.defective():
		reason, err = decision.Internal, x.pumpErr
	case client != nil:
		reason, err = x.clientReason(client.err), client.err
	case outcome == wire.GivenUp:
		reason = x.gone()
	case outcome == wire.Timeout && x.timeoutPassed():
		reason = decision.UpstreamTimeout
	case outcome == wire.Timeout:
		reason = decision.UpstreamIdle
	case outcome == wire.Mangled || outcome == wire.TooLarge:
		reason = decision.UpstreamBadAnswer
	case outcome == wire.RemoteReset || outcome == wire.Refused:
		reason = decision.UpstreamRemoteReset
	}
	x.Decision.Steps[decision.Proxy] = reason
	x.Decision.Err = err
}

// envoyFields are those of Envoy's own fields that have a number.
const envoyFields = wire.FieldSet(1<<wire.FieldXEnvoyExpectedRqTimeoutMs | 1<<wire.FieldXEnvoyExternalAddress |
	1<<wire.FieldXEnvoyInternal | 1<<wire.FieldXEnvoyOriginalPath | 1<<wire.FieldXEnvoyUpstreamServiceTime)

// editAnswer writes down what changes on the way to the client: the Mapping's own
// wishes, and what the edge has the last word about.
func (x *Exchange) editAnswer() {
	e := &x.Snap.edge
	x.ToClient.DropSet(envoyFields)
	for i := range x.Resp.Len() {
		if id, name, _ := x.Resp.Line(i); id == wire.FieldOther && len(name) > len(envoyPrefix) && string(name[:len(envoyPrefix)]) == envoyPrefix {
			x.ToClient.DropName(name)
		}
	}
	if !e.suppressEnvoy {
		x.ToClient.Set(wire.FieldXEnvoyUpstreamServiceTime, x.appendInt(x.headAfter.Milliseconds()))
	}
	if x.setCookie != nil {
		x.ToClient.Add(wire.FieldSetCookie, x.setCookie)
	}
	x.apply(&x.Route.Response, &x.ToClient)
	x.ToClient.Set(wire.FieldServer, e.server)
	if _, dated := field(&x.Resp, &x.ToClient, &fieldDate); !dated {
		x.ToClient.Add(wire.FieldDate, x.gateway.date(x.Now))
	}
}

var fieldDate = format.Field{ID: wire.FieldDate}
