package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// layers are the folders of k8s/ that somebody applies, and one that uses what is optional.
var layers = []string{"base", "overlays/eks-nlb", "overlays/eks-nlb-fresh", "overlays/beside", "overlays/dev", "istio", "examples/zero-trust", everything, ofMesh}

const (
	everything = "../e2e/testdata/k8s/everything"
	ofMesh     = "../e2e/testdata/k8s/meshed"
)

// kustomized is what is applied of a folder of k8s/.
func kustomized(t *testing.T, layer string) []byte {
	t.Helper()
	text, err := exec.Command(outside(t, "kubectl"), "kustomize", filepath.Join("../k8s", layer)).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize k8s/%s: %v\n%s", layer, err, text)
	}
	return text
}

// What is applied is looked at whole before it changes.
func TestKustomize(t *testing.T) {
	for _, layer := range layers {
		t.Run(layer, func(t *testing.T) {
			got := shortened(t, kustomized(t, layer))
			file := filepath.Join("testdata", "k8s", strings.ReplaceAll(strings.TrimPrefix(layer, "../e2e/testdata/k8s/"), "/", "-")+".yaml")
			if *update {
				must(t, os.MkdirAll(filepath.Dir(file), 0o755))
				must(t, os.WriteFile(file, got, 0o644))
			}
			want, err := os.ReadFile(file)
			must(t, err)
			if !bytes.Equal(got, want) {
				t.Errorf("k8s/%s makes other objects than %s has (-update accepts them):\n%s", layer, file, got)
			}
		})
	}
}

// shortened leaves of CRDs their names: crds/ has them, and they change with what is read.
func shortened(t *testing.T, manifests []byte) []byte {
	t.Helper()
	var out []string
	for document := range strings.SplitSeq(string(manifests), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		must(t, yaml.Unmarshal([]byte(document), &o))
		if o.Kind == "CustomResourceDefinition" {
			document = "# " + o.Kind + " " + o.Metadata.Name
		}
		out = append(out, document)
	}
	return []byte(strings.Join(out, "\n---\n"))
}

// Beside Ambassador nothing is applied that others in its namespace would feel: their pods keep
// their network and may be made anew, and no Listener is theirs to read too.
func TestBesideAmbassador(t *testing.T) {
	d := yaml.NewDecoder(bytes.NewReader(kustomized(t, "overlays/beside")))
	for {
		var o struct {
			Kind     string
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Spec struct {
				Type        string
				PodSelector struct {
					Labels map[string]string `yaml:"matchLabels"`
				} `yaml:"podSelector"`
			}
		}
		if d.Decode(&o) != nil {
			return
		}
		switch {
		case o.Kind == "NetworkPolicy" && o.Spec.PodSelector.Labels["app.kubernetes.io/name"] != "legate":
			t.Errorf("NetworkPolicy %s is about others' pods", o.Metadata.Name)
		case o.Kind == "Namespace" && o.Metadata.Labels["pod-security.kubernetes.io/enforce"] != "":
			t.Errorf("others' pods have to be %q", o.Metadata.Labels["pod-security.kubernetes.io/enforce"])
		case o.Kind == "Listener", o.Kind == "Service" && o.Spec.Type != "ClusterIP", o.Kind == "CustomResourceDefinition":
			t.Errorf("there is a %s %s", o.Kind, o.Metadata.Name)
		}
	}
}

// Istio's own validation finds nothing, and finds what is wrong.
func TestIstioTakesItsObjects(t *testing.T) {
	check := outside(t, "istio-check")
	for _, layer := range []string{"istio", "examples/zero-trust"} {
		cmd := exec.Command(check)
		cmd.Stdin = bytes.NewReader(kustomized(t, layer))
		if out, err := cmd.CombinedOutput(); err != nil || strings.HasPrefix(string(out), "0 ") {
			t.Errorf("k8s/%s: %v\n%s", layer, err, out)
		}
	}
	broken := bytes.ReplaceAll(kustomized(t, "examples/zero-trust"), []byte("request.auth.claims[iss]"), []byte("request.auth.claimz[iss]"))
	cmd := exec.Command(check)
	cmd.Stdin = bytes.NewReader(broken)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "claimz") {
		t.Errorf("a misspelt condition passes: %v\n%s", err, out)
	}
}

// A pod that the strictest of Kubernetes' profiles refuses does not come about: what it asks
// of each container is said of each.
func TestPodsAskForNothing(t *testing.T) {
	for _, layer := range layers {
		judgePods(t, layer, kustomized(t, layer))
	}
}

func judgePods(t *testing.T, layer string, manifests []byte) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ Template struct{ Spec podSpec } }
		}
		if d.Decode(&o) != nil {
			return
		}
		if o.Kind == "Deployment" {
			o.Spec.Template.Spec.judge(t, layer+": "+o.Metadata.Name)
		}
	}
}

// What may be added to an overlay goes with the base, and leaves its pods as they are judged.
func TestComponents(t *testing.T) {
	for _, c := range components(t) {
		text := composed(t, []string{"base"}, []string{c})
		judgePods(t, c, text)
		if bytes.Equal(text, kustomized(t, "base")) {
			t.Errorf("%s changes nothing", c)
		}
	}
}

// components are the folders of k8s/ that may be added to an overlay.
func components(t *testing.T) (all []string) {
	t.Helper()
	folders, err := filepath.Glob("../k8s/components/*")
	must(t, err)
	for _, f := range folders {
		all = append(all, strings.TrimPrefix(f, "../k8s/"))
	}
	return append(all, "istio/sidecar")
}

// composed is what is applied of layers with components, all of them folders of k8s/.
func composed(t *testing.T, layers, components []string) []byte {
	t.Helper()
	dir := t.TempDir()
	real, err := filepath.EvalSymlinks(dir)
	must(t, err)
	from := func(folders []string) string {
		var all []string
		for _, f := range folders {
			abs, err := filepath.Abs(filepath.Join("../k8s", f))
			must(t, err)
			rel, err := filepath.Rel(real, abs)
			must(t, err)
			all = append(all, rel)
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	must(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: "+from(layers)+"\ncomponents: "+from(components)+"\n"), 0o600))
	text, err := exec.Command(outside(t, "kubectl"), "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s with %s: %v\n%s", layers, components, err, text)
	}
	return text
}

// A podSpec is what the profile "restricted" looks at, and what we ask of ourselves.
type podSpec struct {
	SecurityContext struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []struct {
		Name            string
		Resources       struct{ Limits map[string]string }
		SecurityContext struct {
			Escalation   *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities struct{ Drop []string }
		} `yaml:"securityContext"`
	}
}

func (p *podSpec) judge(t *testing.T, whose string) {
	t.Helper()
	if !p.SecurityContext.RunAsNonRoot || p.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
		t.Errorf("%s: may run as root, or without seccomp", whose)
	}
	for _, c := range p.Containers {
		s := c.SecurityContext
		if s.Escalation == nil || *s.Escalation || !s.ReadOnly || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s: container %s may escalate, write, or has capabilities", whose, c.Name)
		}
		if c.Resources.Limits["memory"] == "" || c.Resources.Limits["cpu"] != "" {
			t.Errorf("%s: container %s has limits %v: memory is to be bounded, time is not", whose, c.Name, c.Resources.Limits)
		}
	}
}

// objects returns what manifests hold, by kind and name, each written in one way: what Kubernetes knows by its name within
// a container or a pod stands in the order of names.
func objects(t *testing.T, manifests []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	d := yaml.NewDecoder(bytes.NewReader(manifests))
	for {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if o == nil {
			continue // nothing but a comment
		}
		sortNamed(o)
		text, err := yaml.Marshal(o)
		must(t, err)
		meta, _ := o["metadata"].(map[string]any)
		all[fmt.Sprint(o["kind"], " ", meta["name"])] = string(text)
	}
}

// sortNamed orders environments, volumes and where they are mounted, at any depth.
func sortNamed(value any) {
	switch v := value.(type) {
	case map[string]any:
		for field, inner := range v {
			sortNamed(inner)
			if list, is := inner.([]any); is && (field == "env" || field == "volumes" || field == "volumeMounts") {
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(nameOf(a), nameOf(b)) })
			}
		}
	case []any:
		for _, inner := range v {
			sortNamed(inner)
		}
	}
}

func nameOf(entry any) string {
	fields, _ := entry.(map[string]any)
	name, _ := fields["name"].(string)
	return name
}
