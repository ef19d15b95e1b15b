package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A kubernetes is a real Kubernetes API server. Nothing else of a cluster is there: no
// controller makes EndpointSlices or ends namespaces.
type kubernetes struct {
	t          testing.TB
	dir        string
	port       int
	kubeconfig string
	server     *exec.Cmd // nil while it is stopped
}

// newKubernetes starts an API server that has no kinds but its own.
func newKubernetes(t testing.TB) *kubernetes {
	t.Helper()
	c := &kubernetes{t: t, dir: t.TempDir(), port: freePorts(t, 1)[0]}
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	t.Cleanup(c.stop)
	c.start()
	return c
}

// start starts the API server, again with what it had, and waits until it is ready.
func (c *kubernetes) start() {
	c.t.Helper()
	c.server = exec.Command(outside(c.t, "kubeapi"), "-dir", c.dir, "-port", strconv.Itoa(c.port))
	stdout, err := c.server.StdoutPipe()
	must(c.t, err)
	must(c.t, c.server.Start())
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		ready <- line
	}()
	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "READY ") {
			c.t.Fatalf("the API server ended: %q", line)
		}
	case <-time.After(patience(time.Minute)):
		c.t.Fatal("the API server is not ready")
	}
}

// stop ends the API server as a crash would.
func (c *kubernetes) stop() {
	if c.server == nil {
		return
	}
	_ = c.server.Process.Signal(syscall.SIGKILL)
	_ = c.server.Wait()
	c.server = nil
}

// kubectl runs kubectl with manifests as its input and returns what it says.
func (c *kubernetes) kubectl(manifests string, args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.Command(outside(c.t, "kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(manifests)
	cmd.Env = []string{"HOME=" + c.dir}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do is kubectl for what must succeed.
func (c *kubernetes) do(manifests string, args ...string) string {
	c.t.Helper()
	out, err := c.kubectl(manifests, args...)
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apply applies manifests.
func (c *kubernetes) apply(manifests string) {
	c.t.Helper()
	c.do(manifests, "apply", "-f", "-")
}

// install installs CRDs and waits until they are served.
func (c *kubernetes) install(crds string) {
	c.t.Helper()
	c.apply(crds)
	c.do("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
}

// as makes a ServiceAccount, gives it rules and returns a kubeconfig of it.
func (c *kubernetes) as(name, rules string) string {
	c.t.Helper()
	c.apply(fmt.Sprintf(`---
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules: %[2]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: default}]
`, name, rules))
	token := strings.TrimSpace(c.do("", "create", "token", name))
	admin, err := os.ReadFile(c.kubeconfig)
	must(c.t, err)
	path := filepath.Join(c.dir, name+".kubeconfig")
	must(c.t, os.WriteFile(path, bytes.ReplaceAll(admin, []byte("token: admin-token"), []byte("token: "+token)), 0o600))
	return path
}

// gateway starts a gateway that serves what the cluster has, beside its two Listeners.
func (c *kubernetes) gateway(s setup) *gateway {
	c.t.Helper()
	return start(c.t, c.setup(s))
}

func (c *kubernetes) setup(s setup) setup {
	s.args = append(s.args, "--kubernetes")
	s.env = append(s.env, "KUBECONFIG="+c.kubeconfig)
	return s
}

// looseCRDs are CRDs of Ambassador's kinds that check nothing. conversion is their way to
// convert objects between versions.
func looseCRDs(conversion string) string {
	var b strings.Builder
	for _, kind := range []string{"Mapping", "Host", "Filter", "FilterPolicy"} {
		b.WriteString(looseCRD("getambassador.io", kind, conversion, "v3alpha1", "v2"))
	}
	return b.String()
}

// looseCRD is one of them. The last of versions is stored.
func looseCRD(group, kind, conversion string, versions ...string) string {
	plural := strings.ToLower(kind) + "s"
	if stem, ok := strings.CutSuffix(plural, "ys"); ok {
		plural = stem + "ies"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[3]s}
spec:
  group: %[3]s
  scope: Namespaced
  names: {kind: %[1]s, plural: %[2]s}
  conversion: %[4]s
  versions:
`, kind, plural, group, conversion)
	for i, version := range versions {
		fmt.Fprintf(&b, "  - {name: %s, served: true, storage: %t, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}\n", version, i == len(versions)-1)
	}
	return b.String()
}
