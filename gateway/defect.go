package gateway

import (
	"fmt"
	"runtime/debug"

	"legate/decision"
)

// A defectError is a panic: something that only a mistake of ours can bring about.
type defectError struct{ cause any }

func (e *defectError) Error() string { return fmt.Sprintf("BUG: %v", e.cause) }

// defect logs a panic with its stack and makes an error of it.
func (g *Gateway) defect(cause any) error {
	g.log.Error("BUG: request met a defect", "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	return &defectError{cause}
}

// recover ends a request that met a defect of ours. It is counted and logged. The
// client gets a 500, or learns that the answer it has begun to get is not whole;
// nothing more. Whatever fails on the way, the process goes on.
func (g *Gateway) recover(x *Exchange) {
	cause := recover()
	if cause == nil {
		return
	}
	err := g.defect(cause)
	defer g.metrics.InFlight.Add(-1)
	stage, status := x.Decision.Ended, x.Decision.Status
	if x.entered > 0 {
		stage = x.step(x.entered - 1).name
	}
	x.stop(stage, decision.Internal, x.Route.By, err)
	g.shielded(x.letGo)
	x.leave()
	for x.ended < x.entered {
		g.shielded(x.finishNext)
	}
	if x.answering {
		x.Decision.Status = status
		g.shielded(x.stream.Abort)
	} else {
		g.shielded(x.apologise)
	}
	g.shielded(func() { g.observe(x) }) // x is left to the collector: who knows what still holds it
}

// shielded runs f, and goes on if f meets a defect too.
func (g *Gateway) shielded(f func()) {
	defer func() {
		if cause := recover(); cause != nil {
			_ = g.defect(cause) // logged; the first one is the request's error
		}
	}()
	f()
}

// letGo ends what goes on beside the request.
func (x *Exchange) letGo() {
	if x.link != nil {
		x.link.Abort()
	}
	x.stopPump()
}

// apologise answers with nothing but the status.
func (x *Exchange) apologise() {
	x.ToClient.Reset()
	x.reply = localReply{}
	x.stream.CloseAfter()
	x.prepareLocal()
	x.local()
}
