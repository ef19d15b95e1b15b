package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/pflag"
)

// Set by the linker.
var (
	version = "dev"
	commit  = "unknown"
)

func versionCommand(_ context.Context, p *Program, args []string) int {
	if status, ended := p.parse(pflag.NewFlagSet("version", pflag.ContinueOnError), args); ended {
		return status
	}
	fmt.Fprintf(p.Stdout, "legate %s commit %s %s\n", version, commit, runtime.Version())
	return exitFine
}
