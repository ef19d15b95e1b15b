package gateway

import (
	"errors"
	"io"

	"legate/decision"
	"legate/routes"
	"legate/wire"
)

// maxBridged is how much of an answer is held back for the sake of what trails it.
const maxBridged = 1 << 20

var errAnswerTooLarge = errors.New("the answer is larger than what may be held back")

// A grpcBridge is the stage that lets clients of HTTP/1.1 that know no trailers call
// services of gRPC: an answer is held back until its end, and what trails it is told in
// the head.
type grpcBridge struct{}

// grpcBridge returns nil where the Module does not ask for it or r's upstream does not
// speak gRPC.
func (c *compiler) grpcBridge(r *Route) Stage {
	if !c.next.edge.grpcBridge || r.Kind != routes.Forward || !r.Mapping.GRPC {
		return nil
	}
	return grpcBridge{}
}

func (x *Exchange) bridged() bool { return x.Req.Major == 1 && isGRPC(x.Req) }

// Enter asks for the trailers that the client did not. Budget: 0 allocs.
func (grpcBridge) Enter(x *Exchange) Verdict {
	if x.bridged() {
		x.ToUp.Set(wire.FieldTE, valueTrailers)
	}
	return Continue
}

// Respond reads the whole answer and moves gRPC's verdict into the head. A call that
// failed is a failure of HTTP, too.
func (grpcBridge) Respond(x *Exchange) {
	if x.link == nil || x.worn != nil || !x.bridged() || !isGRPC(&x.Resp) {
		return
	}
	if err := x.keepAnswer(maxBridged); err != nil {
		x.loseAnswer(x.answerFailure(err))
		return
	}
	x.bridges = true
	status, told := x.Resp.Find(string(nameGRPCStatus))
	if trailer := x.link.Trailer(); trailer != nil {
		if late, ok := trailer.Find(string(nameGRPCStatus)); ok {
			status, told = late, true
			x.ToClient.SetName(nameGRPCStatus, late)
		}
		if message, ok := trailer.Find(string(nameGRPCMessage)); ok {
			x.ToClient.SetName(nameGRPCMessage, message)
		}
	}
	if told && string(status) != "0" {
		x.status = 503
	}
}

// keepAnswer reads the answer's body to its end, unless that was done before. More than
// limit bytes are errAnswerTooLarge.
func (x *Exchange) keepAnswer(limit int64) error {
	switch {
	case x.kept != nil && int64(len(x.kept)) > limit:
		return errAnswerTooLarge
	case x.kept != nil:
		return nil
	}
	x.kept = wire.Large.Get()[:0]
	for !x.Resp.NoBody && !x.link.Done() {
		if len(x.kept) == cap(x.kept) {
			larger := append(make([]byte, 0, 2*cap(x.kept)), x.kept...)
			wire.Large.Put(x.kept)
			x.kept = larger
		}
		n, err := x.link.ReadBody(x.kept[len(x.kept):cap(x.kept)], x.bodyDeadline(), x.tickFunc)
		x.kept = x.kept[:len(x.kept)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case int64(len(x.kept)) > limit:
			return errAnswerTooLarge
		}
	}
	return nil
}

// answerFailure says why an answer could not be kept.
func (x *Exchange) answerFailure(err error) (decision.Reason, error) {
	if errors.Is(err, errAnswerTooLarge) {
		x.stopPump()
		return decision.AnswerTooLarge, err
	}
	return x.failure(err)
}

// loseAnswer gives an answer of our own instead of the upstream's, which is not whole.
func (x *Exchange) loseAnswer(reason decision.Reason, err error) {
	if x.link != nil {
		x.dropLink()
	}
	x.unkeep()
	x.replace(decision.Proxy, reason, err)
}

// unkeep gives back what was kept of an answer. Budget: 0 allocs.
func (x *Exchange) unkeep() {
	if x.kept != nil {
		wire.Large.Put(x.kept)
	}
	x.kept, x.status, x.bridges = nil, 0, false
}
