package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
