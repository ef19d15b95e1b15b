// Package docs holds the documents to what they say: every command in them is run
// against the real binary, every manifest is checked by it, and what is listed is
// compared with what there is.
package docs

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write what the commands of console blocks say into the documents")

// binary is where the program under test is, once program has built it.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "legate-docs-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "legate")
	return m.Run()
}

// build makes the program, with the race detector where there is a compiler for it,
// and sees to what else the commands need.
var build = sync.OnceValue(func() error {
	for _, need := range []string{"bash", "curl", "make"} {
		if _, err := exec.LookPath(need); err != nil {
			return fmt.Errorf("%s is missing: sudo apt-get install %s", need, need)
		}
	}
	args := []string{"build", "-o", binary, "legate/cmd/legate"}
	if _, err := exec.LookPath("gcc"); err == nil {
		args = slices.Insert(args, 1, "-race")
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// program returns the path of the program under test.
func program(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return binary
}

// Every command runs as it is printed, in the order of its document, and says what
// the document shows.
func TestCommands(t *testing.T) {
	t.Parallel()
	for i, d := range documents(t) {
		t.Run(d.path, func(t *testing.T) {
			t.Parallel()
			s := newSession(t, i)
			steps := d.steps(t, s)
			if len(steps) == 0 {
				return
			}
			said, err := s.run(t, steps)
			if err != nil {
				last := len(said) - 1
				t.Fatalf("%s:%d: %v: %s%s", d.path, steps[min(last, len(steps)-1)].line, err, steps[min(last, len(steps)-1)].command, said[last])
			}
			if *update {
				d.rewrite(t, steps, said)
				return
			}
			for i, st := range steps {
				if st.shown && comparable(said[i]) != comparable(st.output) {
					t.Errorf("%s:%d: %sgot:\n%s\nwant:\n%s", d.path, st.line, st.command, said[i], st.output)
				}
			}
		})
	}
}

// steps writes the named manifests and returns the commands that run. Files are
// written beforehand, so a name may be used once only.
func (d *document) steps(t *testing.T, s *session) []step {
	t.Helper()
	var steps []step
	written := map[string]bool{}
	for i := range d.blocks {
		b := &d.blocks[i]
		name, named := b.fileName()
		switch {
		case b.lang == "yaml" && named:
			if written[name] {
				t.Errorf("%s:%d: %s is there already", d.path, b.line, name)
			}
			written[name] = true
			s.write(t, name, b.text)
		case b.lang == "sh" || b.lang == "console":
			for _, st := range b.steps() {
				if !byMake(st.command) && !inCluster(st.command) && !measures(st.command) {
					steps = append(steps, st)
				}
			}
		}
	}
	return steps
}

// targets are the targets of the Makefile that documents name and that are not run
// here, each for its reason: TestMakeTargets sees to it that they exist.
var targets = map[string]string{
	"build":    "this test has built the program already",
	"dev":      "serves until it is interrupted; TestDev in e2e runs the same command",
	"test":     "runs this test",
	"unit":     "runs this test",
	"e2e":      "is the other half of make test",
	"lint":     "takes minutes",
	"fuzz":     "takes minutes",
	"bench":    "needs a quiet machine, nginx and HAProxy",
	"pgo":      "needs a quiet machine",
	"generate": "writes into the repository; a test compares what it would write",
	"check":    "runs this test",
}

var makeLine = regexp.MustCompile(`^make ([a-z0-9]+)( [A-Z]+='[^']*')?( +#.*)?$`)

// byMake reports whether a block consists of nothing but targets of the Makefile.
func byMake(commands string) bool {
	for line := range strings.Lines(commands) {
		m := makeLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || targets[m[1]] == "" {
			return false
		}
	}
	return true
}

var benchLine = regexp.MustCompile(`^go test -run '\^\$' -bench (\w+)( -[a-z]+ \S+)* \./(\S+)$`)

// measures reports whether a block consists of nothing but benchmarks, which need a quiet
// machine: TestBenchmarks sees to it that they exist.
func measures(commands string) bool {
	for line := range strings.Lines(commands) {
		if !benchLine.MatchString(strings.TrimSpace(line)) {
			return false
		}
	}
	return true
}

// What the documents tell readers to measure can be measured.
func TestBenchmarks(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for i := range d.blocks {
			for _, st := range d.blocks[i].steps() {
				for line := range strings.Lines(st.command) {
					m := benchLine.FindStringSubmatch(strings.TrimSpace(line))
					if m == nil {
						continue
					}
					out, err := exec.Command("go", "test", "-list", "^"+m[1], "../"+m[3]).CombinedOutput()
					if err != nil || !strings.Contains(string(out), m[1]) {
						t.Errorf("%s:%d: %s: %v\n%s", d.path, st.line, line, err, out)
					}
				}
			}
		}
	}
}

// inCluster reports whether a command needs a cluster, which a test does not have: its
// syntax and the names of what it asks for are checked by TestClusterCommands.
func inCluster(command string) bool { return strings.HasPrefix(command, "kubectl ") }

var (
	clusterKinds  = regexp.MustCompile(`([a-z]+)\.getambassador\.io`)
	clusterSource = regexp.MustCompile(`\bk8s/[a-z/.-]+`)
)

// What needs a cluster is at least shell, asks for kinds that are known and applies what there is.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for i := range d.blocks {
			for _, st := range d.blocks[i].steps() {
				if !inCluster(st.command) {
					continue
				}
				if out, err := exec.Command("bash", "-n", "-c", st.command).CombinedOutput(); err != nil {
					t.Errorf("%s:%d: %v\n%s", d.path, st.line, err, out)
				}
				for _, path := range clusterSource.FindAllString(st.command, -1) {
					if _, err := os.Stat(filepath.Join(root, path)); err != nil {
						t.Errorf("%s:%d: %v", d.path, st.line, err)
					}
				}
				for _, m := range clusterKinds.FindAllStringSubmatch(st.command, -1) {
					dir := t.TempDir()
					object := "apiVersion: getambassador.io/v3alpha1\nkind: " + kindOf(m[1]) + "\nmetadata: {name: x}\nspec: {}\n"
					if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(object), 0o600); err != nil {
						t.Fatal(err)
					}
					if out, _ := legate(t, dir, "check", "-f", "x.yaml"); strings.Contains(out, "no such kind") {
						t.Errorf("%s:%d: %s: %s", d.path, st.line, m[0], out)
					}
				}
			}
		}
	}
}

// kindOf makes a kind of the plural that the API server goes by.
func kindOf(plural string) string {
	for _, kind := range []string{
		"Mapping", "Host", "Listener", "TLSContext", "Module", "AuthService", "FilterPolicy", "Filter", "RateLimit", "TCPMapping",
	} {
		name := strings.ToLower(kind)
		if plural == name+"s" || plural == strings.TrimSuffix(name, "y")+"ies" {
			return kind
		}
	}
	return plural
}

// What the documents tell readers to make can be made.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	for _, d := range documents(t) {
		for i := range d.blocks {
			b := &d.blocks[i]
			if b.lang != "sh" && b.lang != "console" {
				continue
			}
			for _, st := range b.steps() {
				if !byMake(st.command) {
					continue
				}
				for line := range strings.Lines(st.command) {
					named[makeLine.FindStringSubmatch(strings.TrimSpace(line))[1]] = true
				}
			}
		}
	}
	for target := range named {
		cmd := exec.Command("make", "-n", target)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	}
	for _, target := range []string{"dev", "test"} {
		if !named[target] {
			t.Errorf("no document names make %s", target)
		}
	}
}

// rewrite puts what was said in place of what the document shows.
func (d *document) rewrite(t *testing.T, steps []step, said []string) {
	t.Helper()
	lines := slices.Clone(d.lines)
	for i := len(steps) - 1; i >= 0; i-- {
		st := &steps[i]
		if !st.shown || comparable(said[i]) == comparable(st.output) {
			continue
		}
		var output []string
		if text := strings.TrimRight(strings.ReplaceAll(said[i], "\r\n", "\n"), "\n"); text != "" {
			output = strings.Split(text, "\n")
		}
		lines = slices.Replace(lines, st.from, st.to, output...)
	}
	if err := os.WriteFile(filepath.Join(root, d.path), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// legate runs a command to its end and returns what it says.
func legate(t *testing.T, dir string, args ...string) (out string, status int) {
	t.Helper()
	cmd := exec.Command(program(t), args...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "GORACE=atexit_sleep_ms=10"}
	b, _ := cmd.CombinedOutput() // the status says it
	return string(b), cmd.ProcessState.ExitCode()
}

// Every manifest is checked by itself. What it is said to be wrong with stands in a
// text block right below it; without one, nothing is wrong.
func TestManifests(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for i := range d.blocks {
			b := &d.blocks[i]
			if b.lang != "yaml" {
				continue
			}
			dir := t.TempDir()
			name, named := b.fileName()
			if !named {
				name = "example.yaml"
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			want := ""
			if b.after > 0 && d.blocks[b.after].lang == "text" {
				want = d.blocks[b.after].text
			}
			if got, _ := legate(t, dir, "check", "-f", name); got != want {
				t.Errorf("%s:%d: legate check says:\n%s\nwant:\n%s", d.path, b.line, got, want)
			}
		}
	}
}

// Every command has its flags shown as it prints them.
func TestEveryCommandIsDocumented(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	d := read(t, "docs/cli.md")
	for i := range d.blocks {
		for _, st := range d.blocks[i].steps() {
			shown[strings.TrimSpace(st.command)] = d.blocks[i].lang == "console"
		}
	}
	out, _ := legate(t, t.TempDir(), "help")
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(out, -1)
	if len(commands) == 0 {
		t.Fatalf("legate help names no command:\n%s", out)
	}
	for _, m := range commands {
		if !shown["legate "+m[1]+" --help"] {
			t.Errorf("docs/cli.md does not show legate %s --help", m[1])
		}
	}
}

// JSON that is shown is JSON.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for _, b := range d.blocks {
			if b.lang == "json" && !json.Valid([]byte(b.text)) {
				t.Errorf("%s:%d: is not JSON", d.path, b.line)
			}
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, d := range documents(t) {
		for i, line := range d.lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				file, _, _ := strings.Cut(m[1], "#")
				if strings.Contains(m[1], "://") || file == "" {
					continue
				}
				if _, err := os.Stat(filepath.Join(root, filepath.Dir(d.path), file)); err != nil {
					t.Errorf("%s:%d: %v", d.path, i+1, err)
				}
			}
		}
	}
}
