package e2e

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// outside returns the path of a program that is not ours: one of those that make
// puts into the folder LEGATE_TOOLS, or an installed one. Where a person has not
// got it, the test is skipped by its name; where every change is judged, it fails.
func outside(t testing.TB, name string) string {
	t.Helper()
	if path := filepath.Join(os.Getenv("LEGATE_TOOLS"), name); filepath.IsAbs(path) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: make e2e brings it", name)
		}
		t.Skipf("%s is missing: make e2e brings it", name)
	}
	return path
}

// output runs a program from outside to its end and returns what it wrote to its
// standard output and error. It is ended, with what it started, after limit.
func output(t testing.TB, limit time.Duration, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience(limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, outside(t, argv[0]), argv[1:]...)
	// Nothing of this machine's settings, and no proxy: what is asked is on loopback.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// companion starts a program from outside that serves until the test ends and
// returns the address that it prints.
func companion(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(outside(t, argv[0]), argv[1:]...)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s says no address: %v", argv[0], err)
	}
	return strings.TrimSpace(addr)
}
