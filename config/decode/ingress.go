package decode

import (
	"cmp"
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// What an Ingress or an IngressClass says in annotations, having no fields for it.
const (
	idAnnotation    = "getambassador.io/ambassador-id"
	classAnnotation = "kubernetes.io/ingress.class"
)

// annotationIDs reads the ambassador_id of a core kind: one, a list with commas, or one
// in JSON.
func (o *object) annotationIDs() {
	o.IDs = []string{config.DefaultID}
	text := strings.TrimSpace(o.notes.text(idAnnotation))
	if text == "" {
		return
	}
	var ids []string
	if json.Unmarshal([]byte(text), &ids) == nil {
		o.IDs = ids
		return
	}
	o.IDs = nil
	for id := range strings.SplitSeq(text, ",") {
		o.IDs = append(o.IDs, strings.TrimSpace(id))
	}
}

func decodeIngressClass(o *object, top *fields) any {
	o.annotationIDs()
	spec := o.openOr(top.take("spec"), "", top)
	return &config.IngressClass{Controller: spec.text("controller"), Meta: o.Meta}
}

// decodeIngress reads an Ingress in the shapes of all its versions. What is not for us
// is found out later, when the classes are known.
func decodeIngress(o *object, top *fields) any {
	o.annotationIDs()
	in := &config.Ingress{Class: o.notes.text(classAnnotation)}
	spec := o.openOr(top.take("spec"), "", top)
	spec.record()
	in.ClassName = spec.text("ingressClassName")
	for _, f := range spec.objects("tls") {
		in.TLS = append(in.TLS, config.IngressTLS{Hosts: f.list("hosts"), Secret: f.text("secretName")})
	}
	for _, name := range []string{"defaultBackend", "backend"} {
		if b := spec.object(name); b != nil {
			backend := ingressBackend(b)
			in.Default = &backend
		}
	}
	for _, f := range spec.objects("rules") {
		rule := config.IngressRule{Host: f.text("host")}
		if http := f.object("http"); http != nil {
			for _, p := range http.objects("paths") {
				rule.Paths = append(rule.Paths, ingressPath(p))
			}
		}
		in.Rules = append(in.Rules, rule)
	}
	in.Meta = o.Meta
	return in
}

func ingressPath(f *fields) config.IngressPath {
	p := config.IngressPath{
		Path:  f.text("path"),
		Exact: f.oneOf("pathType", "Exact", "Prefix", "ImplementationSpecific") == "Exact",
	}
	if b := f.object("backend"); b != nil {
		p.Backend = ingressBackend(b)
	} else if f.value("backend") == nil {
		f.missing("backend")
	}
	return p
}

// ingressBackend reads {service: {name, port: {name, number}}}, or before version 1
// {serviceName, servicePort}.
func ingressBackend(f *fields) config.IngressBackend {
	b := config.IngressBackend{Service: f.text("serviceName"), Port: f.text("servicePort")}
	if s := f.object("service"); s != nil {
		b.Service = s.required("name")
		if port := s.object("port"); port != nil {
			b.Port = cmp.Or(port.text("name"), port.text("number"))
		}
	}
	switch e := f.value("resource"); {
	case b.Service != "":
	case e != nil:
		f.o.report(e.key, f.path+"resource", "nothing but a Service can be asked", config.FieldIgnored)
	case !f.has("service"):
		f.missing("service")
	}
	return b
}

// annotationFields opens the annotations of a core kind, which are all texts.
func (o *object) annotationFields(metadata *fields) *fields {
	e := metadata.take("annotations")
	if e == nil || e.value.Kind != yaml.MappingNode {
		return &fields{o: o, node: metadata.node}
	}
	f := o.open(e.value, "metadata.annotations.")
	f.soft = true
	return f
}
