package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// needs returns the commands and files that a run uses, each with the Debian
// package that brings it, "" if none does.
func needs(wanted []contestant) map[string]string {
	m := map[string]string{"h2load": "nghttp2-client"}
	for _, c := range wanted {
		if c.command != "" {
			m[c.command] = c.debian
		}
		maps.Copy(m, c.modules)
	}
	return m
}

// install installs what is missing where that is allowed, and else says how to.
func install(ctx context.Context, needs map[string]string) error {
	var packages []string
	for command, debian := range needs {
		if present(command) {
			continue
		}
		if debian == "" {
			return fmt.Errorf("%s is missing: build it with \"make build\", or leave it out with -only", command)
		}
		packages = append(packages, debian)
	}
	if len(packages) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing: sudo apt-get install --no-install-recommends %s", strings.Join(packages, " "))
	}
	if err := aptGet(ctx, "update"); err != nil {
		return err
	}
	return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
}

// present tells whether a command can be run or, if it is a path, is there.
func present(command string) bool {
	if filepath.IsAbs(command) {
		_, err := os.Stat(command)
		return err == nil
	}
	_, err := exec.LookPath(command)
	return err == nil
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w: %s", args[0], err, tail(out, 400))
	}
	return nil
}
