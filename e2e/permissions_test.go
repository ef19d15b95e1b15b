package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A permission is one rule of a role.
type permission struct {
	Groups    []string `yaml:"apiGroups"`
	Resources []string `yaml:"resources"`
	Names     []string `yaml:"resourceNames,omitempty"`
	Verbs     []string `yaml:"verbs"`
}

// permissions are the rules that k8s/base gives the gateway.
func permissions(t *testing.T) (rules []permission) {
	t.Helper()
	text, err := os.ReadFile("../k8s/base/rbac.yaml")
	must(t, err)
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var role struct{ Rules []permission }
		if err := d.Decode(&role); errors.Is(err, io.EOF) {
			return rules
		} else if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, role.Rules...)
	}
}

// lacking is what the log says where p is missing.
func (p *permission) lacking() string {
	var names []string
	for _, r := range p.Resources {
		name, _, _ := strings.Cut(r, "/")
		if p.Groups[0] != "" {
			name += "." + p.Groups[0]
		}
		names = append(names, regexp.QuoteMeta(name))
	}
	any := "(" + strings.Join(names, "|") + ")"
	switch {
	case p.Resources[0] == "leases":
		return `cannot find out who leads.*leases.*forbidden`
	case p.Resources[0] == "secrets" && len(p.Verbs) == 1:
		return `signing keys are in trouble.*secrets.*forbidden`
	case p.Resources[0] == "events":
		return `objects are not told.*"what":"events".*forbidden`
	case strings.HasSuffix(p.Resources[0], "/status"):
		return `objects are not told.*"kind":"` + any + `","what":"status".*forbidden`
	}
	return `the API server refuses.*"(list|watch) ` + any + `".*forbidden`
}

// The gateway may do what it has to and nothing else: without any one rule it says what it
// lacks, and without one that it needs to read everything it is not ready.
func TestPermissions(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	c.apply(everyone + mapping("broken", "/(b/", "up", "prefix_regex: true") + webIngress + frontService + strings.NewReplacer("getambassador.io/v3alpha1", "gateway.getambassador.io/v1alpha1").Replace(
		manifest("Filter", "later", `{type: jwt, jwt: {jwksURI: "http://127.0.0.1:9/"}}`)))
	c.apply(manifest("Filter", "mint", "{Mint: {signingKeys: {secretName: legate-signing-keys}}}"))
	c.do("", "patch", "service", "front", "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{"ingress":[{"hostname":"front.elb.amazonaws.com"}]}}}`)
	rules := permissions(t)
	if len(rules) < 10 {
		t.Fatalf("k8s/base/rbac.yaml has %d rules", len(rules))
	}
	for i := range rules {
		p := &rules[i]
		if p.Resources[0] == "tokenreviews" {
			continue // is only needed once somebody brings a token: TestServiceAccountTokens
		}
		t.Run(strings.Join(p.Verbs, " ")+" "+strings.ReplaceAll(p.Resources[0], "/", " "), func(t *testing.T) {
			fresh(c)
			if slices.Contains(p.Names, "legate-signing-keys") {
				c.do("", "create", "secret", "generic", "legate-signing-keys")
			}
			g := c.launchAs(t, fmt.Sprintf("without-%d", i), slices.Delete(slices.Clone(rules), i, i+1))
			g.errors.await(t, p.lacking())
			if status, _ := g.operator("/ambassador/v0/check_ready"); slices.Contains(p.Verbs, "list") && p.Resources[0] != "customresourcedefinitions" && status != 503 {
				t.Errorf("ready without having read all: %d", status)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		fresh(c)
		g := c.launchAs(t, "whole", rules)
		g.awaitReady()
		c.comesToSay("mapping/broken", "Accepted", "False Dropped")
		c.comesToSay("filters.gateway.getambassador.io/later", "Accepted", "True")
		c.do("", "get", "secret", "legate-signing-keys")
		for _, line := range g.errors.all() {
			if strings.Contains(line, "refuses") || strings.Contains(line, "not told") || strings.Contains(line, "who leads") || strings.Contains(line, "in trouble") {
				t.Errorf("with all permissions: %s", line)
			}
		}
	})
}

// fresh takes away what gateways before have written.
func fresh(c *kubernetes) {
	c.do("", "delete", "lease/legate", "secret/legate-signing-keys", "--ignore-not-found")
	for _, object := range []string{"mapping/broken", "filters.gateway.getambassador.io/later", "host/everyone", "ingress/web"} {
		c.do("", "patch", object, "--subresource=status", "--type=merge", "-p", `{"status":{"conditions":null,"loadBalancer":null}}`)
	}
}

// launchAs starts a gateway that may do what rules say.
func (c *kubernetes) launchAs(t *testing.T, name string, rules []permission) *gateway {
	t.Helper()
	text, err := yaml.Marshal(rules)
	must(t, err)
	kubeconfig := c.as(name, "\n"+string(text))
	return launch(t, setup{args: []string{"--kubernetes"}, env: []string{"KUBECONFIG=" + kubeconfig}})
}
