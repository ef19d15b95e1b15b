// Command legate is an edge gateway that serves Ambassador's manifests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// A command is one subcommand. run returns the exit status.
type command struct {
	name, summary string
	run           func(ctx context.Context, p *Program, args []string) int
}

func commands() []command {
	return []command{
		{"run", "serve the manifests of files and of an API server", runCommand},
		{"dev", "serve on a laptop, with an echo service and a local certificate", devCommand},
		{"check", "say what of the manifests would not be served as written", checkCommand},
		{"routes", "show the order in which routes are matched, and why", routesCommand},
		{"explain", "say what would become of a request, and why", explainCommand},
		{"mint", "make the token that a service would get, and say which of Istio's rules it satisfies", mintCommand},
		{"report", "say for every object what becomes of it, before a migration", reportCommand},
		{"version", "print version, commit and Go version", versionCommand},
	}
}

// A Program is the outside of the process, so that a test can run all of it.
type Program struct {
	Stdout, Stderr io.Writer
	LookupEnv      func(name string) (value string, set bool)
}

// getenv returns a variable's value, "" where it is not set.
func (p *Program) getenv(name string) string {
	value, _ := p.LookupEnv(name)
	return value
}

// Exit statuses.
const (
	exitFine  = 0
	exitError = 1 // could not start, or warnings with --strict
	exitUsage = 2 // bad flags, or errors in what was checked

	exitRefused = 3 // the request that was asked about would be refused
)

func main() {
	p := &Program{Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv}
	os.Exit(p.Main(context.Background(), os.Args[1:]))
}

// Main runs the subcommand that args name and returns the exit status.
func (p *Program) Main(ctx context.Context, args []string) int {
	if len(args) == 0 {
		p.usage(p.Stderr)
		return exitUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		p.usage(p.Stdout)
		return exitFine
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, p, args[1:])
		}
	}
	fmt.Fprintf(p.Stderr, "legate: unknown command %q\n", args[0])
	p.usage(p.Stderr)
	return exitUsage
}

func (p *Program) usage(w io.Writer) {
	fmt.Fprint(w, "usage: legate COMMAND [FLAGS]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nlegate COMMAND --help shows its flags\n")
}

// parse reads flags and reports the exit status if the command ends with that.
func (p *Program) parse(flags *pflag.FlagSet, args []string) (status int, ended bool) {
	return p.parseWith(flags, args, 0)
}

// parseWith is parse for a command that takes that many arguments beside its flags.
func (p *Program) parseWith(flags *pflag.FlagSet, args []string, arguments int) (status int, ended bool) {
	flags.SetOutput(p.Stderr)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return exitFine, true
	case err != nil:
		fmt.Fprintf(p.Stderr, "legate %s: %v\n", flags.Name(), err)
		return exitUsage, true
	case flags.NArg() > arguments:
		fmt.Fprintf(p.Stderr, "legate %s: unexpected argument %q\n", flags.Name(), flags.Arg(arguments))
		return exitUsage, true
	}
	return 0, false
}
