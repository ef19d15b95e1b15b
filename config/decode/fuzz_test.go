package decode

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// FuzzDecode holds decoding to what every caller relies on: it ends, it says the
// same twice, and a problem always says what is wrong and where.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := bytes.Cut(text, []byte(dashes))
		for c := range chunks(input) {
			f.Add(c.text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		annotated(t, text)
		opts := Options{Lookup: environment}
		d := New(opts)
		objects := d.File("in.yaml", text)
		first := dump(objects)
		if again := dump(d.File("in.yaml", text)); again != first {
			t.Errorf("decoded from memory:\n%s\nand before:\n%s", again, first)
		}
		if again := dump(Bytes(opts, "in.yaml", text)); again != first {
			t.Errorf("decoded again:\n%s\nand before:\n%s", again, first)
		}
		for _, o := range objects {
			for _, p := range o.Problems {
				if p.Msg == "" || p.Ref.Line < 1 || p.Ref.File != "in.yaml" {
					t.Errorf("problem without message or position: %+v", p)
				}
			}
			if o.Value == nil && len(o.Problems) == 0 {
				t.Errorf("%v is not served and nothing says why", o.Meta.Ref())
			}
		}
	})
}

// annotated holds the two ways to write text into an annotation against each other:
// they say the same, and only where they say it differs.
func annotated(t *testing.T, text []byte) {
	t.Helper()
	const service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n    getambassador.io/config: "
	quoted, err := json.Marshal(string(text))
	if err != nil || !utf8.Valid(text) {
		return
	}
	literal := "|2-\n      " + strings.ReplaceAll(string(text), "\n", "\n      ")
	var q, l struct {
		Metadata struct{ Annotations map[string]string }
	}
	if yaml.Unmarshal([]byte(service+string(quoted)), &q) != nil || yaml.Unmarshal([]byte(service+literal), &l) != nil {
		return
	}
	if q.Metadata.Annotations[configAnnotation] != l.Metadata.Annotations[configAnnotation] {
		return // such as for trailing line ends
	}
	folded, lines := within(t, service+string(quoted)), within(t, service+literal)
	if folded != lines {
		t.Errorf("quoted:\n%s\nand literal:\n%s", folded, lines)
	}
}

var lineNumber = regexp.MustCompile(`on line \d+`)

// within decodes a Service and renders what its annotation says, without positions.
func within(t *testing.T, text string) string {
	t.Helper()
	objects := Bytes(Options{Lookup: environment}, "in.yaml", []byte(text))
	for _, o := range objects {
		o.Meta.Line, o.Meta.Col = 0, 0
		problems := make([]config.Problem, len(o.Problems))
		for j, p := range o.Problems {
			if p.Ref.Line < 6 || p.Ref.Line > strings.Count(text, "\n")+1 || p.Ref.Within == "" && p.Ref.Kind != "Service" {
				t.Errorf("problem at %+v of %d lines", p.Ref, strings.Count(text, "\n")+1)
			}
			p.Ref.Line, p.Ref.Col, p.Ref.Within = 0, 0, ""
			p.Msg = lineNumber.ReplaceAllString(p.Msg, "on line N")
			problems[j] = p
		}
		config.SortProblems(problems)
		o.Problems = problems
	}
	return dump(objects)
}
