package e2e

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// A permission is one rule of a role.
type permission struct {
	Groups    []string `yaml:"apiGroups"`
	Resources []string `yaml:"resources"`
	Names     []string `yaml:"resourceNames,omitempty"`
	Verbs     []string `yaml:"verbs"`
}

// permissions are the rules that a file of k8s/ gives the gateway.
func permissions(t *testing.T, file string) (rules []permission) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../k8s", file))
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

// lacking is what the log says where p is missing: of each of its resources, that they are.
func (p *permission) lacking() (all []string) {
	for _, r := range p.Resources {
		name, _, _ := strings.Cut(r, "/")
		if p.Groups[0] != "" {
			name += "." + p.Groups[0]
		}
		name = regexp.QuoteMeta(name)
		switch {
		case r == "leases":
			all = append(all, `cannot find out who leads.*leases.*forbidden`)
		case r == "secrets" && len(p.Verbs) == 1:
			all = append(all, `signing keys are in trouble.*secrets.*forbidden`)
		case r == "events":
			all = append(all, `objects are not told.*"what":"events".*forbidden`)
		case strings.HasSuffix(r, "/status"):
			all = append(all, `objects are not told.*"kind":"`+name+`","what":"status".*forbidden`)
		default:
			all = append(all, `the API server refuses.*"(list|watch) `+name+`".*forbidden`)
		}
	}
	return all
}

// oneOfEach is an object of each kind that is told what becomes of it, and an Ingress.
func oneOfEach(t *testing.T) string {
	t.Helper()
	ports := freePorts(t, 2)
	objects := everyone + webIngress + mapping("broken", "/(b/", "up", "prefix_regex: true") + listener("extra", "HTTP", ports[0]) +
		manifest("Filter", "mint", "{Mint: {signingKeys: {secretName: legate-signing-keys}}}")
	for kind, spec := range map[string]string{
		"AuthService": "{auth_service: up}", "ConsulResolver": "{address: 127.0.0.1:9, datacenter: dc1}", "DevPortal": "{}",
		"FilterPolicy": "{rules: []}", "KubernetesEndpointResolver": "{}", "KubernetesServiceResolver": "{}",
		"LogService": "{service: up, driver: http, grpc: true}", "Module": "{config: {}}", "RateLimit": "{domain: ambassador, limits: []}",
		"RateLimitService": "{service: up}", "TCPMapping": fmt.Sprintf("{port: %d, service: up}", ports[1]), "TLSContext": "{hosts: [nobody.test]}",
		"TracingService": "{service: up, driver: zipkin}",
	} {
		objects += manifest(kind, "one", spec)
	}
	return objects + strings.ReplaceAll(manifest("Filter", "later", `{type: jwt, jwt: {jwksURI: "http://127.0.0.1:9/"}}`)+
		manifest("FilterPolicy", "later", "{rules: []}")+manifest("WebApplicationFirewall", "later", "{}")+manifest("WebApplicationFirewallPolicy", "later", "{}"), "getambassador.io/v3alpha1", "gateway.getambassador.io/v1alpha1")
}

// The gateway may do what it has to and nothing else: without any one rule it says what it
// lacks, and without one that it needs to read everything it is not ready.
func TestPermissions(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	c.install(looseCRD("getambassador.io", "DevPortal", "{strategy: None}", "v3alpha1") + // those that others bring
		looseCRD("gateway.getambassador.io", "WebApplicationFirewall", "{strategy: None}", "v1alpha1") +
		looseCRD("gateway.getambassador.io", "WebApplicationFirewallPolicy", "{strategy: None}", "v1alpha1"))
	objects := oneOfEach(t)
	c.apply(objects + frontService)
	c.do("", "patch", "service", "front", "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{"ingress":[{"hostname":"front.elb.amazonaws.com"}]}}}`)
	rules := permissions(t, "base/rbac.yaml")
	if len(rules) < 10 {
		t.Fatalf("k8s/base/rbac.yaml has %d rules", len(rules))
	}
	for i := range rules {
		p := &rules[i]
		if p.Resources[0] == "tokenreviews" {
			continue // is only needed once somebody brings a token: TestServiceAccountTokens
		}
		t.Run(strings.Join(p.Verbs, " ")+" "+strings.ReplaceAll(p.Resources[0], "/", " "), func(t *testing.T) {
			fresh(c, objects)
			if slices.Contains(p.Names, "legate-signing-keys") {
				c.do("", "create", "secret", "generic", "legate-signing-keys")
			}
			g := c.launchAs(t, fmt.Sprintf("without-%d", i), slices.Delete(slices.Clone(rules), i, i+1))
			for _, said := range p.lacking() {
				g.errors.await(t, said)
			}
			if status, _ := g.operator("/ambassador/v0/check_ready"); slices.Contains(p.Verbs, "list") && p.Resources[0] != "customresourcedefinitions" && status != 503 {
				t.Errorf("ready without having read all: %d", status)
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		fresh(c, objects)
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
func fresh(c *kubernetes, objects string) {
	c.do("", "delete", "lease/legate", "secret/legate-signing-keys", "--ignore-not-found")
	c.do(objects, "replace", "--force", "-f", "-")
}

// launchAs starts a gateway that may do what rules say.
func (c *kubernetes) launchAs(t *testing.T, name string, rules []permission) *gateway {
	t.Helper()
	text, err := yaml.Marshal(rules)
	must(t, err)
	kubeconfig := c.as(name, "\n"+string(text))
	return launch(t, setup{args: []string{"--kubernetes"}, env: []string{"KUBECONFIG=" + kubeconfig}})
}

// What is ordered is written into Secrets of the namespaces where the component acme is bound,
// and there by what it gives and nothing less.
func TestPermissionsForOrderedCertificates(t *testing.T) {
	c := newKubernetes(t)
	c.do("", "apply", "-k", crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	ports := freePorts(t, 2)
	p := startPebble(t, ports[0], ports[1], "LIFE=300")
	c.do("", "create", "namespace", "shop")
	c.apply(listener("http", "HTTP", ports[0]) + listener("https", "HTTPS", ports[1]))
	c.do(p.host("shop", "shop.example.com", "  tlsSecret: {name: shop-cert}\n"), "apply", "-n", "shop", "-f", "-")
	base := slices.DeleteFunc(permissions(t, "base/rbac.yaml"), func(p permission) bool { // that is for its own namespace
		return p.Resources[0] == "secrets" && slices.Equal(p.Verbs, []string{"create"})
	})
	given := permissions(t, "components/acme/rbac.yaml")
	if len(given) != 1 || !slices.Equal(given[0].Verbs, []string{"create", "update"}) {
		t.Fatalf("the component gives %+v", given)
	}
	storage := t.TempDir()
	launched := func(name string, verbs ...string) *gateway {
		text, err := yaml.Marshal(base)
		must(t, err)
		s := p.setup(ports[0], ports[1], storage, "")
		s.manifests, s.args, s.env = "", append(s.args, "--kubernetes"), append(s.env, "KUBECONFIG="+c.as(name, "\n"+string(text)))
		c.bind("shop", name, permission{given[0].Groups, given[0].Resources, given[0].Names, verbs})
		return startAt(t, s, ports[0], ports[1])
	}
	has := func(leaf *x509.Certificate) func() bool {
		return func() bool { return c.secretHas("shop", "shop-cert", leaf) }
	}
	end := func(g *gateway) {
		g.signal(syscall.SIGTERM)
		g.exit(t)
	}

	g := launched("without-create", "update")
	leaf := p.await(t, g, "shop.example.com", nil)
	g.errors.await(t, `certificate not written into its Secret; it serves all the same.*cannot create`)
	end(g)
	g = launched("without-update", "create")
	first := leaf
	eventually(t, patience(30*time.Second), "the Secret has the certificate", has(first))
	p.get(t, "/control/revoke?serial="+url.QueryEscape(first.SerialNumber.Text(16)))
	g.signal(syscall.SIGHUP)
	leaf = p.await(t, g, "shop.example.com", leaf)
	g.errors.await(t, `certificate not written into its Secret; it serves all the same.*cannot update`)
	end(g)
	if !has(first)() {
		t.Error("the Secret has changed")
	}
	launched("whole", given[0].Verbs...)
	eventually(t, patience(30*time.Second), "the Secret has the next certificate", has(leaf))
}

// bind gives an account a permission in one namespace.
func (c *kubernetes) bind(namespace, account string, p permission) {
	c.t.Helper()
	text, err := yaml.Marshal([]permission{p})
	must(c.t, err)
	c.apply(fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[2]s, namespace: %[1]s}
rules:
%[3]s---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[2]s, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[2]s}
subjects: [{kind: ServiceAccount, name: %[2]s, namespace: default}]
`, namespace, account, text))
}
