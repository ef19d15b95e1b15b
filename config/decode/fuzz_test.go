package decode

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
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
