package gateway

import (
	"bytes"

	"legate/config"
	"legate/decision"
	"legate/routes"
	"legate/wire"
)

// apply makes the edits of a route: names are removed, then formats speak of what is
// left, then lines are added. Budget: 0 allocs.
func (x *Exchange) apply(e *routes.HeaderEdits, to *wire.Edits) {
	if len(e.Formats) == 0 {
		e.Apply(to)
		return
	}
	e.Remove(to)
	x.values = x.values[:0]
	for i := range e.Formats {
		x.values = append(x.values, x.render(e.Formats[i].Value))
	}
	e.Add(to)
	for i := range e.Formats {
		if v := wire.TrimOWS(x.values[i]); len(v) > 0 {
			e.Formats[i].Put(to, v)
		}
	}
}

// judgeNames looks for names of headers with an underscore, which some services take
// for the same name with a hyphen: so they would get past who looks for that.
// Budget: 0 allocs.
func (x *Exchange) judgeNames(do config.UnderscoreAction) Verdict {
	for i := 0; i < x.Req.Len(); i++ {
		id, name, _ := x.Req.Line(i)
		if id != wire.FieldOther || bytes.IndexByte(name, '_') < 0 {
			continue
		}
		if do == config.RejectUnderscores {
			x.Client = x.peer.Remote.Addr()
			return x.stop(decision.Accept, decision.HeaderUnderscore, "", nil)
		}
		x.Req.RemoveNamed(name) // nobody behind us ever saw it
		i--
	}
	return Continue
}

// casing is how HTTP/1.1 spells names, by the Module.
func casing(m *config.Module) *wire.Casing {
	switch {
	case m.ProperCase:
		return wire.ProperCase()
	case len(m.HeaderCases) > 0:
		return wire.SpellAs(m.HeaderCases)
	}
	return nil
}
