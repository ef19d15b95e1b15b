package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sessionLimit ends a session that hangs.
const sessionLimit = 4 * time.Minute

// A session is one shell in a folder of its own, in which a document's commands run
// one after the other as if its reader typed them.
type session struct {
	dir     string
	address string // takes the place of 127.0.0.1, so that the ports of many sessions never meet
}

// newSession makes the folder. number tells the sessions of one run apart.
func newSession(t *testing.T, number int) *session {
	t.Helper()
	s := &session{
		dir:     t.TempDir(),
		address: fmt.Sprintf("127.%d.%d.%d", 128+number, os.Getpid()>>8&255, os.Getpid()&255),
	}
	example, err := os.ReadFile(filepath.Join(root, "config.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "config.example.yaml", string(example))
	return s
}

func (s *session) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// environment makes legate the one under test, on the session's address.
func (s *session) environment(t *testing.T) []string {
	t.Helper()
	return []string{
		"PATH=" + filepath.Dir(program(t)) + ":" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_CACHE_HOME=" + s.dir + "/.cache", "LC_ALL=C",
		"LEGATE_BIND=" + s.address, "LEGATE_ADMIN=" + s.address + ":8877", "no_proxy=*", "GORACE=atexit_sleep_ms=10",
	}
}

// The script's frame: what a command says on either output comes after a line that
// tells its number, and nothing may be left running at the end.
const (
	prologue = "set -euo pipefail\nexec 2>&1\ntrap 'status=$?; for job in $(jobs -p); do kill \"$job\"; done; wait; exit $status' EXIT\n"
	epilogue = "if [ -n \"$(jobs -pr)\" ]; then echo 'left running:'; jobs -r; exit 99; fi\n"
	mark     = "\x1e"
)

// run runs the steps and returns what each of them said. After a failure there are
// fewer, and an error that tells which failed.
func (s *session) run(t *testing.T, steps []step) ([]string, error) {
	t.Helper()
	var script strings.Builder
	script.WriteString(prologue)
	for i := range steps {
		fmt.Fprintf(&script, "printf '\\n%s%d\\n'\n%s", mark, i, s.localise(steps[i].command))
	}
	fmt.Fprintf(&script, "printf '\\n%s%d\\n'\n%s", mark, len(steps), epilogue)
	ctx, cancel := context.WithTimeout(t.Context(), sessionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir, cmd.Env = s.dir, s.environment(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("the session did not end within %v", sessionLimit))
	}
	return s.split(string(out)), err
}

func (s *session) split(out string) []string {
	_, out, _ = strings.Cut(out, "\n"+mark)
	var said []string
	for i, part := range strings.Split(out, "\n"+mark) {
		said = append(said, s.generalise(strings.TrimPrefix(part, strconv.Itoa(i)+"\n")))
	}
	return said
}

// localise puts the session's address into a command.
func (s *session) localise(text string) string {
	return strings.NewReplacer("127.0.0.1", s.address, "localhost", s.address).Replace(text)
}

// generalise takes it out of what was said, and the folder with it.
func (s *session) generalise(text string) string {
	return strings.NewReplacer(s.address, "127.0.0.1", s.dir+"/", "").Replace(text)
}

// varying is what differs from one run to the next, and what stands for it when two
// outputs are compared.
var varying = []struct {
	pattern *regexp.Regexp
	same    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`(?m)^[Dd]ate: .*$`), "DATE"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`_ms":\d+\.\d+`), `_ms":MS`},
	{regexp.MustCompile(`"bytes_out":[1-9]\d*`), `"bytes_out":N`},
	{regexp.MustCompile(`"took":\d+`), `"took":NS`},
	{regexp.MustCompile(`(?m)^(x-envoy-upstream-service-time): \d+`), "$1: MS"},
	{regexp.MustCompile(`\b(127\.0\.0\.1|localhost):\d{5}\b`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`legate \S+ commit \S+ go\S+`), "legate VERSION"},
	{regexp.MustCompile(`\blocalhost\b`), "127.0.0.1"},
}

// comparable puts a word in place of everything that varies.
func comparable(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.same)
	}
	return strings.TrimRight(text, "\n")
}
