package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"legate/gateway"
)

func explainCommand(ctx context.Context, p *Program, args []string) int {
	var a asking
	var q gateway.Question
	flags := pflag.NewFlagSet("explain", pflag.ContinueOnError)
	a.register(flags, "text or json")
	flags.StringArrayVarP(&q.Headers, "header", "H", nil, "header as 'Name: value'; Host takes the place of the URL's; repeatable")
	flags.StringVar(&q.From, "from", "", "address that the request comes from (default 192.0.2.1, somewhere in the Internet)")
	flags.StringVar(&q.TLSSNI, "tls-sni", "", "name asked for in the TLS handshake (default the URL's host)")
	roll := flags.Int("roll", -1, "number from 0 to 99 that decides by weight (default drawn)")
	if status, ended := p.parseWith(flags, args, 2); ended {
		return status
	}
	if *roll >= 0 {
		q.Roll = roll
	}
	e, err := p.explain(ctx, &a, &q, flags.Args())
	if err == nil {
		if a.output == "json" {
			err = printJSON(p.Stdout, e)
		} else {
			err = printExplanation(p.Stdout, e)
		}
	}
	switch {
	case err != nil:
		fmt.Fprintf(p.Stderr, "legate explain: %v\n", err)
		return exitUsage
	case e.Refused:
		return exitRefused
	}
	return exitFine
}

// explain puts a question to files or to a gateway that serves.
func (p *Program) explain(ctx context.Context, a *asking, q *gateway.Question, args []string) (*gateway.Explanation, error) {
	if err := a.understand("text", "json"); err != nil {
		return nil, err
	}
	if len(args) != 2 {
		return nil, fmt.Errorf("name a method and a URL, as in: legate explain -f shop.yaml GET https://shop.example.com/orders/")
	}
	q.Method, q.URL = args[0], args[1]
	if a.admin != "" {
		var e gateway.Explanation
		return &e, a.ask(ctx, "/api/v1/explain", q, &e)
	}
	g, _, err := p.rehearse(a.files)
	if err != nil {
		return nil, err
	}
	return g.Explain(*q)
}

func printExplanation(w io.Writer, e *gateway.Explanation) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("request", "%s", e.Request)
	line("listener", "%s", e.Listener)
	where := ", from inside"
	switch {
	case e.External:
		where = ", from outside"
	case len(e.Stages) == 1: // it did not get so far that this was judged
		where = ""
	}
	line("client", "%s%s", e.Client, where)
	if e.Host != "" {
		line("host", "%s", e.Host)
	}
	name := "routes"
	for i := range e.Candidates {
		c := &e.Candidates[i]
		line(name, "%s %s: %s", c.Route, c.Prefix, cmp.Or(c.Lost, "serves"))
		name = ""
	}
	if e.Others > 0 {
		line(name, "of %d others the path does not fit", e.Others)
	}
	name = "stages"
	for i := range e.Stages {
		s := &e.Stages[i]
		line(name, "%s", stageText(s))
		name = ""
		for _, n := range s.Notes {
			line("", "  %s", n)
		}
	}
	printOutcome(line, e)
	return t.Flush()
}

func stageText(s *gateway.StageView) string {
	text := s.Stage
	if s.Part != "" && s.Part != s.Stage {
		text += " (" + s.Part + ")"
	}
	text += ": " + s.Verdict
	if s.Reason != "" {
		text += ", " + s.Reason
	}
	return text
}

// printOutcome prints where the request ends, or goes.
func printOutcome(line func(name, format string, args ...any), e *gateway.Explanation) {
	if u := e.Upstream; u != nil {
		line("upstream", "%s, service %s", u.Name, u.Service)
		line("endpoints", "%s", cmp.Or(strings.Join(u.Endpoints, ", "), u.Lookup, "none"))
		line("sent as", "%s%s", u.Authority, u.Path)
		if u.TimeoutMS > 0 {
			line("timeout", "%d ms", u.TimeoutMS)
		}
	} else {
		line("answer", "%d %s by stage %s", e.Status, e.Reason, e.Stage)
		if e.By != "" {
			line("by", "%s", e.By)
		}
		if e.Cause != "" {
			line("cause", "%s", e.Cause)
		}
		if e.Advice != "" && e.Refused {
			line("advice", "%s", e.Advice)
		}
	}
	printEdits(line, "request headers", e.ToUp)
	printEdits(line, "response headers", e.ToClient)
}

func printEdits(line func(name, format string, args ...any), name string, v *gateway.EditsView) {
	if v == nil {
		return
	}
	for _, n := range v.Removed {
		line(name, "- %s", n)
		name = ""
	}
	for _, l := range v.Added {
		line(name, "+ %s", l)
		name = ""
	}
}
