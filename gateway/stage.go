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

// A Chain is the stages of one route, in the order of chain.go. Up to settled they are
// those of the route that was found first; then it is settled which one serves.
type Chain struct {
	steps   []step
	settled int
}

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

// step returns stage i of x's walk, nil behind the last one: of the route that was found
// first, as long as it is not settled which one serves, and then of that.
func (x *Exchange) step(i int) *step {
	c := &x.Route.chain
	if f := x.front; f != nil {
		if i < f.chain.settled {
			return &f.chain.steps[i]
		}
		i += c.settled - f.chain.settled
	}
	if i >= len(c.steps) {
		return nil
	}
	return &c.steps[i]
}

// enter walks the stages until one stops. Budget: 0 allocs.
func (x *Exchange) enter() Verdict {
	for s := x.step(0); s != nil; s = x.step(x.entered) {
		x.entered++
		if s.stage.Enter(x) == Stop {
			return Stop
		}
	}
	return Continue
}

// respond asks the stages that were entered, in reverse.
func (x *Exchange) respond() {
	for x.asked = x.entered - 1; x.asked >= 0; x.asked-- {
		if r := x.step(x.asked).respond; r != nil {
			r.Respond(x)
		}
	}
}

// respondAnew asks once more those that had their say before the one that is asked now,
// as the answer that they spoke of is not the one that is given.
func (x *Exchange) respondAnew() {
	for i := x.entered - 1; i > x.asked; i-- {
		if r := x.step(i).respond; r != nil {
			r.Respond(x)
		}
	}
}

// finish ends the stages that were entered, in reverse.
func (x *Exchange) finish() {
	for x.ended < x.entered {
		x.finishNext()
	}
}

// finishNext ends the last of the stages that were entered and have not ended.
func (x *Exchange) finishNext() {
	x.ended++
	if f := x.step(x.entered - x.ended).finisher; f != nil {
		f.Finish(x)
	}
}
