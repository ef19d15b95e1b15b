package decode

import (
	"cmp"
	"fmt"
	"math"
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

// decodeFilterPolicy returns the guard of a FilterPolicy: what its rules with
// filters match, and what those without exempt.
func decodeFilterPolicy(o *object, spec *fields) any {
	spec.fold = true
	rules := spec.value("rules")
	if rules == nil {
		spec.missing("rules")
		return nil
	}
	if rules.value.Kind != yaml.SequenceNode {
		spec.wrong(rules, "a list of rules")
		return nil
	}
	g, protects := &config.Guard{Bypassable: true}, false
	for i, item := range rules.value.Content {
		rule := decodeRule(o, item, fmt.Sprintf("%s[%d].", rules.name, i))
		g.Rules = append(g.Rules, rule)
		protects = protects || !rule.Exempt
	}
	spec.finish(nil)
	if protects {
		o.report(o.root, "", "FilterPolicy is not served yet", config.RouteClosed)
	} else {
		o.report(o.root, "", "FilterPolicy is not served yet, and no rule of it has filters", config.Notice).Instead =
			"what it exempts is not guarded by later policies"
	}
	g.Meta = o.Meta
	return g
}

// decodeRule returns what one rule matches. A rule without filters lets requests
// through, unless a misspelt field of it may have been meant to be the filters.
func decodeRule(o *object, item *yaml.Node, path string) (rule config.GuardRule) {
	if !o.visit() {
		return rule
	}
	f := o.open(item, path)
	f.fold = true
	f.record()
	rule.Host = cmp.Or(f.text("host"), "*")
	rule.Path = cmp.Or(f.text("path"), "*")
	for _, name := range []string{"v3Precedence", "precedence"} {
		if n := f.number(name, math.MinInt32, math.MaxInt32); n != nil {
			rule.Precedence = *n
		}
	}
	filters := f.value("filters")
	before := len(o.Problems)
	f.finish(nil)
	switch {
	case filters == nil:
		rule.Exempt = len(o.Problems) == before
	case filters.value.Kind != yaml.SequenceNode:
		f.wrong(filters, "a list of filters")
	default:
		rule.Exempt = len(filters.value.Content) == 0
	}
	return rule
}
