package kube

import (
	"reflect"

	"legate/config"
)

// mentions returns the texts in what objects say that may be names of Secrets: all of them,
// in the kinds that name Secrets. Taking too many costs the memory of a Secret that nobody
// needs; taking too few would cost its users their certificate.
func mentions(objects []*config.Object) []string {
	var found []string
	for _, o := range objects {
		switch o.Value.(type) {
		case nil, *config.Mapping, *config.TCPMapping, *config.Listener, *config.Secret, *config.Service,
			*config.EndpointSlice, *config.RateLimit, *config.FilterPolicy, *config.IngressClass, *config.Resolver:
			// They name none. Most objects are among these.
		default:
			found = texts(found, reflect.ValueOf(o.Value))
		}
	}
	return found
}

var metaType = reflect.TypeFor[config.Meta]()

// texts adds the texts in v to found.
func texts(found []string, v reflect.Value) []string {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); s != "" && len(s) <= maxSecretName {
			found = append(found, s)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			found = texts(found, v.Elem())
		}
	case reflect.Struct:
		if v.Type() == metaType {
			break
		}
		for _, field := range v.Fields() {
			found = texts(found, field)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			break
		}
		for i := range v.Len() {
			found = texts(found, v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			found = texts(found, v.MapIndex(key))
		}
	default:
	}
	return found
}

// maxSecretName is how long "name.namespace" may be.
const maxSecretName = 253 + 1 + 63

// A wanted is the Secrets that are named, "name" in whatever namespace or
// "name.namespace".
type wanted map[string]bool

func (w wanted) wants(namespace, name string) bool { return w[name] || w[name+"."+namespace] }
