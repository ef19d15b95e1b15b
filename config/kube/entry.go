package kube

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"legate/config"
)

// An entry is one object of the API server, as far as it is remembered: what it says, and
// not the text that says so.
type entry struct {
	namespace, name string
	digest          config.Digest
	objects         []*config.Object // it, and what is written in its annotations; nil for a Secret that nobody names
	mentions        []string         // what may be names of Secrets
	stamp           stamp
	status          status // what its status says, of Ambassador's kinds
	balancer        string // where clients reach it, of a Service or an Ingress
	marked          bool   // a Service through which clients come
}

// A stamp is which version of an object was read.
type stamp struct {
	uid        string
	generation int64
	version    string // of the API that it was read in
}

func (e *entry) key() string { return e.namespace + "/" + e.name }

// meant returns the part of u that may mean something to a gateway, as JSON: without its
// status, who wrote which field, and annotations for others. Two versions of an object with
// the same text are the same to a gateway.
func meant(r *resource, u *unstructured.Unstructured) ([]byte, error) {
	metadata := map[string]any{"name": u.GetName()}
	if namespace := u.GetNamespace(); namespace != "" {
		metadata["namespace"] = namespace
	}
	if labels := u.GetLabels(); len(labels) > 0 {
		metadata["labels"] = labels
	}
	if r.annotated {
		notes := u.GetAnnotations()
		maps.DeleteFunc(notes, func(name, _ string) bool {
			return !strings.HasPrefix(name, ambassadorGroup+"/") && name != "kubernetes.io/ingress.class"
		})
		if len(notes) > 0 {
			metadata["annotations"] = notes
		}
	}
	object := map[string]any{"apiVersion": written(u), "kind": r.kind, "metadata": metadata}
	for name, value := range u.Object {
		switch name {
		case "apiVersion", "kind", "metadata", "status":
		default:
			object[name] = value
		}
	}
	return json.Marshal(object)
}

// written returns the version that u was written in. An API server that converts nothing
// hands out what somebody wrote as v2 under the name of any version, and a Mapping without
// a host does not mean the same in all of them. Who wrote the spec last, it remembers.
func written(u *unstructured.Unstructured) string {
	read, err := schema.ParseGroupVersion(u.GetAPIVersion())
	if err != nil || read.Group != ambassadorGroup || read.Version != "v3alpha1" {
		return u.GetAPIVersion()
	}
	writers := slices.DeleteFunc(u.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Subresource != "" || f.FieldsV1 == nil || !ownsSpec(f.FieldsV1.GetRawBytes())
	})
	if len(writers) == 0 {
		return u.GetAPIVersion()
	}
	last := slices.MaxFunc(writers, func(a, b metav1.ManagedFieldsEntry) int { return writtenAt(&a).Compare(writtenAt(&b)) })
	if gv, err := schema.ParseGroupVersion(last.APIVersion); err != nil || gv.Group != ambassadorGroup {
		return u.GetAPIVersion()
	}
	return last.APIVersion
}

// writtenAt is when a writer last wrote. Whoever makes an object may say who wrote it, and not
// when: that was before all others.
func writtenAt(f *metav1.ManagedFieldsEntry) time.Time {
	if f.Time == nil {
		return time.Time{}
	}
	return f.Time.Time
}

// ownsSpec reports whether a set of fields has some of the spec.
func ownsSpec(fields []byte) bool {
	var owned map[string]json.RawMessage
	return json.Unmarshal(fields, &owned) == nil && owned["f:spec"] != nil
}

func digestOf(text []byte) config.Digest {
	sum := sha256.Sum256(text)
	return config.Digest(sum[:len(config.Digest{})])
}
