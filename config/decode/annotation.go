package decode

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// configAnnotation on a Service or an Ingress holds Ambassador's objects, as it was
// done before there were kinds of their own.
const configAnnotation = "getambassador.io/config"

// An annotation is where objects are written within the text of another.
type annotation struct {
	parent config.Parent // its Document is the one being read
	// indent is how far the text is moved to the right in the file. key is where a
	// folded text's annotation is written.
	indent int
	key    config.Ref
}

// ref says where something in the annotation is: at in the file if it can be pointed
// to there, or at the annotation with at's line in words.
func (a *annotation) ref(at config.Ref) config.Ref {
	if !a.parent.Folded {
		at.Within = a.parent.At(0)
		return at
	}
	key := a.key
	key.Within = a.parent.At(at.Line)
	return key
}

// annotations reads the objects in o's annotation, each as if it stood beside o. Text
// that is no YAML is a Problem of o, and nothing of that annotation is loaded.
func (o *object) annotations() {
	a := o.notes.value(configAnnotation)
	if a == nil {
		return
	}
	if a.value.Kind != yaml.ScalarNode {
		o.notes.wrong(a, "text")
		return
	}
	in := &annotation{
		parent: config.Parent{Kind: o.Meta.Kind, Name: o.Meta.Name, Namespace: o.Meta.Namespace, Labels: o.Meta.Labels},
		key:    o.ref(a.key),
	}
	text := a.value.Value
	begin, indent, literal := o.literal(a.value)
	in.indent, in.parent.Folded = indent, !literal
	var found []*config.Object
	for c := range chunks([]byte(text)) {
		c.line += begin
		// What aliases repeat counts each time, parsing included.
		o.visits += len(c.text) / 8
		if !o.visit() {
			return
		}
		r := reading{opts: o.opts, file: o.file, chunk: c, digest: o.digest, within: in}
		if err := r.read(); err != nil {
			o.extra = append(o.extra, in.unreadable(o, c, err, text))
			return
		}
		o.visits += r.visits
		found = append(found, r.found...)
	}
	o.extra = append(o.extra, found...)
}

// unreadable stands for an annotation whose text, in chunk c, is no YAML.
func (a *annotation) unreadable(o *object, c chunk, err error, text string) *config.Object {
	msg, line := yamlError(err, c.text)
	a.parent.Document = 0 // none in particular
	p := config.Problem{Ref: a.key, Field: "metadata.annotations." + configAnnotation, Effect: config.ObjectDropped}
	p.Msg, p.Instead = msg, "nothing in it is loaded"
	p.Ref.Kind, p.Ref.Name, p.Ref.Namespace = o.Meta.Kind, o.Meta.Name, o.Meta.Namespace
	if line += c.line - 1; a.parent.Folded {
		p.Ref.Within = "line " + strconv.Itoa(line)
	} else {
		p.Ref.Line, p.Ref.Col = line, a.indent+1
	}
	m := config.Meta{File: p.Ref.File, Line: a.key.Line, Col: a.key.Col, Parent: a.parent}
	return lost(config.Object{Meta: m, Digest: o.digest, Broken: true}, p, []byte(text))
}

// literal reports whether the lines of n's text are lines of the file, on which line
// before the first they begin, and how far they are indented there.
func (o *object) literal(n *yaml.Node) (begin, indent int, ok bool) {
	if n.Style&yaml.LiteralStyle == 0 || o.within != nil {
		return 0, 0, false
	}
	lines := strings.SplitAfter(string(o.chunk.text), "\n")
	first := strings.TrimLeft(n.Value, "\n")
	skipped := len(n.Value) - len(first)
	first, _, _ = strings.Cut(first, "\n")
	if first == "" || n.Line+skipped >= len(lines) {
		return 0, 0, false
	}
	written := strings.TrimRight(lines[n.Line+skipped], "\r\n")
	if !strings.HasSuffix(written, first) {
		return 0, 0, false
	}
	return o.line(n), len(written) - len(first), true
}
