package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binary is the path of the program under test, and raced whether the race detector
// watches it.
var (
	binary string
	raced  bool
)

func TestMain(m *testing.M) {
	if role := os.Getenv(podRole); role != "" {
		if err := podMain(role); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(runAll(m))
}

// atOnce is how many tests run at a time where -parallel says nothing: most of them
// wait for something most of the time.
const atOnce = "6"

// runAll builds the program with the race detector, unless LEGATE_BIN names one.
func runAll(m *testing.M) int {
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(atOnce); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			return 1
		}
	}
	if binary = os.Getenv("LEGATE_BIN"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "legate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "legate-race")
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

// plain builds the program as it is released, once: for what is measured.
func plain(t testing.TB) string {
	t.Helper()
	path, err := buildPlain()
	must(t, err)
	return path
}

var buildPlain = sync.OnceValues(func() (string, error) {
	if !raced {
		return binary, nil
	}
	path := filepath.Join(filepath.Dir(binary), "legate")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "legate/cmd/legate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// patience stretches a limit that says how long something may take: the race
// detector and a busy machine make everything slower, not wrong.
func patience[T ~int64](limit T) T {
	if raced {
		return 4 * limit
	}
	return limit
}
