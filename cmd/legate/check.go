package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"legate/admin"
	"legate/config"
)

func checkCommand(_ context.Context, p *Program, args []string) int {
	flags := pflag.NewFlagSet("check", pflag.ContinueOnError)
	paths := flags.StringArrayP("file", "f", nil, "file or folder of manifests; repeatable")
	strict := flags.Bool("strict", false, "exit 1 if there are warnings")
	output := flags.StringP("output", "o", "text", "text or json")
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	problems, err := p.check(*paths, *output)
	if err == nil {
		err = printProblems(p.Stdout, problems, *output)
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate check: %v\n", err)
		return exitUsage
	}
	return checkStatus(problems, *strict)
}

// check decodes and compiles everything without serving.
func (p *Program) check(paths []string, output string) ([]config.Problem, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("nothing to check: name files with -f")
	}
	if output != "text" && output != "json" {
		return nil, fmt.Errorf("--output: must be text or json, got %q", output)
	}
	_, problems, err := p.rehearse(paths)
	return problems, err
}

func printProblems(w io.Writer, problems []config.Problem, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(admin.Problems(problems))
	}
	var q quotes
	for i := range problems {
		if _, err := fmt.Fprint(w, problems[i].String(), "\n", q.of(&problems[i])); err != nil {
			return err
		}
	}
	return nil
}

// checkStatus is 2 if anything is broken, 1 if anything is left out and that is to
// count.
func checkStatus(problems []config.Problem, strict bool) int {
	worst := config.Notice
	for i := range problems {
		if cmp.Compare(problems[i].Effect, worst) > 0 {
			worst = problems[i].Effect
		}
	}
	switch {
	case worst.Broken():
		return exitUsage
	case strict && worst > config.Notice:
		return exitError
	}
	return exitFine
}
