package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A Token is a token as templates know it: Raw, Header, Claims and Signature, and beside
// them its claims by their own names, which print as services expect them: lists of plain
// values with commas, objects as JSON, whole numbers without an exponent. Below Claims
// everything prints as Go prints it.
type Token map[string]any

// TokenFor returns a token for the templates of s. header and claims are as encoding/json
// decodes them, and are not changed.
func (s *Headers) TokenFor(raw string, header, claims map[string]any, signature string) Token {
	t := make(Token, len(s.names)+4)
	for name, parent := range s.names {
		if parent {
			t[name] = absentObject(nil)
		} else {
			t[name] = absent("")
		}
	}
	if s.anyClaim {
		for name, claim := range claims {
			if claim != nil {
				t[name] = short(claim)
			}
		}
	} else {
		for name := range s.names {
			if claim := claims[name]; claim != nil {
				t[name] = short(claim)
			}
		}
	}
	t["Raw"], t["Header"], t["Claims"], t["Signature"] = raw, orEmpty(header), orEmpty(claims), signature
	return t
}

// orEmpty lets a template ask an object that is missing.
func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// short returns claim as its short form prints.
func short(claim any) any {
	switch v := claim.(type) {
	case float64:
		return shortNumber(v)
	case []any:
		list := make(shortList, len(v))
		for i, item := range v {
			list[i] = short(item)
		}
		return list
	case map[string]any:
		object := make(shortObject, len(v))
		for name, item := range v {
			object[name] = short(item)
		}
		return object
	}
	return claim
}

// unprintable is shown for a claim that is missing: no field can carry it, and so the
// header is not set.
const unprintable = "\x00"

// An absent stands for a claim that is missing: false in a condition, and not equal to
// any text but the empty one.
type absent string

func (absent) String() string { return unprintable }

// An absentObject stands for a missing claim whose members a template looks for: they are
// missing too.
type absentObject map[string]absentObject

func (absentObject) String() string { return unprintable }

func isAbsent(value any) bool {
	switch value.(type) {
	case absent, absentObject:
		return true
	}
	return false
}

// A shortNumber is a number of JSON.
type shortNumber float64

func (n shortNumber) String() string { return strconv.FormatFloat(float64(n), 'f', -1, 64) }

// A shortList is a list of JSON.
type shortList []any

// String joins plain values with commas; a list that holds others is shown as JSON.
func (l shortList) String() string {
	items := make([]string, len(l))
	for i, item := range l {
		switch item.(type) {
		case string, bool, shortNumber:
			items[i] = fmt.Sprint(item)
		default:
			return compact(l)
		}
	}
	return strings.Join(items, ",")
}

// A shortObject is an object of JSON.
type shortObject map[string]any

func (o shortObject) String() string { return compact(o) }

// compact returns value, which came from JSON, as JSON.
func compact(value any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil {
		return unprintable
	}
	return strings.TrimSuffix(b.String(), "\n")
}
