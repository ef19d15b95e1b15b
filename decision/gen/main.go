// Command gen writes docs/reasons.md from the table of reasons.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"legate/decision"
)

func main() {
	var b strings.Builder
	write(&b)
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(b.String()), 0o644); err != nil { //nolint:gosec // because a document is for everybody
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

const preface = `<!-- Generated from decision/reasons.go by make generate. -->

# Reasons

Every request that its upstream did not simply answer ends with a reason. The same word is the field ` + "`reason`" + ` of the access log, the label ` + "`reason`" + ` of
` + "`legate_requests_total`" + ` and ` + "`legate_decisions_total`" + `. A line without a reason is an answer of the upstream, whatever its status. Once released, a reason never changes
its meaning.

- **Stage** is who gives the reason, as the fields and labels called ` + "`stage`" + ` say it: the stages of a request are %s, in this order.
- **Status** is what the client receives; "–" leaves it as it was, since the answer had begun or nobody is there to receive one.
- **Flag** is Envoy's response flag, which the text format of the access log shows.
- **Fault** says on whose side to look.

`

// write writes the document.
func write(w io.Writer) {
	var names []string
	for s := range decision.NumStages {
		names = append(names, "`"+s.String()+"`")
	}
	fmt.Fprintf(w, preface, strings.Join(names, ", "))
	fmt.Fprint(w, "| Reason | Stage | Status | Flag | Fault | Meaning | What to do |\n|---|---|---|---|---|---|---|\n")
	for r := decision.None + 1; r < decision.NumReasons; r++ {
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s | %s |\n", r, stages(r), status(r), r.Flag(), r.Fault(), r.Meaning(), r.Advice())
	}
}

func stages(r decision.Reason) string {
	list := r.Stages()
	if len(list) == int(decision.NumStages) {
		return "any"
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}

func status(r decision.Reason) string {
	if s := r.Status(); s != 0 {
		return strconv.Itoa(s)
	}
	return "–"
}
