package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// crds are where make generate leaves them.
const crds = "../crds"

// The API server takes our CRDs for what they are, refuses what cannot be meant, and keeps
// whatever else somebody wrote.
func TestCustomResources(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	if out := c.do("", "get", "crd", "-o", "jsonpath={range .items[*]}{.metadata.name}{range .status.conditions[?(@.type=='NonStructuralSchema')]} {.message}{end}{end}"); strings.Contains(out, " ") {
		t.Errorf("a schema is not structural: %s", out)
	}
	t.Run("objects", func(t *testing.T) { resourceCases(t, c) })
	t.Run("example", func(t *testing.T) {
		for _, namespace := range []string{"ambassador", "shop", "api-namespace", "frontend-namespace", "database-namespace"} {
			c.do("", "create", "namespace", namespace)
		}
		example, err := os.ReadFile("../config.example.yaml")
		must(t, err)
		for document := range strings.SplitSeq("\n"+string(example), "\n---") {
			if strings.Contains(document, "apiVersion: security.istio.io/") || !strings.Contains(document, "apiVersion:") {
				continue // the kinds of Istio are not installed
			}
			if out, err := c.kubectl(document, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil {
				t.Errorf("%v: %s\n%s", err, out, document)
			}
		}
	})
	t.Run("stored", func(t *testing.T) {
		c.apply(strings.Replace(manifest("Mapping", "kept", `{prefix: /, service: s, host: a, ambassador_id: edge, later: {x: 1}}`), "v3alpha1", "v2", 1))
		for version, want := range map[string]string{"v2": "getambassador.io/v2 a edge 1", "v3alpha1": "getambassador.io/v3alpha1 a edge 1"} {
			if got := c.do("", "get", "mappings."+version+".getambassador.io", "kept", "-o", "jsonpath={.apiVersion} {.spec.host} {.spec.ambassador_id} {.spec.later.x}"); got != want {
				t.Errorf("read as %s: %q, want %q", version, got, want)
			}
		}
		columns := c.do("", "get", "mapping", "kept")
		if !regexp.MustCompile(`NAME +HOSTNAME +PREFIX +SERVICE +ACCEPTED +AGE`).MatchString(columns) {
			t.Errorf("columns: %s", columns)
		}
	})
}

func resourceCases(t *testing.T, c *kubernetes) {
	t.Helper()
	for _, test := range []struct{ name, kind, spec, refused string }{
		{"a Mapping", "Mapping", `{hostname: "*", prefix: /, service: s, timeout_ms: 3000}`, ""},
		{"a number as text", "Mapping", `{prefix: /, service: s, timeout_ms: "3000"}`, "spec.timeout_ms: Invalid value"},
		{"no service", "Mapping", `{prefix: /}`, "spec.service: Required value"},
		{"one id instead of a list", "Mapping", `{prefix: /, service: s, ambassador_id: edge}`, "spec.ambassador_id: Invalid value"},
		{"a misspelt field is kept, to be told of", "Mapping", `{prefix: /, service: s, jtw: {requireToken: true}}`, ""},
		{"our own fields", "Mapping", `{prefix: /, service: s, jwt: {requireToken: true, jwksURI: "https://id/", audience: [a]}}`, ""},
		{"labels have names of their author's", "Mapping", `{prefix: /, service: s, labels: {ambassador: [{group: [remote_address]}]}}`, ""},
		{"headers that are added", "Mapping", `{prefix: /, service: s, add_request_headers: {x-a: b, x-c: {value: d, append: false}}}`, ""},
		{"a Listener without protocol", "Listener", `{port: 8080, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}`, "protocol or protocolStack is required"},
		{"a port that is none", "Listener", `{port: 70000, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}`, "spec.port: Invalid value"},
		{"a binding to nobody", "Listener", `{port: 80, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: NONE}}}`, "spec.hostBinding.namespace.from: Unsupported value"},
		{"tls twice", "Host", `{hostname: a, tls: {}, tlsContext: {name: c}}`, "tls and tlsContext exclude one another"},
		{"an action that there is not", "Host", `{hostname: a, requestPolicy: {insecure: {action: redirect}}}`, "spec.requestPolicy.insecure.action: Unsupported value"},
		{"a Filter of two kinds", "Filter", `{JWT: {jwksURI: "https://id/"}, OAuth2: {}}`, "a Filter is of one kind"},
		{"a Filter in other letters", "Filter", `{JWT: {jwksuri: "https://id/", Audience: a}}`, ""},
		{"an audience, and several", "Filter", `{JWT: {jwksURI: "https://id/", audience: a}}`, ""},
		{"tokens that live too long", "Filter", `{Mint: {lifetime: 1h}}`, "lifetime must be from 5m to 15m"},
		{"tokens that live", "Filter", `{Mint: {lifetime: 5m}}`, ""},
		{"a rule without Filters", "FilterPolicy", `{rules: [{host: "*", path: /, filters: null}]}`, ""},
		{"rules that are none", "FilterPolicy", `{rules: 3}`, "spec.rules: Invalid value"},
		{"a Module has settings of any kind", "Module", `{config: {merge_slashes: "y", anything: [1]}}`, ""},
		{"a Module without", "Module", `{}`, "spec.config: Required value"},
		{"a limit", "RateLimit", `{domain: d, limits: [{pattern: [{a: b}, {c: "*"}], rate: 1, unit: day}]}`, ""},
		{"a limit of text", "RateLimit", `{domain: d, limits: [{pattern: [], rate: many, unit: day}]}`, "spec.limits[0].rate: Invalid value"},
	} {
		out, err := c.kubectl(manifest(test.kind, "x", test.spec), "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		switch {
		case test.refused == "" && err != nil:
			t.Errorf("%s: refused: %s", test.name, out)
		case test.refused != "" && !strings.Contains(out, test.refused):
			t.Errorf("%s: got %q, want %q", test.name, out, test.refused)
		}
	}
}
