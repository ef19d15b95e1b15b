package decode

import (
	"regexp"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

const everythingClosed = "every route that it could guard answers 503"

// protect decodes a protector. One that cannot be understood guards everything it
// could: a missing lock must never become an open door.
func (o *object) protect(spec *fields) {
	if !o.dropped {
		o.Value = o.kind.decode(o, spec)
	}
	if !o.dropped {
		return
	}
	o.Value = brokenGuard(o.Meta, o.kind.bypassable)
	for i := range o.Problems {
		if p := &o.Problems[i]; p.Effect == config.ObjectDropped {
			p.Effect, p.Instead = config.RouteClosed, everythingClosed
		}
	}
}

// brokenGuard stands for a protector that cannot be understood.
func brokenGuard(m config.Meta, bypassable bool) *config.Guard {
	g := guardEverything(m, bypassable)
	g.Broken = true
	return g
}

func guardEverything(m config.Meta, bypassable bool) *config.Guard {
	return &config.Guard{
		Meta:       m,
		Rules:      []config.GuardRule{{Host: "*", Path: "*"}},
		Bypassable: bypassable,
	}
}

// guardBeside is a guard that an object of another kind implies by one of its fields.
func (o *object) guardBeside(at *yaml.Node, field, msg string) *config.Object {
	g := &config.Object{Meta: o.Meta, IDs: o.IDs, Digest: o.Digest, Broken: o.dropped}
	g.Value = guardEverything(o.Meta, false)
	p := config.Problem{Ref: o.ref(at), Field: field, Msg: msg, Effect: config.RouteClosed, Instead: everythingClosed}
	p.Ref.Kind, p.Ref.Name, p.Ref.Namespace = o.Meta.Kind, o.Meta.Name, o.Meta.Namespace
	g.Problems = []config.Problem{p}
	return g
}

// protectorText finds a protector in text that cannot be read otherwise.
var protectorText = regexp.MustCompile(`(?m)^[^#\n]*\bkind["']?\s*:\s*["']?(AuthService|FilterPolicy)\b`)

// protectorNamed returns the kind of a protector that text speaks of, or "".
func protectorNamed(text []byte) string {
	if m := protectorText.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// hostText finds a Host in text that cannot be read otherwise.
var hostText = regexp.MustCompile(`(?m)^[^#\n]*\bkind["']?\s*:\s*["']?Host\b`)
