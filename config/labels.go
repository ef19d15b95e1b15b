package config

import (
	"fmt"
	"slices"
	"strings"
)

// A LabelSelector is Kubernetes' textual label selector:
// "app=shop,tier!=test,env in (a, b),zone notin (c),team,!old". The zero value
// matches every object.
type LabelSelector struct{ terms []labelTerm }

// A labelTerm is one condition on one label.
type labelTerm struct {
	key    string
	values []string // nil: the label's presence decides
	negate bool
}

// ParseLabelSelector reads a selector. An empty text matches everything.
func ParseLabelSelector(text string) (LabelSelector, error) {
	var s LabelSelector
	for _, part := range splitTerms(text) {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		t, ok := parseTerm(part)
		if !ok {
			return LabelSelector{}, fmt.Errorf("label selector %q: cannot understand %q", text, part)
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

// Matches reports whether labels fulfil every condition of s. As in Kubernetes,
// "!=" and "notin" are also fulfilled by an object without the label.
func (s LabelSelector) Matches(labels map[string]string) bool {
	for _, t := range s.terms {
		value, found := labels[t.key]
		if found && t.values != nil {
			found = slices.Contains(t.values, value)
		}
		if found == t.negate {
			return false
		}
	}
	return true
}

// splitTerms splits at commas outside parentheses.
func splitTerms(text string) []string {
	depth := 0
	return strings.FieldsFunc(text, func(r rune) bool {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		return r == ',' && depth == 0
	})
}

func parseTerm(part string) (labelTerm, bool) {
	if key, list, ok := strings.Cut(part, "("); ok {
		return parseSetTerm(strings.Fields(key), list)
	}
	for _, op := range []string{"!=", "==", "="} {
		if key, value, ok := strings.Cut(part, op); ok {
			t := labelTerm{key: strings.TrimSpace(key), values: []string{strings.TrimSpace(value)}, negate: op == "!="}
			return t, t.key != "" && !strings.ContainsAny(t.key+t.values[0], "=! ")
		}
	}
	key, negate := strings.CutPrefix(part, "!")
	key = strings.TrimSpace(key)
	return labelTerm{key: key, negate: negate}, key != "" && !strings.ContainsAny(key, "!() ")
}

// parseSetTerm reads `key in (a, b` and `key notin (a, b`, cut at the parenthesis.
func parseSetTerm(head []string, list string) (labelTerm, bool) {
	list, closed := strings.CutSuffix(strings.TrimSpace(list), ")")
	if !closed || len(head) != 2 || head[1] != "in" && head[1] != "notin" {
		return labelTerm{}, false
	}
	t := labelTerm{key: head[0], negate: head[1] == "notin"}
	for v := range strings.SplitSeq(list, ",") {
		t.values = append(t.values, strings.TrimSpace(v))
	}
	return t, true
}
