package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the path of the program under test, and raced whether the race detector
// watches it.
var (
	binary string
	raced  bool
)

func TestMain(m *testing.M) {
	os.Exit(runAll(m))
}

// runAll builds the program with the race detector, unless LEGATE_BIN names one.
func runAll(m *testing.M) int {
	if binary = os.Getenv("LEGATE_BIN"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "legate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "legate")
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

func build() error {
	args := []string{"build", "-o", binary, "legate/cmd/legate"}
	if _, err := exec.LookPath("gcc"); err == nil {
		raced = true
		args = append([]string{"build", "-race"}, args[1:]...)
	} else if os.Getenv("CI") != "" {
		return fmt.Errorf("the race detector needs gcc: %w", err)
	} else {
		fmt.Fprintln(os.Stderr, "e2e: there is no gcc, so the race detector does not watch")
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// patience stretches a limit that says how long something may take: the race
// detector and a busy machine make everything slower, not wrong.
func patience[T ~int64](limit T) T {
	if raced {
		return 4 * limit
	}
	return limit
}
