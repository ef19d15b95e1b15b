package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// many is an object of n names, the last one being last.
func many(n int, last string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%q:%d,", fmt.Sprint("name", i), i)
	}
	return "{" + b.String() + fmt.Sprintf("%q:1}", last)
}

func TestUniqueNames(t *testing.T) {
	for text, want := range map[string]error{
		`{}`: nil, `[]`: nil, `1`: nil, `"a"`: nil, ` { "a" : [ 1 , {"a":2} ] , "b" : {"a":3} } `: nil,
		`{"a":"\"a\":","b":1}`: nil, `[{"a":1},{"a":1}]`: nil, `{"A":1,"a":1}`: nil, `{"a":{},"b":[],"c":-1.5e3,"d":null}`: nil,
		`{"a":1,"a":1}`: errTwice, `{"a":{"b":1,"b":2}}`: errTwice, `[[{"a":1,"a":2}]]`: errTwice, `{"a":1,"\u0061":2}`: errTwice, `{"":1,"":2}`: errTwice,
		many(100, "last"): nil, many(100, "name0"): errTwice, many(100, "name99"): errTwice, many(fewNames, "name3"): errTwice,
		``: errNotJSON, `{`: errNotJSON, `{"a":1}{}`: errNotJSON, `{"a" 1}`: errNotJSON,
		strings.Repeat("[", maxNesting) + strings.Repeat("]", maxNesting):               nil,
		strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1):           errNested,
		strings.Repeat(`{"a":`, maxNesting+1) + "1" + strings.Repeat("}", maxNesting+1): errNested,
	} {
		if got := uniqueNames([]byte(text)); !errors.Is(got, want) {
			t.Errorf("%.60s: got %v, want %v", text, got, want)
		}
	}
}

// uniqueNames agrees with the standard library's reading of JSON, token by token.
func FuzzUniqueNames(f *testing.F) {
	for _, s := range []string{`{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":"\"}","a":[]}`, `[{"a":1},{"a":1}]`, `{"\u0061":1,"a":2}`, ` {"a" : 1 , "b":[{},{"c":"x"}]} `, `1`, `"\\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := uniqueNames([]byte(text))
		want := slowUniqueNames([]byte(text))
		if !errors.Is(got, want) && !errors.Is(got, errNested) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	})
}

func slowUniqueNames(text []byte) error {
	if !json.Valid(text) {
		return errNotJSON
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	type level struct {
		names map[string]bool // nil for a list
		value bool            // a value comes next, not a name
	}
	var open []level
	for {
		token, err := d.Token()
		if err != nil {
			return nil
		}
		delim, _ := token.(json.Delim)
		top := len(open) - 1
		switch {
		case delim == '}' || delim == ']':
			open = open[:top]
			continue
		case top < 0 || open[top].names == nil:
		case open[top].value:
			open[top].value = false
		default:
			name, _ := token.(string)
			if open[top].names[name] {
				return errTwice
			}
			open[top].names[name], open[top].value = true, true
			continue
		}
		if delim == '{' {
			open = append(open, level{names: map[string]bool{}})
		} else if delim == '[' {
			open = append(open, level{})
		}
	}
}
