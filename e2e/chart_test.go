package e2e

import (
	"errors"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// charted is what the chart makes of values, and of which folders of k8s/ kustomize makes the same.
var charted = []struct {
	name       string
	layers     []string
	components []string
	values     []string
}{
	{"nothing else", []string{"base"}, nil, nil},
	{"ordered certificates", []string{"base"}, []string{"components/acme"}, []string{"tlsSecrets.namespaces={ambassador}"}},
	{"CRDs", []string{"base"}, []string{"components/crds"}, []string{"crds.enabled=true"}},
	{"Prometheus", []string{"base"}, []string{"components/prometheus"}, []string{"serviceMonitor.enabled=true"}},
	{"Redis", []string{"base"}, []string{"components/redis"}, []string{"redis.enabled=true"}},
	{"SPIRE", []string{"base"}, []string{"components/spiffe"}, []string{"spiffe.enabled=true"}},
	{"a sidecar that keeps certificates", []string{"base"}, []string{"components/istio-certs"}, []string{"istio.sidecar=certificates"}},
	{"a sidecar that speaks mTLS", []string{"base"}, []string{"istio/sidecar"}, []string{"istio.sidecar=mtls"}},
	{"rules of a mesh", []string{"base", "istio"}, nil, []string{"istio.rules=true"}},
	{"SPIRE and a sidecar", []string{ofMesh}, nil, []string{"spiffe.enabled=true", "istio.sidecar=certificates"}},
	{"EKS", []string{"overlays/eks-nlb"}, nil, []string{"eks-nlb.yaml"}},
	{"EKS without Ambassador", []string{"overlays/eks-nlb-fresh"}, nil, []string{"eks-nlb.yaml", "crds.enabled=true"}},
	{"beside Ambassador", []string{"overlays/beside"}, nil, []string{"beside.yaml"}},
	{"EKS with all there is", []string{everything}, nil, []string{"eks-nlb.yaml", "redis.enabled=true", "serviceMonitor.enabled=true", "tlsSecrets.namespaces={ambassador}"}},
	{"a laptop", []string{"overlays/dev"}, nil, []string{"dev.yaml"}},
}

// The chart makes of its defaults what the base makes, of its values what components add to that, and of its files of
// values what overlays make; but for the namespace, which is not the chart's.
func TestChartMakesTheSame(t *testing.T) {
	without := components(t)
	for _, row := range charted {
		t.Run(row.name, func(t *testing.T) {
			chartMakes(t, "ambassador", composed(t, row.layers, row.components), row.values...)
		})
		without = slices.DeleteFunc(without, func(c string) bool { return slices.Contains(row.components, c) })
	}
	for _, c := range without {
		t.Errorf("no value of the chart does what k8s/%s does", c)
	}
}

// Whatever the namespace is called, the objects are in it and tell of it.
func TestChartInAnotherNamespace(t *testing.T) {
	manifests := strings.NewReplacer("namespace: ambassador\n", "namespace: edge\n", "legate-admin.ambassador.svc", "legate-admin.edge.svc").
		Replace(string(composed(t, []string{everything, "istio"}, []string{"istio/sidecar"})))
	chartMakes(t, "edge", []byte(manifests), "eks-nlb.yaml", "redis.enabled=true", "serviceMonitor.enabled=true", "tlsSecrets.namespaces={edge}",
		"istio.rules=true", "istio.sidecar=mtls")
}

func chartMakes(t *testing.T, namespace string, manifests []byte, values ...string) {
	t.Helper()
	text := helm(t, append([]string{"template", "legate", "../k8s/chart", "--include-crds", "--namespace", namespace}, given(values)...)...)
	want, chart := objects(t, manifests), objects(t, []byte(text))
	delete(want, "Namespace ambassador")
	for name, want := range want {
		if got, made := chart[name]; !made {
			t.Errorf("%s: only kustomize makes it", name)
		} else if got != want {
			t.Errorf("%s: the chart makes\n%s\nkustomize\n%s", name, got, want)
		}
		delete(chart, name)
	}
	for name := range chart {
		t.Errorf("%s: only the chart makes it", name)
	}
}

// given are the flags that give values to helm: the chart's files of them, and single ones.
func given(values []string) (flags []string) {
	for _, v := range values {
		if strings.HasSuffix(v, ".yaml") {
			flags = append(flags, "-f", "../k8s/chart/"+v)
		} else {
			flags = append(flags, "--set", v)
		}
	}
	return flags
}

// helm runs helm and returns what it says, without what it remarks on the way.
func helm(t *testing.T, args ...string) string {
	t.Helper()
	text, err := exec.Command(outside(t, "helm"), args...).Output()
	if failed, is := errors.AsType[*exec.ExitError](err); is {
		t.Fatalf("helm %s: %v\n%s", args[0], err, failed.Stderr)
	}
	must(t, err)
	return string(text)
}

// Annotations of one's own stand beside those for a sidecar, and before them.
func TestChartKeepsAnnotations(t *testing.T) {
	text := helm(t, "template", "legate", "../k8s/chart", "--set-string", "istio.sidecar=certificates,podAnnotations.team=edge,podAnnotations.traffic\\.sidecar\\.istio\\.io/includeInboundPorts=9000")
	var pod struct {
		Spec struct {
			Template struct {
				Metadata struct{ Annotations map[string]string }
			}
		}
	}
	must(t, yaml.Unmarshal([]byte(objects(t, []byte(text))["Deployment legate"]), &pod))
	got := pod.Spec.Template.Metadata.Annotations
	if got["team"] != "edge" || got["traffic.sidecar.istio.io/includeInboundPorts"] != "9000" || !strings.Contains(got["proxy.istio.io/config"], "OUTPUT_CERTS") {
		t.Errorf("annotations %q", got)
	}
}

// A value that means nothing is not taken for none.
func TestChartRefuses(t *testing.T) {
	for _, row := range []struct{ value, says string }{
		{"istio.sidecar=certs", "'/istio/sidecar': value must be one of '', 'certificates', 'mtls'"},
		{"istio.sidecars=mtls", "'/istio': additional properties 'sidecars' not allowed"},
		{"spiffe.enable=true", "'/spiffe': additional properties 'enable' not allowed"},
		{"crds.enabled=yes", "'/crds/enabled': got string, want boolean"},
		{"tlsSecrets.namespaces=ambassador", "'/tlsSecrets/namespaces': got string, want array"},
	} {
		out, err := exec.Command(outside(t, "helm"), "template", "legate", "../k8s/chart", "--set", row.value).CombinedOutput()
		if err == nil || !strings.Contains(string(out), row.says) {
			t.Errorf("%s: %v\n%s", row.value, err, out)
		}
	}
}

// One `helm install` is enough for a cluster that never had Ambassador. A CRD that is there already stays as it is, and
// none goes with the chart, as every object of its kind would go with it.
func TestChartInstalls(t *testing.T) {
	t.Parallel()
	c := newKubernetes(t)
	c.install(looseCRD("getambassador.io", "Mapping", "{strategy: None}", "v3alpha1"))
	c.do("", "create", "namespace", "ambassador")
	version := func() string { return c.do("", "get", "crd", "mappings.getambassador.io", "-o", "jsonpath={.spec}") }
	before := version()

	in := []string{"--kubeconfig", c.kubeconfig, "--namespace", "ambassador"}
	notes := helm(t, slices.Concat([]string{"install", "legate", "../k8s/chart"}, in, given([]string{"eks-nlb.yaml", "crds.enabled=true", "istio.sidecar=certificates"}))...)
	if out := c.do("", "get", "listeners.getambassador.io", "-n", "ambassador", "-o", "name"); strings.Count(out, "\n") != 2 {
		t.Errorf("Listeners: %s", out)
	}
	labelled(t, c, notes)

	c.apply(mapping("orders", "/orders/", "orders.shop"))
	helm(t, append([]string{"uninstall", "legate"}, in...)...)
	if out := c.do("", "get", "listeners.getambassador.io,mappings.getambassador.io", "--all-namespaces", "-o", "name"); out != "mapping.getambassador.io/orders\n" {
		t.Errorf("left behind: %s", out)
	}
	if after := version(); after != before {
		t.Errorf("the CRD that was there says\n%s\nand said\n%s", after, before)
	}
}

// labelled does what the notes tell, and sees the namespace have the labels that overlays and components give it.
func labelled(t *testing.T, c *kubernetes, notes string) {
	t.Helper()
	_, command, told := strings.Cut(notes, "kubectl ")
	if !told {
		t.Fatalf("the notes name no command:\n%s", notes)
	}
	c.do("", strings.Fields(strings.ReplaceAll(command, "\\\n", " "))...)
	labels := func(text string) map[string]string {
		var ns struct {
			Metadata struct{ Labels map[string]string }
		}
		must(t, yaml.Unmarshal([]byte(text), &ns))
		delete(ns.Metadata.Labels, "kubernetes.io/metadata.name")
		return ns.Metadata.Labels
	}
	got := labels(c.do("", "get", "namespace", "ambassador", "-o", "yaml"))
	want := labels(objects(t, composed(t, []string{"overlays/eks-nlb"}, []string{"components/istio-certs"}))["Namespace ambassador"])
	for _, common := range []string{"app.kubernetes.io/name", "app.kubernetes.io/part-of"} {
		delete(want, common)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the namespace has %q, and is to have %q", got, want)
	}
}
