package decode

import (
	"strings"
	"testing"
)

// What comes from an API server is read as strictly as files are, and is known by name.
func TestResource(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a field that there is not", `{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"a","namespace":"shop"},"spec":{"prefix":"/","service":"a","prefex":1}}`,
			`Mapping/a.shop: prefex: there is no such field, did you mean "prefix"?; the field is ignored`},
		{"a field that is wrong", `{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"a","namespace":"shop"},"spec":{"prefix":"/","service":"a","weight":"much"}}`,
			`Mapping/a.shop: weight: must be an integer, got "much"; the object is dropped, the others serve`},
		{"a protector", `{"apiVersion":"getambassador.io/v3alpha1","kind":"FilterPolicy","metadata":{"name":"p","namespace":"shop"},"spec":{"rules":3}}`,
			`FilterPolicy/p.shop: rules: must be a list of objects, got "3"; every route that it could guard answers 503`},
		{"an annotation", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","annotations":{"getambassador.io/config":"---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nname: a\nprefix: /\n"}},"spec":{}}`,
			`Mapping/a.shop: service: is required (document 1, line 2 of the annotation of Service/web.shop); the object is dropped, the others serve`},
		{"an annotation that is no YAML", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"shop","annotations":{"getambassador.io/config":"a: [\n"}},"spec":{}}`,
			`Service/web.shop: metadata.annotations.getambassador.io/config: cannot be read as YAML: did not find expected node content (line 1); nothing in it is loaded`},
	} {
		var problems []string
		for _, o := range Resource(Options{}, []byte(test.text)) {
			if o.Meta.Parent.Kind == "" && len(o.Meta.Fields) > 0 {
				t.Errorf("%s: positions in a text that nobody wrote: %v", test.name, o.Meta.Fields)
			}
			for _, p := range o.Problems {
				problems = append(problems, p.String())
			}
		}
		if got := strings.Join(problems, "\n"); got != test.want {
			t.Errorf("%s: got  %s\nwant %s", test.name, got, test.want)
		}
	}
}

// Every kind is read in the version that says most, and Listeners have had no other.
func TestKinds(t *testing.T) {
	versions := map[string]string{}
	for _, k := range Kinds() {
		versions[k.Name+"."+k.Group] = strings.Join(k.Versions, " ")
		if k.Protector != (k.Name == "AuthService" || k.Name == "FilterPolicy") {
			t.Errorf("%s.%s: protector %v", k.Name, k.Group, k.Protector)
		}
	}
	for name, want := range map[string]string{
		"Mapping.getambassador.io":              "v3alpha1 v2 v1",
		"Host.getambassador.io":                 "v3alpha1 v2",
		"Listener.getambassador.io":             "v3alpha1",
		"Filter.getambassador.io":               "v3alpha1 v2 v1beta2 v1beta1",
		"FilterPolicy.gateway.getambassador.io": "v1alpha1",
		"DevPortal.getambassador.io":            "v3alpha1 v2 v1",
	} {
		if versions[name] != want {
			t.Errorf("%s: got %q, want %q", name, versions[name], want)
		}
	}
}
