package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A LabelSelector is Kubernetes' textual label selector:
// "app=shop,tier!=test,env in (a, b),zone notin (c),team,!old,weight>5". The zero value
// matches every object.
type LabelSelector struct{ terms []labelTerm }

// A labelTerm is one condition on one label.
type labelTerm struct {
	key    string
	values []string // nil: the label's presence decides
	negate bool
	side   int // 1 for labels whose number is greater than bound, -1 for less, 0 where numbers do not matter
	bound  int64
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
		switch {
		case t.side != 0:
			n, err := strconv.ParseInt(value, 10, 64)
			found = err == nil && cmp.Compare(n, t.bound) == t.side
		case found && t.values != nil:
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
			return t, t.key != "" && !strings.ContainsAny(t.key+t.values[0], "=!<> ")
		}
	}
	if i := strings.IndexAny(part, "<>"); i >= 0 {
		return parseOrder(part[:i], part[i], part[i+1:])
	}
	key, negate := strings.CutPrefix(part, "!")
	key = strings.TrimSpace(key)
	return labelTerm{key: key, negate: negate}, key != "" && !strings.ContainsAny(key, "!() ")
}

// parseOrder reads a comparison of a label's number with another.
func parseOrder(key string, op byte, bound string) (labelTerm, bool) {
	t := labelTerm{key: strings.TrimSpace(key), side: 1}
	if op == '<' {
		t.side = -1
	}
	var err error
	t.bound, err = strconv.ParseInt(strings.TrimSpace(bound), 10, 64)
	return t, err == nil && t.key != "" && !strings.ContainsAny(t.key, "!() ")
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
