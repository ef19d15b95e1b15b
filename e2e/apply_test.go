package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// everyKind is an API server with our CRDs, Istio's, and the namespaces that the manifests of
// k8s/ make, which let in restricted pods only.
func everyKind(t *testing.T) *kubernetes {
	t.Helper()
	c := newKubernetes(t)
	c.do("", "apply", "--server-side", "-k", "../crds")
	istio, err := exec.Command("go", "-C", "../test/tools/istio", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	must(t, err)
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(istio)), "manifests/charts/base/files/crd-all.gen.yaml"))
	must(t, err)
	c.do(string(text), "apply", "--server-side", "-f", "-")
	c.apply(looseCRD("monitoring.coreos.com", "ServiceMonitor", "{strategy: None}", "v1"))
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	c.do("", "create", "namespace", "istio-system")
	for _, layer := range []string{"base", "examples/zero-trust"} {
		for name, text := range objects(t, kustomized(t, layer)) {
			if strings.HasPrefix(name, "Namespace ") {
				c.apply(text)
			}
		}
	}
	return c
}

// A real API server takes every object of k8s/, with no field misspelt, and every pod under
// the strictest of the profiles.
func TestManifestsApply(t *testing.T) {
	t.Parallel()
	c := everyKind(t)
	for _, layer := range layers {
		manifests := string(shortened(t, kustomized(t, layer)))
		if out, err := c.kubectl(manifests, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
			t.Errorf("k8s/%s: %v\n%s", layer, err, out)
		}
		for _, pod := range podsOf(t, []byte(manifests)) {
			if out, err := c.kubectl(pod, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil || strings.Contains(out, "Warning") {
				t.Errorf("k8s/%s: %v\n%s\n%s", layer, err, out, pod)
			}
		}
	}
	lax := strings.Replace(podsOf(t, kustomized(t, "base"))[0], "runAsNonRoot: true", "runAsNonRoot: false", 1)
	if out, err := c.kubectl(lax, "apply", "--dry-run=server", "-f", "-"); err == nil || !strings.Contains(out, "runAsNonRoot") {
		t.Errorf("a lax pod is let in: %v\n%s", err, out)
	}
}

// In a cluster that has none of our kinds, an overlay with the CRDs is enough: applied once where it has
// no objects of them, and again where it has, as the API server takes objects of kinds that it serves only.
func TestOverlaysBringTheirKinds(t *testing.T) {
	t.Parallel()
	c := newKubernetes(t)
	c.do("", "apply", "-k", "../k8s/overlays/dev")
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")

	c = newKubernetes(t)
	if out, err := c.kubectl("", "apply", "-k", "../k8s/overlays/eks-nlb-fresh"); err == nil || !strings.Contains(out, `no matches for kind "Listener"`) || !strings.Contains(out, "deployment.apps/legate created") {
		t.Errorf("the first time: %v\n%s", err, out)
	}
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	c.do("", "apply", "-k", "../k8s/overlays/eks-nlb-fresh")
	if out := c.do("", "get", "listeners.getambassador.io", "-n", "ambassador", "-o", "name"); strings.Count(out, "\n") != 2 {
		t.Errorf("Listeners: %s", out)
	}
}

// podsOf returns a pod of each Deployment, as its controller would make it.
func podsOf(t *testing.T, manifests []byte) (pods []string) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
			Spec     struct{ Template struct{ Spec map[string]any } }
		}
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return pods
		}
		must(t, err)
		if o.Kind != "Deployment" {
			continue
		}
		spec, err := yaml.Marshal(o.Spec.Template.Spec)
		must(t, err)
		pods = append(pods, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec:\n  %s\n",
			o.Metadata.Name, o.Metadata.Namespace, strings.ReplaceAll(strings.TrimSpace(string(spec)), "\n", "\n  ")))
	}
}
