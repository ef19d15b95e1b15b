package decode

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

//go:generate go test -count=1 -run ^TestObjectsDocument$ . -args -update

// A referenceField is one field of Ambassador's, with a value that means something.
type referenceField struct {
	kind, name string
	value      any
	differs    string // how it is served here, where that is not Ambassador's way
}

// reference reads testdata/reference.fields.
func reference(t *testing.T) (fields []referenceField) {
	t.Helper()
	text, err := os.ReadFile("testdata/reference.fields")
	if err != nil {
		t.Fatal(err)
	}
	kind := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			kind = strings.Trim(line, "[]")
		default:
			name, value, _ := strings.Cut(line, " = ")
			value, differs, _ := strings.Cut(value, " -- ")
			f := referenceField{kind: kind, name: name, differs: differs}
			if err := yaml.Unmarshal([]byte(value), &f.value); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			fields = append(fields, f)
		}
	}
	return fields
}

// bases are specs that are whole and have nothing wrong with them, by kind.
var bases = map[string]string{
	"Mapping":          `{hostname: "*", prefix: /p/, service: s}`,
	"Host":             `{hostname: a.example.com}`,
	"Listener":         `{port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}`,
	"TCPMapping":       `{port: 6379, service: s}`,
	"RateLimitService": `{service: "limits:80", protocol_version: v3}`,
	"RateLimit":        `{domain: d, limits: [{pattern: [{a: b}], rate: 1, unit: day}]}`,
	"ConsulResolver":   `{datacenter: dc1}`,
	"LogService":       `{service: s, driver: http, protocol_version: v3}`,
	"TracingService":   `{service: s, driver: zipkin}`,
}

// beside are fields without which a field means nothing, or with which it does not go.
var beside = map[string]string{
	"Module.grpc_stats.services":      `{grpc_stats: {upstream_stats: true}}`,
	"Mapping.prefix_regex":            `{prefix: "/p/[0-9]+"}`,
	"Mapping.host":                    `{hostname: null}`,
	"Mapping.host_regex":              `{hostname: null, host: "[a-z]+"}`,
	"Listener.protocolStack":          `{protocol: null}`,
	"Mapping.load_balancer.cookie":    `{load_balancer: {policy: ring_hash}}`,
	"Mapping.load_balancer.source_ip": `{load_balancer: {policy: ring_hash}}`,
	"Host.tls.private_key_file":       `{tls: {cert_chain_file: /tls/tls.crt}}`,
}

// said decodes an object of f's kind that has f, and returns what is said of f.
func (f *referenceField) said(t *testing.T, all []referenceField) []config.Problem {
	t.Helper()
	var problems []config.Problem
	for _, o := range Bytes(Options{}, "", f.manifest(t, all)) {
		problems = append(problems, o.Problems...)
	}
	return problems
}

// manifest is an object of f's kind that has f.
func (f *referenceField) manifest(t *testing.T, all []referenceField) []byte {
	t.Helper()
	spec := map[string]any{}
	for _, text := range []string{bases[f.kind], beside[f.kind+"."+f.name]} {
		if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
			t.Fatal(err)
		}
	}
	f.put(spec, all)
	name := "x"
	if f.kind == "Module" {
		name, spec = "ambassador", map[string]any{"config": spec}
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "getambassador.io/v3alpha1", "kind": f.kind, "metadata": map[string]any{"name": name}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// put writes f into a spec. What it is a part of has the value that the reference gives,
// where it gives one and nothing stands beside.
func (f *referenceField) put(spec map[string]any, all []referenceField) {
	parts := strings.Split(f.name, ".")
	path := ""
	for _, part := range parts[:len(parts)-1] {
		name := strings.TrimSuffix(part, "[]")
		path += name
		next, _ := spec[name].(map[string]any)
		if list, _ := spec[name].([]any); len(list) == 1 { // an item that is whole
			next, _ = list[0].(map[string]any)
		}
		if next == nil {
			i := slices.IndexFunc(all, func(g referenceField) bool { return g.kind == f.kind && g.name == path })
			if i >= 0 {
				next, _ = all[i].value.(map[string]any)
			}
			next = maps.Clone(next)
		}
		if next == nil {
			next = map[string]any{}
		}
		if name != part {
			spec[name] = []any{next}
		} else {
			spec[name] = next
		}
		spec, path = next, path+"."
	}
	spec[parts[len(parts)-1]] = f.value
}

// unserved are the tables of fields that are not decoded, by what they are parts of.
var unserved = map[string]map[string]fate{
	"Mapping": mappingUnserved, "Host": hostUnserved, "Host.acmeProvider": acmeUnserved, "Host.requestPolicy.insecure": insecureUnserved,
	"Host.mappingSelector": selectorUnserved, "Host.selector": selectorUnserved, "Listener": listenerUnserved,
	"Listener.internal_address_config": internalUnserved, "Module": moduleUnserved, "TCPMapping": tcpMappingUnserved,
}

// What becomes of a field, in the words of docs/objects.md.
const (
	isServed    = "served"
	isDifferent = "differently"
	isIgnored   = "ignored"
	isMissing   = "not yet"
	isRefused   = "refused"
	closes      = "**closes its routes**"
)

// verdict says what becomes of f, and how or why.
func (f *referenceField) verdict(t *testing.T, all []referenceField) (word, why string) {
	t.Helper()
	if k := ambassadorKinds[f.kind]; k.decode == nil {
		return isIgnored, ""
	}
	word, why = isServed, f.differs
	if why != "" {
		word = isDifferent
	}
	problems := f.said(t, all)
	if len(problems) == 0 {
		owner, name := f.kind, f.name
		if i := strings.LastIndexByte(f.name, '.'); i >= 0 {
			owner, name = f.kind+"."+f.name[:i], f.name[i+1:]
		}
		if fate, known := unserved[owner][name]; known && fate == quiet {
			return isIgnored, "changes nothing"
		}
		return word, why
	}
	worst := slices.MaxFunc(problems, func(a, b config.Problem) int { return cmp.Compare(a.Effect, b.Effect) })
	text := worst.Msg
	if worst.Instead != "" {
		text += "; " + worst.Instead
	}
	switch {
	case strings.HasPrefix(worst.Msg, "there is no such field"):
		t.Errorf("%s.%s: Ambassador has it, and the decoder does not know it: %s", f.kind, f.name, worst.Msg)
		return isRefused, text
	case worst.Effect == config.RouteClosed:
		return closes, text
	case worst.Effect == config.ObjectDropped:
		return isRefused, text + "; the object is dropped"
	case worst.Msg == string(notYet):
		return isMissing, ""
	case worst.Effect == config.Notice && worst.Instead != "nothing changes":
		return isDifferent, text
	}
	return isIgnored, text
}

// docs/objects.md says of every field what the decoder says of it.
func TestObjectsDocument(t *testing.T) {
	all := reference(t)
	var b strings.Builder
	b.WriteString(objectsHead)
	count := map[string]int{}
	var rows strings.Builder
	kind := ""
	for i := range all {
		f := &all[i]
		if f.kind != kind {
			kind = f.kind
			fmt.Fprintf(&rows, "\n## %s\n\n| Field | | How, or why |\n|---|---|---|\n", kind)
		}
		word, why := f.verdict(t, all)
		count[word]++
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", f.name, word, strings.ReplaceAll(why, "|", "\\|"))
	}
	fmt.Fprintf(&b, "Of %d fields %d are served, %d served differently, %d not yet, %d ignored, %d refused, and %d close what they protect.\n",
		len(all), count[isServed], count[isDifferent], count[isMissing], count[isIgnored], count[isRefused], count[closes])
	b.WriteString("\n## Kinds\n\n| Kind | |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(ambassadorKinds)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, kindState(ambassadorKinds[name]))
	}
	b.WriteString(rows.String())
	const path = "../../docs/objects.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the decoder says (%v): make generate", path, err)
	}
}

// kindState says in words what becomes of a kind's objects.
func kindState(k kind) string {
	switch {
	case k.decode == nil:
		return "ignored: " + k.why
	case k.protector:
		return "read in the versions " + strings.Join(k.versions, ", ") + "; where it cannot be enforced, what it protects answers 503"
	}
	return "read in the versions " + strings.Join(k.versions, ", ")
}

const objectsHead = `# Objects and their fields

What becomes of every field that Ambassador 1 to 3 has. This page is generated from what the decoder itself says of an object with that field: edit nothing here. How a field is written, and what is
added to Ambassador's, is in [configuration.md](configuration.md). *Served* fields do what Ambassador's do. *Not yet* served ones would change something, and ` + "`legate check`" + ` names them; the rest of
the object serves. *Ignored* ones change nothing. An object with a *refused* one does not serve.

`

// Every field that the decoder asks for at the top of a kind is Ambassador's, or one of
// those that are named here.
func TestDecoderAsksForKnownFields(t *testing.T) {
	ours := map[string][]string{
		"Mapping":          {"failure_breaker", "jwt", "v3StatsName", "v3health_checks"},
		"TCPMapping":       {"v3StatsName"},
		"RateLimitService": {"v3StatsName", "v3GRPC", "v2ExplicitTLS"},
		"TLSContext":       {"crl_file", "spiffe_ids", "v3CRLSecret"},
		"Filter":           filterKinds,
		"LogService":       {"v3StatsName", "v3ProtocolVersion"},
		"TracingService":   {"v3StatsName", "v3CustomTags"},
	}
	known := map[string]bool{}
	for _, f := range reference(t) {
		known[f.kind+"."+strings.TrimSuffix(strings.SplitN(f.name, ".", 2)[0], "[]")] = true
	}
	for name, k := range ambassadorKinds {
		if k.decode == nil || k.protector || name == "Module" {
			continue
		}
		o := &object{reading: &reading{opts: Options{Namespace: "default"}}, root: &yaml.Node{Kind: yaml.MappingNode}}
		o.Meta.Kind = name
		spec := o.open(o.root, "")
		k.decode(o, spec)
		for _, field := range spec.asked {
			if !known[name+"."+field] && !slices.Contains(ours[name], field) {
				t.Errorf("%s.%s is read, and is no field of Ambassador's", name, field)
			}
		}
	}
}
