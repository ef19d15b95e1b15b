package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine is where figures were taken; without it they mean nothing.
type machine struct {
	CPU                 string
	Kernel              string
	Cores               int
	ProxyCore, LoadCore int
	GoVersion           string
}

func thisMachine(opts *options) machine {
	m := machine{Cores: runtime.NumCPU(), ProxyCore: opts.proxyCore, LoadCore: opts.loadCore, GoVersion: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = cpuModel(text)
	}
	return m
}

// cpuModel finds the model in /proc/cpuinfo; some architectures name none.
func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		if name, model, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

func h2loadVersion() string {
	out, _ := exec.Command("h2load", "--version").Output() // "" if it cannot tell
	return strings.TrimSpace(string(out))
}
