package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// A line is one kind of figure of one row: all contestants, all rounds.
type line struct {
	Row    string
	What   string
	Unit   string
	Values map[string][]float64 // contestant to rounds
	Notes  map[string]string    `json:",omitempty"` // the last round's
}

// results is everything a run found out; it is what the JSON file holds.
type results struct {
	Date        string
	Command     []string
	Machine     machine
	Versions    map[string]string
	Contestants []string
	Lines       []*line
}

func newResults(opts *options, wanted []contestant) *results {
	r := &results{
		Date: time.Now().UTC().Format(time.RFC3339), Command: os.Args[1:], Machine: thisMachine(opts), Versions: map[string]string{"h2load": h2loadVersion()},
	}
	for _, c := range wanted {
		r.Contestants = append(r.Contestants, c.name)
		r.Versions[c.name] = c.says()
	}
	return r
}

func (r *results) add(row, contestant string, figures []figure) {
	for _, f := range figures {
		l := r.line(row, f)
		l.Values[contestant] = append(l.Values[contestant], f.value)
		if f.note != "" {
			l.Notes[contestant] = f.note
		}
	}
}

func (r *results) line(row string, f figure) *line {
	for _, l := range r.Lines {
		if l.Row == row && l.What == f.what && l.Unit == f.unit {
			return l
		}
	}
	l := &line{Row: row, What: f.what, Unit: f.unit, Values: map[string][]float64{}, Notes: map[string]string{}}
	r.Lines = append(r.Lines, l)
	return l
}

// print writes a table: medians, and Legate's figure over that of each peer.
// Less is better but for rates.
func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "%s, Linux %s, %d cores; contestant on core %d, load and upstream on core %d; medians of the rounds; less is better, but for rates\n",
		r.Machine.CPU, r.Machine.Kernel, r.Machine.Cores, r.Machine.ProxyCore, r.Machine.LoadCore)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	peers := r.peers()
	fmt.Fprintf(t, "row\tfigure\t%s\t", strings.Join(r.Contestants, "\t"))
	for _, p := range peers {
		fmt.Fprintf(t, "legate/%s\t", p)
	}
	fmt.Fprintln(t)
	limited := false
	for _, l := range r.Lines {
		fmt.Fprintf(t, "%s\t%s %s\t", l.Row, l.What, l.Unit)
		for _, c := range r.Contestants {
			mark := ""
			if l.Notes[c] != "" {
				mark, limited = "*", true
			}
			fmt.Fprintf(t, "%s%s\t", readable(median(l.Values[c])), mark)
		}
		for _, p := range peers {
			fmt.Fprintf(t, "%s\t", ratio(pairedRatio(l.Values["legate"], l.Values[p])))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	if limited {
		fmt.Fprintln(w, "* the contestant did not keep its core busy: load, upstream or other processes were the limit, so this is a floor")
	}
}

// peers are those that Legate is compared with; none if it did not run.
func (r *results) peers() []string {
	if len(r.Contestants) == 0 || r.Contestants[0] != "legate" {
		return nil
	}
	return r.Contestants[1:]
}

func (r *results) write(file string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "raw figures:", file)
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// readable shows three significant digits or more.
func readable(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func ratio(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func inWords(figures []figure) string {
	var b strings.Builder
	for _, f := range figures {
		fmt.Fprintf(&b, " %s %s %s", f.what, readable(f.value), f.unit)
		if f.note != "" {
			fmt.Fprintf(&b, " (%s)", f.note)
		}
	}
	return b.String()
}
