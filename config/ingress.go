package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"strings"
)

// What makes an Ingress ours: the class in its annotation, or the controller of the
// IngressClass that it names. Both in any case.
const (
	ingressClassName  = "ambassador"
	ingressController = "getambassador.io/ingress-controller"
)

// ingressLabel ties the Mappings of an Ingress to the Hosts of the same Ingress.
const ingressLabel = "a10r-k8s-ingress"

// An Ingress is a Kubernetes Ingress. It serves as Hosts and Mappings that follow from
// it, if it is of our class.
type Ingress struct {
	Meta
	Class     string // of the annotation kubernetes.io/ingress.class
	ClassName string // of an IngressClass
	TLS       []IngressTLS
	Default   *IngressBackend // nil for none
	Rules     []IngressRule
}

// IngressTLS is a certificate and the names it is for; none stand for every name.
type IngressTLS struct {
	Hosts  []string
	Secret string // "" for none, in the Ingress' namespace
}

// An IngressRule is what becomes of the requests for one name, "" for every name.
type IngressRule struct {
	Host  string
	Paths []IngressPath
}

// An IngressPath is where requests go whose path begins with Path, or is Path if Exact.
type IngressPath struct {
	Path    string // "" for "/"
	Exact   bool
	Backend IngressBackend
}

// An IngressBackend is a port of a Service in the Ingress' namespace. One without a
// Service, such as a resource of a cloud, is not asked.
type IngressBackend struct {
	Service string
	Port    string // number or name; "" for none
}

// An IngressClass says which controller serves the Ingresses that name it.
type IngressClass struct {
	Meta
	Controller string
}

// ingresses makes Hosts and Mappings of the Ingresses among objects. It returns what
// else there is, what follows from the Ingresses, and notices about those that are not
// ours.
func ingresses(objects []*Object) (rest, follow []*Object, notices []Problem) {
	x := expansion{controllers: map[string]string{}, ports: map[string]int{}}
	var found []*Object
	for _, o := range objects {
		switch v := o.Value.(type) {
		case *Ingress:
			found = append(found, o)
		case *IngressClass:
			x.controllers[v.Name] = v.Controller
		default:
			rest = append(rest, o)
			x.note(v)
		}
	}
	for _, o := range found {
		in, _ := o.Value.(*Ingress)
		if why := x.foreign(in); why != "" {
			p := in.Problem("", why, Notice)
			p.Instead = "it is left to others"
			notices = append(notices, p)
			continue
		}
		x.expand(o, in)
	}
	return rest, x.objects, notices
}

// An expansion is what is known while Ingresses are expanded, and what they became.
type expansion struct {
	controllers map[string]string // of IngressClasses by name
	ports       map[string]int    // of Services by "name.namespace:port name"
	written     map[string]FieldPos
	objects     []*Object
}

// note keeps a Service's named ports.
func (x *expansion) note(value any) {
	s, ok := value.(*Service)
	if !ok {
		return
	}
	for _, p := range s.Ports {
		if p.Name != "" {
			x.ports[s.FullName()+":"+p.Name] = p.Port
		}
	}
}

// foreign says why in is not ours, "" if it is.
func (x *expansion) foreign(in *Ingress) string {
	controller, known := x.controllers[in.ClassName]
	switch {
	case strings.EqualFold(in.Class, ingressClassName), strings.EqualFold(controller, ingressController):
		return ""
	case in.ClassName != "" && !known:
		return fmt.Sprintf("there is no IngressClass %q", in.ClassName)
	case in.ClassName == "" && in.Class == "":
		return "names no class"
	}
	return fmt.Sprintf("is of class %q", cmp.Or(in.ClassName, in.Class))
}

// expand adds the Hosts and Mappings that follow from in, which is o's value.
func (x *expansion) expand(o *Object, in *Ingress) {
	x.written = make(map[string]FieldPos, len(in.Fields))
	for _, f := range in.Fields {
		x.written[f.Field] = f
	}
	mark := "a10r-ingress-" + in.Name + "-" + in.Namespace
	secured := false
	for i, tls := range in.TLS {
		if tls.Secret == "" {
			continue
		}
		hosts := tls.Hosts
		if len(hosts) == 0 {
			hosts = []string{"*"}
		}
		for j, host := range hosts {
			secured = true
			x.add(o, "Host", fmt.Sprintf("%s-%d-%d", in.Name, i, j), in.Labels, places{
				"":          fmt.Sprintf("tls[%d]", i),
				"hostname":  fmt.Sprintf("tls[%d].hosts", i),
				"tlsSecret": fmt.Sprintf("tls[%d].secretName", i),
			}, &Host{
				Hostname: host, TLSSecret: SecretRef{Name: tls.Secret, Namespace: in.Namespace}, Insecure: InsecureRoute,
				Selector: map[string]string{ingressLabel: mark}, HasSelector: true,
			})
		}
	}
	labels := in.Labels
	if secured {
		labels = maps.Clone(labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[ingressLabel] = mark
	}
	if b := in.Default; b != nil && b.Service != "" {
		at := "defaultBackend"
		if _, old := x.written["backend"]; old {
			at = "backend" // as it was called before version 1
		}
		x.add(o, "Mapping", in.Name+"-default-backend", labels, places{"": at, "service": at},
			&Mapping{Prefix: "/", Hostname: "*", Service: x.service(in, b)})
	}
	for i := range in.Rules {
		x.rule(o, in, i, labels, secured)
	}
}

// rule adds the Mappings of in's rule i.
func (x *expansion) rule(o *Object, in *Ingress, i int, labels map[string]string, secured bool) {
	rule := &in.Rules[i]
	for j := range rule.Paths {
		p := &rule.Paths[j]
		if p.Backend.Service == "" {
			continue
		}
		m := &Mapping{Prefix: cmp.Or(p.Path, "/"), Service: x.service(in, &p.Backend)}
		if p.Exact {
			m.PrefixExact, m.Precedence = true, 1
		}
		switch domain, wild := strings.CutPrefix(rule.Host, "*."); {
		case wild: // one label, unlike in a Mapping's hostname
			m.Host, m.HostRegex = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?\.`+regexp.QuoteMeta(domain)+`$`, true
		case rule.Host != "":
			m.Hostname = rule.Host
		case !secured:
			m.Hostname = "*"
		}
		at := fmt.Sprintf("rules[%d].http.paths[%d]", i, j)
		host := fmt.Sprintf("rules[%d].host", i)
		x.add(o, "Mapping", fmt.Sprintf("%s-%d-%d", in.Name, i, j), labels, places{
			"": at, "prefix": at + ".path", "service": at + ".backend", "hostname": host, "host": host,
		}, m)
	}
}

// service is what a Mapping says for b. A port's name that the Service does not have
// stays as it is, and leads nowhere.
func (x *expansion) service(in *Ingress, b *IngressBackend) string {
	name := b.Service + "." + in.Namespace
	if port := x.ports[name+":"+b.Port]; port != 0 {
		return fmt.Sprintf("%s:%d", name, port)
	}
	if b.Port == "" {
		return name
	}
	return name + ":" + b.Port
}

// places are the fields of an Ingress that the fields of what follows from it are
// taken from; "" is for the object itself.
type places map[string]string

// add adds an object that follows from o.
func (x *expansion) add(o *Object, kind, name string, labels map[string]string, at places, value any) {
	in := &o.Meta
	m := Meta{
		Kind: kind, Name: name, Namespace: in.Namespace, Labels: labels, File: in.File, Line: in.Line, Col: in.Col,
		Parent: Parent{Kind: in.Kind, Name: in.Name, Namespace: in.Namespace, Labels: in.Labels},
	}
	for field, from := range at {
		f, ok := x.written[from]
		switch {
		case !ok:
		case field == "":
			m.Line, m.Col = int(f.Line), int(f.Col)
		default:
			m.Fields = append(m.Fields, FieldPos{Field: field, Line: f.Line, Col: f.Col})
		}
	}
	x.objects = append(x.objects, &Object{Meta: m, IDs: o.IDs, Digest: o.Digest, Value: withMeta(value, m)})
}
