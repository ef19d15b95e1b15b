package decode

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// anyID is the ambassador_id of objects that belong to every gateway; given to
// those too broken to name their own.
const anyID = "_automatic_"

// v3alpha1Only begins an ambassador_id in stored v2 objects that were written as v3alpha1.
const v3alpha1Only = "--apiVersion-v3alpha1-only--"

// maxLists is how deep lists of objects may nest.
const maxLists = 4

// An object is one object being decoded.
type object struct {
	*reading
	config.Object
	kind    kind
	root    *yaml.Node
	notes   *fields // the annotations of a kind that has some of meaning
	old     bool    // written as v1 or v2
	dropped bool    // something essential cannot be understood
	extra   []*config.Object
}

// document decodes one object, or each of a list's.
func (r *reading) document(root *yaml.Node, depth int) {
	root = resolve(root)
	if isNull(root) || !r.visit() {
		return
	}
	if r.within != nil {
		r.within.parent.Document++
	}
	o := &object{reading: r, root: root}
	o.Digest = r.digest
	o.Meta = r.meta(root)
	if root.Kind != yaml.MappingNode {
		o.report(root, "", "must be an object with apiVersion and kind, got "+shown(root), config.ObjectDropped)
		r.add(o)
		return
	}
	top := o.open(root, "")
	o.Meta.Kind = top.text("kind")
	version := top.text("apiVersion")
	items := top.take("items")
	if r.within == nil && strings.HasSuffix(o.Meta.Kind, "List") && items != nil && items.value.Kind == yaml.SequenceNode {
		if depth == maxLists {
			o.report(items.key, "items", "lists of objects are nested too deeply", config.ObjectDropped)
			r.add(o)
			return
		}
		for _, item := range items.value.Content {
			r.document(item, depth+1)
		}
		return
	}
	o.decode(top, version)
	r.add(o)
}

// meta begins the Meta of the object at root.
func (r *reading) meta(root *yaml.Node) config.Meta {
	ref := r.ref(root)
	m := config.Meta{File: ref.File, Line: ref.Line, Col: ref.Col}
	if r.within != nil {
		m.Parent = r.within.parent
	}
	return m
}

// add completes o and what else its document stands for.
func (r *reading) add(o *object) {
	o.Broken = o.dropped
	for i := range o.Problems {
		ref := &o.Problems[i].Ref
		ref.Kind, ref.Name, ref.Namespace = o.Meta.Kind, o.Meta.Name, o.Meta.Namespace
	}
	config.SortProblems(o.Problems)
	found := o.Object // by itself: o holds on to the text and what was parsed of it
	r.found = append(append(r.found, &found), o.extra...)
}

// decode fills o from its top-level fields.
func (o *object) decode(top *fields, apiVersion string) {
	switch {
	case o.Meta.Kind == "" && apiVersion == "":
		o.report(top.node, "", "has neither apiVersion nor kind: it is no Kubernetes object", config.ObjectIgnored)
		return
	case o.Meta.Kind == "":
		o.report(top.node, "kind", "is missing", config.ObjectDropped)
		return
	}
	var served bool
	o.kind, served = kindOf(apiVersion, o.Meta.Kind)
	if o.within != nil && !o.kind.ambassador {
		o.kind = kind{why: "annotations hold nothing but Ambassador's kinds", effect: config.ObjectIgnored}
	}
	spec := o.head(top)
	if o.kind.ambassador && o.Meta.Kind == "Module" && o.Meta.Name == "authentication" {
		o.kind = ambassadorKinds["AuthService"] // this is the oldest way to write one
	}
	switch {
	case served && slices.Contains(o.kind.early, apiVersion[strings.IndexByte(apiVersion, '/')+1:]):
		o.report(top.at("apiVersion"), "apiVersion", fmt.Sprintf("Ambassador has no %s of version %q", o.Meta.Kind, apiVersion), config.Notice).Instead =
			"it is read as if it had"
	case served || o.kind.decode == nil:
	case o.kind.why != "":
		o.report(top.at("kind"), "kind", o.kind.why, config.ObjectDropped)
	case apiVersion == "":
		o.report(top.node, "apiVersion", "is missing", config.ObjectDropped)
	default:
		o.report(top.at("apiVersion"), "apiVersion", fmt.Sprintf("%q is not a version of %s", apiVersion, o.Meta.Kind), config.ObjectDropped)
	}
	o.old = strings.HasSuffix(apiVersion, "/v1") || strings.HasSuffix(apiVersion, "/v2")
	switch {
	case o.kind.decode == nil:
		o.report(top.node, "", o.kind.why, o.kind.effect).Instead = o.kind.instead
	case o.kind.protector:
		o.protect(spec)
	case !o.dropped:
		if value := o.kind.decode(o, spec); !o.dropped {
			o.Value = value
		}
	}
}

// head reads name, namespace, labels and ambassador_id, and returns the fields of
// the object's spec. Core kinds have no spec.
func (o *object) head(top *fields) *fields {
	metadata := top.take("metadata")
	top.take("status") // what a controller wrote is none of our business
	m := o.openOr(metadata, "metadata", top)
	o.Meta.Name, o.Meta.Namespace, o.Meta.Labels = m.text("name"), m.text("namespace"), m.texts("labels")
	spec := top
	switch {
	case o.kind.ambassador && (o.within != nil || metadata == nil && top.has("name") && !top.has("spec")):
		spec = o.flat(top)
		spec.record()
	case o.kind.ambassador:
		spec = o.openOr(top.take("spec"), "", top)
		spec.record()
		top.finish(nil)
	}
	if o.Meta.Namespace == "" {
		o.Meta.Namespace = o.opts.Namespace
	}
	if o.Meta.Name == "" && o.kind.decode != nil {
		o.report(top.node, "metadata.name", "is missing", config.ObjectDropped)
	}
	if o.kind.ambassador {
		o.ids(spec)
	}
	if o.kind.annotated {
		o.notes = o.annotationFields(m)
		if o.Meta.Kind != "IngressClass" {
			o.annotations()
		}
	}
	return spec
}

// flat reads the form of annotations and configuration folders: name, namespace and
// labels at the top, and what else is there belongs to the spec. In an annotation, all
// of it may also be where it is in other objects, and the parent stands in.
func (o *object) flat(top *fields) *fields {
	o.Meta.Name = cmp.Or(o.Meta.Name, top.text("name"))
	o.Meta.Namespace = cmp.Or(top.text("namespace"), o.Meta.Namespace)
	if labels := top.texts("metadata_labels"); labels != nil {
		o.Meta.Labels = labels
	}
	top.take("generation")
	if o.within == nil {
		return top
	}
	p := &o.within.parent
	o.Meta.Namespace = cmp.Or(o.Meta.Namespace, p.Namespace)
	if o.Meta.Labels == nil {
		o.Meta.Labels = p.Labels
	}
	spec := o.openOr(top.take("spec"), "", top)
	for _, e := range top.written {
		if !e.used && spec.place(e.name) < 0 {
			spec.add(e)
		}
	}
	return spec
}

// ids reads the ambassador_id list. One that cannot be understood keeps its object
// in sight of every gateway.
func (o *object) ids(spec *fields) {
	o.IDs = []string{config.DefaultID}
	before := o.dropped
	o.dropped = false
	ids := spec.list("ambassador_id")
	if more := spec.list("ambassadorId"); ids == nil {
		ids = more
	}
	if selector := o.selector(spec); selector != nil {
		ids = selector.list("ambassadorIds")
		selector.finish(nil)
	}
	switch {
	case o.dropped, resolve(spec.node).Kind != yaml.MappingNode:
		o.IDs = []string{anyID}
	case len(ids) > 0:
		o.IDs = nil
		for _, id := range ids {
			o.IDs = append(o.IDs, strings.TrimPrefix(id, v3alpha1Only))
		}
	}
	o.dropped = o.dropped || before
}

// selector opens what stands in the place of ambassador_id in a few kinds, nil if it is
// missing.
func (o *object) selector(spec *fields) *fields {
	if !o.kind.selected {
		return nil
	}
	return spec.object("ambassadorSelector")
}

// report notes a problem at n. Of the object's name only the position is known yet.
func (o *object) report(n *yaml.Node, field, msg string, effect config.Effect) *config.Problem {
	o.Problems = append(o.Problems, config.Problem{
		Ref: o.ref(n), Field: field, Msg: msg, Effect: effect,
	})
	o.dropped = o.dropped || effect == config.ObjectDropped
	return &o.Problems[len(o.Problems)-1]
}
