package decode

import (
	"cmp"
	"encoding/base64"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// decodeSecret reads a Secret. Its messages never show a value.
func decodeSecret(o *object, top *fields) any {
	s := &config.Secret{Type: top.text("type"), Data: map[string][]byte{}}
	o.secretData(top.value("data"), func(e *entry) {
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.value.Value), ""))
		if err != nil {
			o.report(e.key, e.name, "must be base64", config.ObjectDropped)
		}
		s.Data[e.name] = b
	})
	o.secretData(top.value("stringData"), func(e *entry) { s.Data[e.name] = []byte(e.value.Value) })
	s.Meta = o.Meta
	return s
}

// secretData hands the entries of data or stringData to set.
func (o *object) secretData(data *entry, set func(*entry)) {
	if data == nil {
		return
	}
	f := o.open(data.value, "")
	f.record()
	for i := range f.written {
		switch e := &f.written[i]; {
		case e.value.Kind != yaml.ScalarNode:
			o.report(e.key, e.name, "must be text", config.ObjectDropped)
		case isNull(e.value):
			set(&entry{name: e.name, key: e.key, value: &yaml.Node{}})
		default:
			set(e)
		}
	}
}

// decodeResolver reads a resolver of any kind: which it is, the kind itself says.
func decodeResolver(o *object, spec *fields) any {
	r := &config.Resolver{}
	if o.Meta.Kind == "ConsulResolver" {
		r.Address, r.Datacenter = spec.text("address"), spec.required("datacenter")
	}
	spec.finish(nil)
	r.Meta = o.Meta
	return r
}

// decodeService reads names and ports. A Service has many more fields, which are
// the cluster's business.
func decodeService(o *object, top *fields) any {
	s := &config.Service{}
	if spec := top.object("spec"); spec != nil {
		s.Type, s.ClusterIP = spec.text("type"), spec.text("clusterIP")
		s.ExternalName = spec.text("externalName")
		for _, f := range spec.objects("ports") {
			s.Ports = append(s.Ports, servicePort(f))
		}
	}
	s.Meta = o.Meta
	return s
}

func servicePort(f *fields) config.ServicePort {
	p := config.ServicePort{Name: f.text("name"), Protocol: cmp.Or(f.text("protocol"), "TCP"), TargetPort: f.text("targetPort")}
	if n := f.number("port", 1, 65535); n != nil {
		p.Port = *n
	} else if f.value("port") == nil {
		f.missing("port")
	}
	if p.TargetPort == "" && p.Port != 0 {
		p.TargetPort = strconv.Itoa(p.Port)
	}
	return p
}
