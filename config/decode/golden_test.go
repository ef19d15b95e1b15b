package decode

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"legate/config"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// dashes end the objects of a golden file and begin what is expected of them.
const dashes = "\n--------------------------------\n"

// environment is what $VARIABLES stand for in the golden files.
func environment(name string) (string, bool) {
	value, ok := map[string]string{"TARGET": "orders.shop", "PORT": "8080", "EMPTY": "", "dotted.name": "dotted"}[name]
	return value, ok
}

// What single documents become.
func TestGolden(t *testing.T) {
	golden(t, "testdata/*.txt", func(text []byte) string {
		return dump(Bytes(Options{Lookup: environment}, "in.yaml", text))
	})
}

// What documents become together.
func TestGoldenWorlds(t *testing.T) {
	golden(t, "testdata/worlds/*.txt", func(text []byte) string {
		return dumpWorld(config.Merge(config.Options{}, Bytes(Options{}, "in.yaml", text)))
	})
}

// golden holds what read makes of each file's objects to what the file expects.
func golden(t *testing.T, pattern string, read func(text []byte) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(content), dashes)
			got := read([]byte(input + "\n"))
			if *update {
				if err := os.WriteFile(file, []byte(input+dashes+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// dump renders what objects say: what each holds apart from zero values, and the
// problems below.
func dump(objects []*config.Object) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, "%s %s/%s at %d:%d", o.Meta.Kind, o.Meta.Namespace, o.Meta.Name, o.Meta.Line, o.Meta.Col)
		if o.IDs != nil && strings.Join(o.IDs, ",") != "default" {
			fmt.Fprintf(&b, " ids %v", o.IDs)
		}
		if len(o.Meta.Labels) > 0 {
			fmt.Fprintf(&b, " labels %v", o.Meta.Labels)
		}
		if o.Value == nil {
			b.WriteString(": not served\n")
		} else {
			fmt.Fprintf(&b, ": %s\n", strings.TrimPrefix(fmt.Sprintf("%T", o.Value), "*config."))
			dumpFields(&b, reflect.ValueOf(o.Value).Elem())
		}
		for _, p := range o.Problems {
			fmt.Fprintf(&b, "  ! %v\n", p)
		}
	}
	return b.String()
}

// dumpWorld renders the Hosts, Mappings and TLSContexts of w, and its Problems.
func dumpWorld(w config.World) string {
	var objects []*config.Object
	for i := range w.Hosts {
		objects = append(objects, &config.Object{Meta: w.Hosts[i].Meta, Value: &w.Hosts[i]})
	}
	for i := range w.Mappings {
		m := w.Mappings[i]
		o := &config.Object{Meta: m.Meta, Value: m}
		for _, field := range []string{"prefix", "hostname", "service"} {
			o.Problems = append(o.Problems, m.Problem(field, "is here", config.Notice))
		}
		objects = append(objects, o)
	}
	for i := range w.TLSContexts {
		c := &w.TLSContexts[i]
		o := &config.Object{Meta: c.Meta, Value: c}
		for _, field := range []string{"secret", "ca_secret", "cert_required", "sni"} {
			o.Problems = append(o.Problems, c.Problem(field, "is here", config.Notice))
		}
		objects = append(objects, o)
	}
	text := dump(objects)
	for _, p := range w.Problems {
		text += p.String() + "\n"
	}
	return text
}

func dumpFields(b *strings.Builder, v reflect.Value) {
	for i := range v.NumField() {
		name, field := v.Type().Field(i).Name, v.Field(i)
		if name == "Meta" || field.IsZero() {
			continue
		}
		var text []byte
		if data, ok := reflect.TypeAssert[map[string][]byte](field); ok {
			readable := map[string]string{}
			for k, d := range data {
				readable[k] = string(d)
			}
			text, _ = json.Marshal(readable)
		} else {
			text, _ = json.Marshal(field.Interface())
		}
		fmt.Fprintf(b, "    %s %s\n", name, text)
	}
}
