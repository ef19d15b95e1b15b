package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An engine builds and runs images.
type engine struct {
	t    *testing.T
	path string // of buildah
}

// newEngine needs buildah, root, and the images that the Dockerfile begins with: nothing is
// fetched here. Whoever has not got them is told so, in CI too.
func newEngine(t *testing.T) *engine {
	t.Helper()
	path, err := exec.LookPath("buildah")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("no engine that builds images: buildah, as root")
	}
	e := &engine{t: t, path: path}
	text, err := os.ReadFile("../Dockerfile")
	must(t, err)
	version := regexp.MustCompile(`(?m)^ARG GO_VERSION=(.*)$`).FindSubmatch(text)
	for _, from := range regexp.MustCompile(`(?m)^FROM (?:--\S+ )?(\S+)`).FindAllSubmatch(text, -1) {
		image := strings.ReplaceAll(string(from[1]), "${GO_VERSION}", string(version[1]))
		if out, err := e.command("inspect", "--type", "image", image).CombinedOutput(); err != nil {
			t.Skipf("the image %s is not here, and tests fetch none: %s", image, out)
		}
	}
	return e
}

// command returns one of the engine, without a namespace or a control group of its own, which
// not every machine lets it make.
func (e *engine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.path, args...)
	cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
	return cmd
}

func (e *engine) do(args ...string) string {
	e.t.Helper()
	out, err := e.command(args...).Output()
	if err != nil {
		var said []byte
		if ended, ok := err.(*exec.ExitError); ok { //nolint:errorlint // because Output wraps nothing
			said = ended.Stderr
		}
		e.t.Fatalf("buildah %s: %v\n%s", strings.Join(args, " "), err, tail(strings.Split(string(said), "\n"), 30))
	}
	return strings.TrimSpace(string(out))
}

// imageCommit stands for the commit that an image is built of.
const imageCommit = "0123456789ab"

// The Dockerfile as it is makes an image that is small, says what it is, has no rights, holds
// the bytes that the same compiler makes anywhere, and serves with nothing mounted.
func TestImage(t *testing.T) {
	e := newEngine(t)
	image := fmt.Sprintf("localhost/legate-e2e:%d", os.Getpid())
	e.do("build", "--pull=never", "--layers=false", "--build-arg", "COMMIT="+imageCommit, "--tag", image, "..")
	t.Cleanup(func() { _ = e.command("rmi", "--force", image).Run() })

	var inspected struct {
		OCIv1 struct {
			Config struct {
				User            string
				Env, Entrypoint []string
				ExposedPorts    map[string]any
				Labels          map[string]string
			} `json:"config"`
		}
	}
	must(t, json.Unmarshal([]byte(e.do("inspect", "--type", "image", image)), &inspected))
	config := &inspected.OCIv1.Config
	if config.User != "65532:65532" {
		t.Errorf("it runs as %q", config.User)
	}
	for name, want := range map[string]string{"title": "Legate", "licenses": "Apache-2.0", "revision": imageCommit, "version": "dev"} {
		if got := config.Labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("the label %s is %q, want %q", name, got, want)
		}
	}
	for _, port := range []string{"8080", "8443", "8877"} {
		if _, ok := config.ExposedPorts[port]; !ok {
			if _, ok = config.ExposedPorts[port+"/tcp"]; !ok {
				t.Errorf("port %s is not exposed: %v", port, config.ExposedPorts)
			}
		}
	}

	container := e.do("from", "--pull-never", image)
	t.Cleanup(func() { _ = e.command("rm", container).Run() })
	root := e.do("mount", container)
	if size := sizeOf(t, root); size > 60<<20 {
		t.Errorf("the image has %d MiB", size>>20)
	} else {
		t.Logf("the image has %.1f MiB", float64(size)/(1<<20))
	}
	e.sameBinary(filepath.Join(root, config.Entrypoint[0]))
	e.serves(container, config.Entrypoint)
}

func sizeOf(t *testing.T, root string) (size int64) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	}))
	return size
}

// sameBinary builds the program here, in another folder with another cache, and expects the
// same bytes where the compiler is the same.
func (e *engine) sameBinary(path string) {
	e.t.Helper()
	here := filepath.Join(e.t.TempDir(), "legate")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version=dev -X main.commit="+imageCommit, "-o", here, "legate/cmd/legate")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOFLAGS=") }), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("go build: %v\n%s", err, out)
	}
	compiler := func(binary string) string {
		out, err := exec.Command("go", "version", binary).Output()
		must(e.t, err)
		return strings.TrimPrefix(string(out), binary)
	}
	if a, b := compiler(here), compiler(path); a != b {
		e.t.Logf("the image has another compiler,%s, than is here,%s: their bytes are not compared", strings.TrimSpace(b), strings.TrimSpace(a))
		return
	}
	if digest(e.t, here) != digest(e.t, path) {
		e.t.Error("the same source and compiler make other bytes in the image than here")
	}
}

func digest(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	return [sha256.Size]byte(h.Sum(nil))
}

// serves runs what the container runs by its own settings, with `dev`, on a host of its own,
// and asks it from there by an address that is not loopback's.
func (e *engine) serves(container string, entrypoint []string) {
	e.t.Helper()
	c := newPodNetwork(e.t)
	const addr = "10.77.0.1"
	c.sh("ip", "-n", c.node, "addr", "add", addr+"/32", "dev", "lo")
	argv := append([]string{"netns", "exec", c.node, e.path, "run", "--isolation", "chroot", container, "--"}, append(entrypoint, "dev")...)
	p := run(e.t, []string{"BUILDAH_ISOLATION=chroot"}, exec.Command("ip", argv...))
	ask := func(url string) string {
		out, err := exec.Command("ip", "netns", "exec", c.node, outside(e.t, "curl"), "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url).Output()
		if err != nil {
			return "nobody"
		}
		return string(out)
	}
	eventually(e.t, patience(30*time.Second), "the image is ready", func() bool {
		return ask("http://"+addr+":8877/ambassador/v0/check_ready") == "200"
	})
	for url, want := range map[string]string{
		"http://" + addr + ":8080/hello/":  "200",
		"https://" + addr + ":8443/hello/": "200",
		"http://" + addr + ":8877/metrics": "200",
	} {
		if got := ask(url); got != want {
			e.t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
	c.end(p)
}

// end ends the program that runs within p on the node: engines do not tell those of signals.
func (c *podNetwork) end(p *program) {
	c.t.Helper()
	pids, err := exec.Command("ip", "netns", "pids", c.node).Output()
	must(c.t, err)
	for text := range strings.FieldsSeq(string(pids)) {
		name, err := os.ReadFile("/proc/" + text + "/comm")
		if pid, no := strconv.Atoi(text); err == nil && no == nil && strings.TrimSpace(string(name)) == "legate" {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
	}
	if status := p.exit(c.t); status != 0 {
		c.t.Errorf("it ends with status %d", status)
	}
}
