package decode

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

//go:generate go test -count=1 -run ^TestCRDs$ . -args -update

// The CRDs in crds/ are what the decoder expects: every field that it asks for, in the form
// that it takes, is in the schema. What they know is found out by reading everything that
// the other tests read.
func TestCRDs(t *testing.T) {
	trees := expectations(t)
	names := []string{}
	for _, k := range Kinds() {
		if !served(k) {
			continue
		}
		c := crdOf(k, trees[k.Name+"."+k.Group])
		name := c.name() + ".yaml"
		names = append(names, name)
		compareFile(t, filepath.Join("../../crds", name), c.render(t))
	}
	list := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- " + strings.Join(names, "\n- ") + "\n"
	compareFile(t, "../../crds/kustomization.yaml", []byte(list))
}

func served(k Kind) bool {
	if k.Group == gatewayGroup {
		return gatewayKinds[k.Name].decode != nil
	}
	return ambassadorKinds[k.Name].decode != nil
}

func compareFile(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what make generate makes: %v", path, err)
	}
}

// A tree is what is expected of a field, and of the fields of what it holds.
type tree struct {
	shapes []shape
	whole  bool // all fields are known
	fields map[string]*tree
}

func (n *tree) field(name string) *tree {
	if n.fields == nil {
		n.fields = map[string]*tree{}
	}
	if n.fields[name] == nil {
		n.fields[name] = &tree{}
	}
	return n.fields[name]
}

var index = regexp.MustCompile(`\[\d+\]`)

// expectations reads all that there is to read, and returns what was expected of it, by
// kind and group.
func expectations(t *testing.T) map[string]*tree {
	t.Helper()
	trees := map[string]*tree{}
	note := func(f *fields, name string, s shape) {
		if f.node == f.o.root || f.o.within != nil || !f.o.kind.ambassador || strings.HasPrefix(f.path, "metadata.") {
			return
		}
		key := f.o.Meta.Kind + "." + ambassadorGroup
		if f.o.kind.selected {
			key = f.o.Meta.Kind + "." + gatewayGroup
		}
		if trees[key] == nil {
			trees[key] = &tree{}
		}
		at := trees[key]
		for part := range strings.SplitSeq(strings.TrimSuffix(index.ReplaceAllString(f.path, ""), "."), ".") {
			if part != "" {
				at = at.field(part)
			}
		}
		switch {
		case s.form == finished:
			at.whole = true
		default:
			at = at.field(name)
			at.shapes = append(at.shapes, s)
		}
	}
	for _, text := range everything(t) {
		for c := range chunks(text) {
			r := reading{opts: Options{Namespace: "default"}, chunk: c, expects: note}
			r.objects()
		}
	}
	return trees
}

// everything is all manifests that the tests of this package read, and every field of the
// reference by itself.
func everything(t *testing.T) (texts [][]byte) {
	t.Helper()
	for _, pattern := range []string{"testdata/*.txt", "testdata/worlds/*.txt"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, _, _ := bytes.Cut(text, []byte(dashes))
			texts = append(texts, input)
		}
	}
	all := reference(t)
	for i := range all {
		texts = append(texts, all[i].manifest(t, all))
	}
	for kind := range ambassadorKinds {
		texts = append(texts, fmt.Appendf(nil, "{apiVersion: getambassador.io/v3alpha1, kind: %s, metadata: {name: ambassador}, spec: {config: {}}}", kind))
	}
	for kind := range gatewayKinds {
		texts = append(texts, fmt.Appendf(nil, "{apiVersion: gateway.getambassador.io/v1alpha1, kind: %s, metadata: {name: x}, spec: {}}", kind))
	}
	return texts
}

// A schema is a part of an OpenAPI schema.
type schema map[string]any

// keep is what every object of a schema says: nothing that somebody wrote is cut off. An
// API server that does would take a misspelt lock away before anybody can tell its author.
const keep = "x-kubernetes-preserve-unknown-fields"

// schema renders n. lists are taken as lists alone where strict.
func (n *tree) schema(strict bool) schema {
	forms := map[form]bool{}
	var values []string
	enum := true
	lo, hi := math.MaxInt, math.MinInt
	for _, s := range n.shapes {
		if s.form == anything {
			continue
		}
		forms[s.form] = true
		lo, hi = min(lo, s.lo), max(hi, s.hi)
		enum = enum && s.values != nil
		values = append(values, s.values...)
	}
	if len(forms) != 1 {
		return schema{keep: true}
	}
	switch {
	case forms[aText] && enum:
		slices.Sort(values)
		return schema{"type": "string", "enum": slices.Compact(values)}
	case forms[aText]:
		return schema{"type": "string"}
	case forms[anInteger]:
		s := schema{"type": "integer"}
		if lo > math.MinInt32 {
			s["minimum"] = lo
		}
		if hi < math.MaxInt32 {
			s["maximum"] = hi
		}
		return s
	case forms[aFlag]:
		return schema{"type": "boolean"}
	case forms[aSpan]:
		return schema{"x-kubernetes-int-or-string": true}
	case forms[manyTexts] && strict:
		return schema{"type": "array", "items": schema{"type": "string"}}
	case forms[manyObjects]:
		return schema{"type": "array", "items": n.object(strict)}
	case forms[anObject]:
		return n.object(strict)
	}
	return schema{keep: true}
}

// object renders an object. One whose fields have names that somebody made up has no
// properties.
func (n *tree) object(strict bool) schema {
	s := schema{"type": "object", keep: true}
	if !n.whole || len(n.fields) == 0 {
		return s
	}
	properties := schema{}
	for name, f := range n.fields {
		if len(f.shapes) == 0 { // nobody asked for it: it was written in another case
			continue
		}
		properties[name] = f.schema(strict)
	}
	s["properties"] = properties
	return s
}

// A rule is what an API server checks by itself, and a CRD says beside the forms.
type rule struct{ Rule, Message string }

// extras are what a kind's CRD says that its reader does not tell.
type extras struct {
	required []string
	rules    []rule
	columns  []column
	plural   string // where it is not the kind with an s
}

// A column is one of what kubectl get prints.
type column struct{ name, path string }

var crdExtras = map[string]extras{
	"Mapping": {
		required: []string{"prefix", "service"},
		columns:  []column{{"Hostname", ".spec.hostname"}, {"Prefix", ".spec.prefix"}, {"Service", ".spec.service"}},
	},
	"TCPMapping": {
		required: []string{"port", "service"},
		columns:  []column{{"Host", ".spec.host"}, {"Port", ".spec.port"}, {"Service", ".spec.service"}},
	},
	"Host": {
		rules:   []rule{{"!(has(self.tls) && has(self.tlsContext))", "tls and tlsContext exclude one another"}},
		columns: []column{{"Hostname", ".spec.hostname"}, {"Secret", ".spec.tlsSecret.name"}},
	},
	"Listener": {
		required: []string{"hostBinding", "port", "securityModel"},
		rules:    []rule{{"has(self.protocol) || has(self.protocolStack)", "protocol or protocolStack is required"}},
		columns:  []column{{"Port", ".spec.port"}, {"Protocol", ".spec.protocol"}, {"Stack", ".spec.protocolStack"}},
	},
	"Module":         {required: []string{"config"}},
	"ConsulResolver": {required: []string{"datacenter"}},
	"TracingService": {required: []string{"driver", "service"}, columns: []column{{"Driver", ".spec.driver"}, {"Service", ".spec.service"}}},
	"AuthService":    {columns: []column{{"Service", ".spec.auth_service"}}},
	"LogService":     {columns: []column{{"Service", ".spec.service"}}},
	"Filter": {
		rules: []rule{
			{"[has(self.JWT), has(self.OAuth2), has(self.External), has(self.APIKey), has(self.v3APIKey), has(self.Plugin), has(self.Mint)].filter(x, x).size() <= 1", "a Filter is of one kind"},
			{"!has(self.Mint) || !has(self.Mint.lifetime) || duration(self.Mint.lifetime) >= duration('5m') && duration(self.Mint.lifetime) <= duration('15m')", "lifetime must be from 5m to 15m"},
		},
	},
	"RateLimit": {columns: []column{{"Domain", ".spec.domain"}}},
	"Filter." + gatewayGroup: {
		required: []string{"type"},
		columns:  []column{{"Type", ".spec.type"}},
	},
	"FilterPolicy":                 {plural: "filterpolicies"},
	"FilterPolicy." + gatewayGroup: {plural: "filterpolicies"},
}

// A crd is one CustomResourceDefinition.
type crd struct {
	kind   Kind
	extras extras
	tree   *tree
}

func crdOf(k Kind, n *tree) crd {
	e, ok := crdExtras[k.Name+"."+k.Group]
	if !ok && k.Group == ambassadorGroup {
		e = crdExtras[k.Name]
	}
	if e.plural == "" {
		e.plural = strings.ToLower(k.Name) + "s"
	}
	return crd{kind: k, extras: e, tree: n}
}

func (c *crd) name() string { return c.extras.plural + "." + c.kind.Group }

// newest reports whether version is one whose objects a schema checks. What was written in
// older ones has many shapes, and is judged when it is read.
func newest(version string) bool { return version == "v3alpha1" || version == "v1alpha1" }

// conditions are how it stands with an object, as for other kinds of a cluster.
var conditions = schema{
	"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": []string{"type"},
	"items": schema{
		"type": "object", "required": []string{"lastTransitionTime", "message", "reason", "status", "type"},
		"properties": schema{
			"type":               schema{"type": "string", "maxLength": 316},
			"status":             schema{"type": "string", "enum": []string{"True", "False", "Unknown"}},
			"reason":             schema{"type": "string", "minLength": 1, "maxLength": 1024},
			"message":            schema{"type": "string", "maxLength": 32768},
			"lastTransitionTime": schema{"type": "string", "format": "date-time"},
			"observedGeneration": schema{"type": "integer", "format": "int64", "minimum": 0},
		},
	},
}

// spec renders what is below spec.
func (c *crd) spec(version string) schema {
	if !newest(version) || c.tree == nil {
		return schema{"type": "object", keep: true}
	}
	k, folded := gatewayKinds[c.kind.Name], c.kind.Group == gatewayGroup
	if !folded {
		k = ambassadorKinds[c.kind.Name]
	}
	loose := folded || k.protector || slices.Contains([]string{"Filter", "RateLimit"}, c.kind.Name)
	c.tree.whole = true // whatever else it holds, see keep
	if c.kind.Name == "Module" {
		c.tree.field("config").whole = false // untyped in Ambassador too, and each Module has its own
	}
	s := c.tree.object(!loose)
	if len(c.extras.required) > 0 {
		s["required"] = c.extras.required
	}
	var rules []schema
	for _, r := range c.extras.rules {
		rules = append(rules, schema{"rule": r.Rule, "message": r.Message})
	}
	if rules != nil {
		s["x-kubernetes-validations"] = rules
	}
	return s
}

func (c *crd) version(version string) schema {
	columns := []schema{}
	for _, column := range c.extras.columns {
		columns = append(columns, schema{"name": column.name, "type": "string", "jsonPath": column.path})
	}
	columns = append(columns,
		schema{"name": "Accepted", "type": "string", "jsonPath": `.status.conditions[?(@.type=="Accepted")].status`},
		schema{"name": "Reason", "type": "string", "priority": 1, "jsonPath": `.status.conditions[?(@.type=="Accepted")].reason`},
		schema{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
	)
	return schema{
		"name": version, "served": true, "storage": version == c.kind.Versions[0],
		"additionalPrinterColumns": columns,
		"subresources":             schema{"status": schema{}},
		"schema": schema{"openAPIV3Schema": schema{
			"type":        "object",
			"description": fmt.Sprintf("%s of Ambassador. docs/objects.md and docs/configuration.md say what its fields mean.", c.kind.Name),
			"properties": schema{
				"apiVersion": schema{"type": "string"},
				"kind":       schema{"type": "string"},
				"metadata":   schema{"type": "object"},
				"spec":       c.spec(version),
				"status":     schema{"type": "object", keep: true, "properties": schema{"conditions": conditions}},
			},
		}},
	}
}

// render renders c as YAML.
func (c *crd) render(t *testing.T) []byte {
	t.Helper()
	lower := strings.ToLower(c.kind.Name)
	var versions []schema
	for _, v := range c.kind.Versions {
		versions = append(versions, c.version(v))
	}
	var b bytes.Buffer
	b.WriteString("# Generated from what config/decode reads, by make generate.\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(schema{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": schema{"name": c.name(), "labels": schema{"app.kubernetes.io/name": "legate", "app.kubernetes.io/part-of": "legate"}},
		"spec": schema{
			"group": c.kind.Group, "scope": "Namespaced", "conversion": schema{"strategy": "None"},
			"names": schema{
				"kind": c.kind.Name, "listKind": c.kind.Name + "List", "plural": c.extras.plural, "singular": lower,
				"categories": []string{"ambassador-crds"},
			},
			"versions": versions,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
