package gateway

import "legate/decision"

// A Verdict says whether a request walks on.
type Verdict uint8

// The verdicts. Stop means that x.Decision says why and that x.reply or the
// reason's own answer goes to the client.
const (
	Continue Verdict = iota
	Stop
)

// A Stage decides one thing. It is built once per route and used by many requests
// at once; it keeps nothing of x.
type Stage interface {
	Enter(x *Exchange) Verdict
}

// A Responder has a say in the answer, whoever gave it; nothing is written yet. It is
// asked again where another answer takes the place of the one that it spoke of.
type Responder interface {
	Respond(x *Exchange)
}

// A Finisher ends what Enter began. It runs for every stage entered, whatever
// happened.
type Finisher interface {
	Finish(x *Exchange)
}

// A step is a stage with what was found out about it when it was built.
type step struct {
	name     decision.Stage
	stage    Stage
	respond  Responder
	finisher Finisher
}

// A Chain is the stages of one route, in the order of chain.go.
type Chain struct{ steps []step }

// add appends s, or nothing if s is nil: a route has only the stages it uses.
func (c *Chain) add(name decision.Stage, s Stage) {
	if s == nil {
		return
	}
	st := step{name: name, stage: s}
	st.respond, _ = s.(Responder)
	st.finisher, _ = s.(Finisher)
	c.steps = append(c.steps, st)
}

// enter walks the stages until one stops. Budget: 0 allocs.
func (c *Chain) enter(x *Exchange) Verdict {
	for i := range c.steps {
		x.entered = i + 1
		if c.steps[i].stage.Enter(x) == Stop {
			return Stop
		}
	}
	return Continue
}

// respond asks the stages that were entered, in reverse.
func (c *Chain) respond(x *Exchange) {
	for x.asked = x.entered - 1; x.asked >= 0; x.asked-- {
		if r := c.steps[x.asked].respond; r != nil {
			r.Respond(x)
		}
	}
}

// respondAnew asks once more those that had their say before the one that is asked now,
// as the answer that they spoke of is not the one that is given.
func (c *Chain) respondAnew(x *Exchange) {
	for i := x.entered - 1; i > x.asked; i-- {
		if r := c.steps[i].respond; r != nil {
			r.Respond(x)
		}
	}
}

// finish ends the stages that were entered, in reverse.
func (c *Chain) finish(x *Exchange) {
	for x.ended < x.entered {
		x.finishNext()
	}
}

// finishNext ends the last of the stages that were entered and have not ended.
func (x *Exchange) finishNext() {
	x.ended++
	if f := x.Route.chain.steps[x.entered-x.ended].finisher; f != nil {
		f.Finish(x)
	}
}
