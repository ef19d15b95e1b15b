package config

import (
	"fmt"
	"strings"
)

// A FieldSelector is Kubernetes' textual field selector over the two fields that
// objects of every kind have: "metadata.namespace!=test,metadata.name=shop". The zero
// value matches every object.
type FieldSelector struct{ terms []fieldTerm }

// A fieldTerm is one condition.
type fieldTerm struct {
	namespace bool // about the namespace, otherwise about the name
	value     string
	negate    bool
}

// ParseFieldSelector reads a selector. An empty text matches everything.
func ParseFieldSelector(text string) (FieldSelector, error) {
	var s FieldSelector
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		i := strings.IndexAny(part, "!=")
		if i < 0 {
			return FieldSelector{}, fmt.Errorf("field selector %q: cannot understand %q", text, part)
		}
		field, rest := strings.TrimSpace(part[:i]), part[i:]
		value, negate := strings.CutPrefix(rest, "!=")
		if !negate {
			value = strings.TrimPrefix(strings.TrimPrefix(rest, "="), "=")
		}
		t := fieldTerm{namespace: field == "metadata.namespace", value: strings.TrimSpace(value), negate: negate}
		if strings.ContainsAny(t.value, "!=") {
			return FieldSelector{}, fmt.Errorf("field selector %q: cannot understand %q", text, part)
		}
		if !t.namespace && field != "metadata.name" {
			return FieldSelector{}, fmt.Errorf("field selector %q: only metadata.name and metadata.namespace can be selected by, not %q", text, field)
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

// Matches reports whether an object of that name and namespace fulfils every condition
// of s. The namespace of an object that belongs to none is "".
func (s FieldSelector) Matches(name, namespace string) bool {
	for _, t := range s.terms {
		value := name
		if t.namespace {
			value = namespace
		}
		if (value == t.value) == t.negate {
			return false
		}
	}
	return true
}
