package kube

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"legate/config/decode"
)

// A resource is one kind of object that is read.
type resource struct {
	group, kind string
	plural      string   // by which the API server knows it
	versions    []string // that it serves, the one to read first
	told        []string // of these, the ones in which its objects have a status of their own
	cluster     bool     // its objects are in no namespace
	core        bool     // every API server has it
	guards      bool     // its objects protect routes of others
	annotated   bool     // some of its annotations mean something
}

// name is how operators name the kind, as in "kubectl get mappings.getambassador.io".
func (r *resource) name() string {
	if r.group == "" {
		return r.plural
	}
	return r.plural + "." + r.group
}

func (r *resource) at(version string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.group, Version: version, Resource: r.plural}
}

// tells returns the version to write a status in of an object that was read in one: that, unless
// it is not served any more. It is "" where the kind has no status of its own.
func (r *resource) tells(version string) string {
	switch {
	case slices.Contains(r.told, version):
		return version
	case len(r.told) > 0:
		return r.told[0]
	}
	return ""
}

const (
	ambassadorGroup = "getambassador.io"
	gatewayGroup    = "gateway.getambassador.io"
)

// coreResources returns the kinds that every API server has and that these options need.
func coreResources(opts *Options) []resource {
	resources := []resource{
		{kind: "Service", plural: "services", versions: []string{"v1"}, annotated: true},
		{kind: "Secret", plural: "secrets", versions: []string{"v1"}},
		{group: "networking.k8s.io", kind: "Ingress", plural: "ingresses", versions: []string{"v1"}, told: []string{"v1"}, annotated: true},
	}
	if !opts.DisableEndpoints {
		resources = append(resources, resource{group: "discovery.k8s.io", kind: "EndpointSlice", plural: "endpointslices", versions: []string{"v1"}})
	}
	if !opts.Select.SingleNamespace { // which belong to none
		resources = append(resources, resource{group: "networking.k8s.io", kind: "IngressClass", plural: "ingressclasses", versions: []string{"v1"}, cluster: true, annotated: true})
	}
	for i := range resources {
		resources[i].core = true
	}
	return resources
}

// known finds one of Ambassador's kinds.
func known(group, kind string) (decode.Kind, bool) {
	kinds := decode.Kinds()
	i := slices.IndexFunc(kinds, func(k decode.Kind) bool { return k.Group == group && k.Name == kind })
	if i < 0 {
		return decode.Kind{}, false
	}
	return kinds[i], true
}
