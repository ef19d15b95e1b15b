package config

import (
	"cmp"
	"fmt"
	"slices"
)

// Options say which objects belong to this gateway. The zero value selects what
// an Ambassador without any setting selects.
type Options struct {
	AmbassadorID string // "" for "default"
	Namespace    string // the gateway's own; "" for "default"
	// SingleNamespace leaves out every object of another namespace,
	// SecretsSingleNamespace only Secrets.
	SingleNamespace        bool
	SecretsSingleNamespace bool
	LabelSelector          LabelSelector
	FieldSelector          FieldSelector
}

// DefaultID is the ambassador_id of a gateway and of an object that name none.
const DefaultID = "default"

// automaticID is in the ambassador_id list of objects that every gateway takes.
const automaticID = "_automatic_"

// OptionsFromEnv reads the options from Ambassador's own environment variables.
// getenv is os.Getenv. It fails if a selector cannot be understood.
func OptionsFromEnv(getenv func(string) string) (Options, error) {
	selector, err := ParseLabelSelector(getenv("AMBASSADOR_LABEL_SELECTOR"))
	if err != nil {
		return Options{}, fmt.Errorf("AMBASSADOR_LABEL_SELECTOR: %w", err)
	}
	fields, err := ParseFieldSelector(getenv("AMBASSADOR_FIELD_SELECTOR"))
	if err != nil {
		return Options{}, fmt.Errorf("AMBASSADOR_FIELD_SELECTOR: %w", err)
	}
	return Options{
		AmbassadorID:           cmp.Or(getenv("AMBASSADOR_ID"), DefaultID),
		Namespace:              cmp.Or(getenv("AMBASSADOR_NAMESPACE"), "default"),
		SingleNamespace:        getenv("AMBASSADOR_SINGLE_NAMESPACE") != "",
		SecretsSingleNamespace: getenv("AMBASSADOR_CERTS_SINGLE_NAMESPACE") != "",
		LabelSelector:          selector,
		FieldSelector:          fields,
	}, nil
}

// selects reports whether o belongs to this gateway. An object that does not is
// treated as if it did not exist: not even its problems are reported.
func (opts *Options) selects(o *Object) bool {
	if !opts.selectsID(o.IDs) {
		return false
	}
	m := &o.Meta
	name, namespace, labels, kind := m.Name, m.Namespace, m.Labels, m.Kind
	if p := &m.Parent; p.Kind != "" {
		// The cluster hands out the parent, whatever is written in it.
		name, namespace, labels, kind = p.Name, p.Namespace, p.Labels, p.Kind
	}
	// A document too broken to have a name has no namespace and no labels either;
	// its problem is shown to everybody.
	if name == "" {
		return true
	}
	if kind == "IngressClass" { // which belongs to no namespace
		if opts.SingleNamespace {
			return false
		}
		namespace = ""
	} else if own := namespace == cmp.Or(opts.Namespace, "default"); !own &&
		(opts.SingleNamespace || opts.SecretsSingleNamespace && kind == "Secret") {
		return false
	}
	return opts.LabelSelector.Matches(labels) && opts.FieldSelector.Matches(name, namespace)
}

func (opts *Options) selectsID(ids []string) bool {
	return ids == nil || slices.Contains(ids, cmp.Or(opts.AmbassadorID, DefaultID)) || slices.Contains(ids, automaticID)
}

// Owns reports whether an object with these ids, nil for one of a kind that has none, is
// this gateway's.
func (opts *Options) Owns(ids []string) bool { return opts.selectsID(ids) }
