package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// dashes end the manifests of a golden file and begin what is said about them.
const dashes = "\n--------------------------------\n"

// What is wrong is said in the same words by check and by run, and the rest serves.
func TestBadInput(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.golden")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no golden files")
	}
	up := echo(t, "up")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(file)
			must(t, err)
			input, want, _ := strings.Cut(string(content), dashes)
			got := said(t, input, up)
			if *update {
				must(t, os.WriteFile(file, []byte(input+dashes+got), 0o600))
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// said returns what check and run say about manifests, without what differs from one
// machine to the next. The Mappings among them whose prefix begins with /good must serve all the same.
func said(t *testing.T, manifests, up string) string {
	t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { taken.Close() })
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.yaml")
	port := portOf(taken.Addr().String())
	must(t, os.WriteFile(file, []byte(strings.NewReplacer("$UP", up, "$TAKEN", port).Replace(manifests)+"\n"), 0o600))
	general := strings.NewReplacer(dir+"/", "", up, "$UP", port, "$TAKEN")

	var b strings.Builder
	for _, args := range [][]string{nil, {"--strict"}} {
		out, status := legate(t, append([]string{"check", "-f", file}, args...)...)
		if args == nil {
			b.WriteString("$ legate check -f bad.yaml\n" + general.Replace(out))
		}
		fmt.Fprintf(&b, "%sexit status %d\n", strings.Join(append(args, ""), ": "), status)
	}

	g := start(t, setup{manifests: everyone, extra: []string{file}})
	for _, good := range goodPrefix.FindAllString(manifests, -1) {
		if a := g.send(t, request{target: good}); g.verdict(t, a) != served {
			t.Errorf("%s: %v", good, g.verdict(t, a))
		}
	}
	b.WriteString("\n$ legate run -f bad.yaml\n")
	for _, line := range g.errors.all() {
		var entry struct{ Level, Msg, Effect, Text string }
		must(t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "problem" || entry.Level != "INFO" {
			fmt.Fprintf(&b, "%s %s effect=%s %s\n", entry.Level, entry.Msg, entry.Effect, general.Replace(entry.Text))
		}
	}
	if shown := g.problems(); len(shown) != strings.Count(b.String(), " problem effect=") {
		t.Errorf("/api/v1/problems shows %d of them: %+v", len(shown), shown)
	}
	return b.String()
}

var goodPrefix = regexp.MustCompile(`/good[a-z-]*/`)

// legate runs a command to its end and returns its standard output and exit status.
func legate(t testing.TB, args ...string) (stdout string, status int) {
	t.Helper()
	return legateIn(t, nil, args...)
}

// legateIn is legate with more of an environment.
func legateIn(t testing.TB, env []string, args ...string) (stdout string, status int) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append([]string{"HOME=" + os.Getenv("HOME"), hasty}, env...)
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
