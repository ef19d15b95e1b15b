package decode

import (
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
	old     bool // written as v1 or v2
	dropped bool // something essential cannot be understood
	extra   []config.Object
}

// document decodes one object, or each of a list's.
func (r *reading) document(root *yaml.Node, depth int) {
	root = resolve(root)
	if isNull(root) || !r.visit() {
		return
	}
	o := &object{reading: r, root: root}
	o.Digest = r.digest
	o.Meta = config.Meta{File: r.file, Line: r.line(root), Col: root.Column}
	if root.Kind != yaml.MappingNode {
		o.report(root, "", "must be an object with apiVersion and kind, got "+shown(root), config.ObjectDropped)
		r.add(o)
		return
	}
	top := o.open(root, "")
	o.Meta.Kind = top.text("kind")
	version := top.text("apiVersion")
	items := top.take("items")
	if strings.HasSuffix(o.Meta.Kind, "List") && items != nil && items.value.Kind == yaml.SequenceNode {
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

// add completes o and what else its document stands for.
func (r *reading) add(o *object) {
	for i := range o.Problems {
		ref := &o.Problems[i].Ref
		ref.Kind, ref.Name, ref.Namespace = o.Meta.Kind, o.Meta.Name, o.Meta.Namespace
	}
	slices.SortStableFunc(o.Problems, config.CompareProblems)
	r.found = append(r.found, o.Object)
	r.found = append(r.found, o.extra...)
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
	spec := o.head(top)
	if o.kind.ambassador && o.Meta.Kind == "Module" && o.Meta.Name == "authentication" {
		o.kind = ambassadorKinds["AuthService"] // this is the oldest way to write one
	}
	switch {
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
// the object's spec: those below spec, or in the flat form of annotations and
// configuration folders the rest of the top level. Core kinds have no spec.
func (o *object) head(top *fields) *fields {
	metadata := top.take("metadata")
	top.take("status") // what a controller wrote is none of our business
	flat := o.kind.ambassador && metadata == nil && top.has("name") && !top.has("spec")
	if flat {
		o.Meta.Name, o.Meta.Namespace = top.text("name"), top.text("namespace")
		o.Meta.Labels = top.texts("metadata_labels")
		top.take("generation")
	} else {
		m := o.openOr(metadata, "metadata", top)
		o.Meta.Name, o.Meta.Namespace = m.text("name"), m.text("namespace")
		o.Meta.Labels = m.texts("labels")
		defer o.annotations(m)
	}
	if o.Meta.Namespace == "" {
		o.Meta.Namespace = o.opts.Namespace
	}
	if o.Meta.Name == "" && o.kind.decode != nil {
		o.report(top.node, "metadata.name", "is missing", config.ObjectDropped)
	}
	spec := top
	if o.kind.ambassador && !flat {
		spec = o.openOr(top.take("spec"), "", top)
		spec.record()
		top.finish(nil)
	} else if flat {
		spec.record()
	}
	if o.kind.ambassador {
		o.ids(spec)
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
	switch {
	case o.dropped:
		o.IDs = []string{anyID}
	case len(ids) > 0:
		o.IDs = nil
		for _, id := range ids {
			o.IDs = append(o.IDs, strings.TrimPrefix(id, v3alpha1Only))
		}
	}
	o.dropped = o.dropped || before
}

// annotations looks for objects written inside an annotation, which are not served
// yet; a protector among them protects something we do not know.
func (o *object) annotations(metadata *fields) {
	e := metadata.take("annotations")
	if e == nil || e.value.Kind != yaml.MappingNode || o.Meta.Kind != "Service" && o.Meta.Kind != "Ingress" {
		return
	}
	const name = "getambassador.io/config"
	a := o.open(e.value, "metadata.annotations.").take(name)
	if a == nil || isNull(a.value) {
		return
	}
	field := "metadata.annotations." + name
	kind := protectorNamed([]byte(a.value.Value))
	if kind == "" {
		o.report(a.key, field, "objects in annotations are not served yet", config.FieldIgnored)
		return
	}
	o.extra = append(o.extra, o.guardBeside(a.key, field, "holds "+article(kind)+", which is not served yet"))
}

// report notes a problem at n. Of the object's name only the position is known yet.
func (o *object) report(n *yaml.Node, field, msg string, effect config.Effect) *config.Problem {
	o.Problems = append(o.Problems, config.Problem{
		Ref:   config.Ref{File: o.file, Line: o.line(n), Col: n.Column},
		Field: field, Msg: msg, Effect: effect,
	})
	o.dropped = o.dropped || effect == config.ObjectDropped
	return &o.Problems[len(o.Problems)-1]
}
