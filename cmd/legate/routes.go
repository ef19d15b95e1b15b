package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"legate/gateway"
)

func routesCommand(ctx context.Context, p *Program, args []string) int {
	var a asking
	flags := pflag.NewFlagSet("routes", pflag.ContinueOnError)
	a.register(flags, "text, wide or json")
	host := flags.String("host", "", "only routes that requests to this name can reach")
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	views, err := p.routes(ctx, &a)
	if err == nil {
		if *host != "" {
			views = slices.DeleteFunc(views, func(v gateway.RouteView) bool { return !reachable(&v, strings.ToLower(*host)) })
		}
		err = printRoutes(p.Stdout, views, a.output)
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate routes: %v\n", err)
		return exitUsage
	}
	return exitFine
}

// routes asks files or a gateway that serves for its routes.
func (p *Program) routes(ctx context.Context, a *asking) ([]gateway.RouteView, error) {
	if err := a.understand("text", "wide", "json"); err != nil {
		return nil, err
	}
	if a.admin != "" {
		var views []gateway.RouteView
		return views, a.ask(ctx, "/api/v1/routes", nil, &views)
	}
	g, _, err := p.rehearse(a.files)
	if err != nil {
		return nil, err
	}
	views, _ := g.Routes().([]gateway.RouteView)
	return views, nil
}

// reachable reports whether a request to host can come to a route.
func reachable(v *gateway.RouteView, host string) bool {
	if v.HostRegex {
		re, err := regexp.Compile(`^(?i:` + v.Hostname + `)$`)
		if err != nil || !re.MatchString(host) {
			return false
		}
	} else if !covers(v.Hostname, host) {
		return false
	}
	return v.Protocol != "" || slices.ContainsFunc(v.Hosts, func(h gateway.HostView) bool { return covers(h.Hostname, host) })
}

// covers reports whether a glob with at most one star, at an end, covers a name; an
// empty one covers every name.
func covers(glob, name string) bool {
	glob = strings.ToLower(glob)
	switch {
	case glob == "" || glob == "*":
		return true
	case strings.HasPrefix(glob, "*"):
		return strings.HasSuffix(name, glob[1:])
	case strings.HasSuffix(glob, "*"):
		return strings.HasPrefix(name, glob[:len(glob)-1])
	}
	return glob == name
}

func printRoutes(w io.Writer, views []gateway.RouteView, output string) error {
	if output == "json" {
		if views == nil {
			views = []gateway.RouteView{}
		}
		return printJSON(w, views)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "HOSTNAME\tPREFIX\tMETHOD\tROUTE\tTO\tSHARE\tCOMES AFTER THE ONE ABOVE BY"
	if output == "wide" {
		head += "\tORDER\tHOSTS\tWRITTEN"
	}
	fmt.Fprintln(table, head)
	for i := range views {
		fmt.Fprintln(table, routeRow(&views[i], output == "wide"))
	}
	return table.Flush()
}

func routeRow(v *gateway.RouteView, wide bool) string {
	to := cmp.Or(v.Upstream, v.Service)
	switch {
	case v.Redirect > 0:
		to = fmt.Sprintf("%d to %s", v.Redirect, v.Service)
	case v.ClosedBy != "":
		to = "503, closed by " + v.ClosedBy
	}
	prefix := v.Prefix
	if v.Protocol != "" {
		prefix = fmt.Sprintf("%s, port %d", v.Protocol, v.Port)
	}
	cells := []string{cmp.Or(v.Hostname, "-"), prefix, cmp.Or(v.Method, "any"), v.Name, to, fmt.Sprintf("%d%%", v.Share), cmp.Or(v.Why, "-")}
	if wide {
		order := "-"
		if o := v.Order; o != nil {
			order = fmt.Sprintf("%d,%d,%d,%d", o.Precedence, o.Prefix, o.Headers, o.Query)
		}
		var hosts []string
		for _, h := range v.Hosts {
			hosts = append(hosts, h.Host)
		}
		cells = append(cells, order, cmp.Or(strings.Join(hosts, ", "), "-"), cmp.Or(v.Written, "-"))
	}
	return strings.Join(cells, "\t")
}
