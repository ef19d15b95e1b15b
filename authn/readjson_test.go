package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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

func TestReadObject(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}" }
	for text, want := range map[string]error{
		`{}`: nil, ` { "a" : [ 1 , {"a":2} ] , "b" : {"a":3} } `: nil, `{"a":"\"a\":","b":1}`: nil, `{"a":[{"a":1},{"a":1}]}`: nil,
		`{"A":1,"a":1}`: nil, `{"a":{},"b":[],"c":-1.5e3,"d":null,"e":true,"f":false}`: nil, "{\"\xff\":\"\xff\", \"Zo\u00eb\": \"\u00eb\"}": nil,
		`[]`: errNotObject, `1`: errNotObject, `"a"`: errNotObject, `null`: errNotObject,
		`{"a":1,"a":1}`: errTwice, `{"a":{"b":1,"b":2}}`: errTwice, `[[{"a":1,"a":2}]]`: errTwice, `{"a":1,"\u0061":2}`: errTwice, `{"":1,"":2}`: errTwice,
		"{\"\xff\":1,\"\xfe\":2}": errTwice, // U+FFFD both
		many(100, "last"):         nil, many(100, "name0"): errTwice, many(100, "name99"): errTwice, many(fewMembers, "name3"): errTwice,
		``: errNotJSON, `{`: errNotJSON, `{"a":1}{}`: errNotJSON, `{"a" 1}`: errNotJSON, `{"a":1,}`: errNotJSON, `{,}`: errNotJSON, `{"a":[1,]}`: errNotJSON,
		`{"a":01}`: errNotJSON, `{"a":+1}`: errNotJSON, `{"a":1.}`: errNotJSON, `{"a":.5}`: errNotJSON, `{"a":1e}`: errNotJSON, `{"a":-}`: errNotJSON, `{"a":nul}`: errNotJSON,
		`{"a":truer}`: errNotJSON, `{"a":"\x"}`: errNotJSON, "{\"a\":\"\n\"}": errNotJSON, `{"a":"`: errNotJSON, `{"a":"\`: errNotJSON, "{}\x00": errNotJSON, "{\x00": errNotJSON,
		`{"a":1e999}`: errRange, `{"a":1e-999}`: nil,
		deep(maxNesting): nil, deep(maxNesting + 1): errNested,
		strings.Repeat(`{"a":`, maxNesting+1) + "1" + strings.Repeat("}", maxNesting+1): errNested,
	} {
		if _, got := readObject([]byte(text)); !errors.Is(got, want) {
			t.Errorf("%.60q: got %v, want %v", text, got, want)
		}
	}
}

// readObject agrees with the standard library about what is JSON, and what it says.
func FuzzReadObject(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `{"a":"\"}","a":[]}`, `[{"a":1},{"a":1}]`, `{"\u0061":1,"a":2}`, ` {"a" : 1 , "b":[{},{"c":"x"}]} `, `1`, `"\\"`,
		anyClaims, `{"a":-0,"b":1.5e-7,"c":"\ud83d\ude00\ud83d"}`, "{\"a\":\"\xff\u00eb\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readObject([]byte(text))
		if errors.Is(err, errNested) {
			return
		}
		var want map[string]any
		switch failed := json.Unmarshal([]byte(text), &want); {
		case failed != nil || want == nil || namesTwice([]byte(text)):
			if err == nil {
				t.Errorf("%q is read as %v; the library says %v", text, got, failed)
			}
		case err != nil:
			t.Errorf("%q: got %v, want %v", text, err, want)
		case !reflect.DeepEqual(got, want):
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	})
}

// namesTwice reports whether in an object of text, which is JSON, a name stands twice.
func namesTwice(text []byte) bool {
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
			return false
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
				return true
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
