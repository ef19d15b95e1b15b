package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"legate/config"
	"legate/config/files"
)

func reportCommand(ctx context.Context, p *Program, args []string) int {
	flags := pflag.NewFlagSet("report", pflag.ContinueOnError)
	paths := flags.StringArrayP("file", "f", nil, "file or folder of manifests; repeatable")
	fromServer := flags.Bool("kubernetes", false, "the API server that KUBECONFIG names, or that of the cluster around")
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	r, err := p.report(ctx, *paths, *fromServer)
	if err == nil {
		err = r.print(p.Stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintf(p.Stderr, "legate report: %v\n", err)
		return exitUsage
	case r.changes():
		return exitUsage
	}
	return exitFine
}

// A state is what becomes of an object; what is worse comes later.
type state int

const (
	asWritten state = iota
	differs         // served, but not as its author may think
	unknown         // served, but for fields that Ambassador does not have either
	ignored         // something that would change traffic does not
	dropped
	closed
)

var stateNames = [...]string{"served", "differs", "unknown", "ignored", "dropped", "closed"}

// A reported is one object of a migration report.
type reported struct {
	name     string
	state    state
	problems []config.Problem
}

// A report says for every object that a gateway reads what becomes of it.
type report struct {
	objects []*reported
	orphans map[string]int // objects that belong to other gateways, by ambassador_id
	others  map[string]int // objects that no gateway reads, by kind
	over    []leftover
}

// apiServerPatience is how long reading everything from an API server may take.
const apiServerPatience = time.Minute

// report decodes and compiles files, and what an API server has, as serving would.
func (p *Program) report(ctx context.Context, paths []string, fromServer bool) (*report, error) {
	if len(paths) == 0 && !fromServer {
		return nil, fmt.Errorf("nothing to report on: name files with -f, or --kubernetes")
	}
	opts, err := config.OptionsFromEnv(p.getenv)
	if err != nil {
		return nil, err
	}
	objects, err := files.Read(paths, p.decodeOptions(opts))
	if err != nil {
		return nil, err
	}
	if fromServer {
		api, err := p.kubernetes(opts, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		found, err := api.Read(ctx, apiServerPatience)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	_, problems, err := p.rehearseObjects(opts, objects)
	if err != nil {
		return nil, err
	}
	r := &report{orphans: map[string]int{}, others: map[string]int{}, over: leftovers(opts, objects, p.getenv)}
	byName := map[string]*reported{}
	for _, o := range objects {
		ref := o.Meta.Ref()
		switch {
		case o.Meta.Name == "" && !slices.ContainsFunc(o.Problems, func(p config.Problem) bool { return title(&p.Ref) == title(&ref) }):
			continue // it marks where something is that another object tells of
		case !opts.Owns(o.IDs):
			r.orphans[strings.Join(o.IDs, ", ")]++
			continue
		case o.IDs == nil && o.Value == nil && o.Meta.Kind != "" && !o.Broken:
			r.others[o.Meta.Kind]++
			continue
		}
		if name := title(&ref); byName[name] == nil {
			byName[name] = &reported{name: name}
			r.objects = append(r.objects, byName[name])
		}
	}
	for _, problem := range problems {
		if o := byName[title(&problem.Ref)]; o != nil {
			o.problems = append(o.problems, problem)
			o.state = max(o.state, stateOf(&problem))
		}
	}
	slices.SortFunc(r.objects, func(a, b *reported) int { return strings.Compare(a.name, b.name) })
	return r, nil
}

// title is what an object is called: by where it was read, if it cannot be told which it is.
func title(r *config.Ref) string {
	if r.Name != "" {
		return r.String()
	}
	where := cmp.Or(r.Within, r.File)
	if r.Kind == "" || where == "" {
		return cmp.Or(r.Kind, where, "the whole")
	}
	return r.Kind + " in " + where
}

// stateOf is what a Problem makes of its object.
func stateOf(p *config.Problem) state {
	switch {
	case p.Unknown:
		return unknown
	case p.Effect == config.Notice:
		return differs
	case p.Effect == config.RouteClosed:
		return closed
	case p.Effect.Broken():
		return dropped
	}
	return ignored
}

// changes reports whether something that is not served as written changes traffic.
func (r *report) changes() bool {
	return slices.ContainsFunc(r.objects, func(o *reported) bool { return o.state >= ignored })
}

func (r *report) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := [len(stateNames)]int{}
	for _, o := range r.objects {
		count[o.state]++
		fmt.Fprintf(table, "%s\t%s\n", stateNames[o.state], o.name)
		for i := range o.problems {
			p := &o.problems[i]
			text := p.Msg
			if p.Field != "" {
				text = p.Field + ": " + text
			}
			if p.Ref.Name == "" && p.Ref.Line > 0 {
				text = fmt.Sprintf("line %d: %s", p.Ref.Line, text)
			}
			if p.Instead != "" {
				text += "; " + p.Instead
			}
			fmt.Fprintf(table, "\t  %s: %s\n", stateNames[stateOf(p)], text)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var sums []string
	for s, n := range count {
		if n > 0 {
			sums = append(sums, fmt.Sprintf("%d %s", n, stateNames[s]))
		}
	}
	sums = append(sums, fmt.Sprintf("%d in all", len(r.objects)))
	fmt.Fprintf(w, "objects: %s\n", strings.Join(sums, ", "))
	for _, id := range slices.Sorted(maps.Keys(r.orphans)) {
		fmt.Fprintf(w, "%d objects belong to another gateway, with ambassador_id %s\n", r.orphans[id], id)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.others)) {
		fmt.Fprintf(w, "%d of kind %s, which no gateway reads\n", r.others[kind], kind)
	}
	for _, l := range r.over {
		fmt.Fprintf(w, "no longer needed: %s: %s\n", l.name, l.why)
	}
	return nil
}
