package ambassador

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestCoverage prints how many rows are proved, and fails if one is proved by nothing
// that exists, or a case proves no row.
func TestCoverage(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]Row{}
	var rows []Row
	for _, l := range lists {
		list, err := Rows(l.file)
		if err != nil {
			t.Fatal(err)
		}
		all[l.file] = list
		rows = append(rows, list...)
	}
	proved := map[string]bool{}
	for i := range files {
		files[i].ids(func(id string) {
			row := rowOf(rows, id)
			if row == nil {
				t.Errorf("%s: %s is a case of no row", files[i].Name, id)
				return
			}
			proved[row.ID] = true
			if row.Open != "" {
				t.Errorf("%s is said to be open, and %s has a case", row.ID, files[i].Name)
			}
		})
	}
	for _, l := range lists {
		count(t, l.Of, all[l.file], proved)
	}
}

// count prints how many of rows are proved, by sections and together, and which are open.
// proved are those that cases prove.
func count(t *testing.T, of string, rows []Row, proved map[string]bool) {
	t.Helper()
	type tally struct{ proved, all int }
	tallies := map[string]*tally{}
	var order []string
	var total tally
	for i := range rows {
		r := &rows[i]
		c := tallies[r.Section()]
		if c == nil {
			c = &tally{}
			tallies[r.Section()], order = c, append(order, r.Section())
		}
		c.all++
		total.all++
		for _, test := range r.Tests {
			if !declared(t, test) {
				t.Errorf("%s: there is no %s.%s %q", r.ID, test.Folder, test.Name, test.Row)
			}
		}
		switch {
		case proved[r.ID] || r.Tests != nil:
			c.proved++
			total.proved++
		case r.Open == "":
			t.Errorf("%s: nothing proves it, and nothing says why", r.ID)
		}
	}
	for _, section := range order {
		t.Logf("%-10s %3d of %3d", section, tallies[section].proved, tallies[section].all)
	}
	t.Logf("rows of %s that are proved: %d of %d", of, total.proved, total.all)
	for i := range rows {
		if rows[i].Open != "" {
			t.Logf("open: %s: %s: %s", rows[i].ID, rows[i].Says, rows[i].Open)
		}
	}
}

// rowOf returns the row with the longest id that id is or goes on from.
func rowOf(rows []Row, id string) *Row {
	var best *Row
	for i := range rows {
		r := &rows[i]
		if (id == r.ID || strings.HasPrefix(id, r.ID+"/")) && (best == nil || len(r.ID) > len(best.ID)) {
			best = r
		}
	}
	return best
}

// sources are the tests of each folder, as text.
var sources = map[string]string{}

// declared reports whether a test is in its folder, and its row in it.
func declared(t *testing.T, test Test) bool {
	t.Helper()
	text, read := sources[test.Folder]
	if !read {
		files, err := filepath.Glob(filepath.Join("..", "..", test.Folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			part, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text += "\n" + string(part)
		}
		sources[test.Folder] = text
	}
	_, body, found := strings.Cut(text, "\nfunc "+test.Name+"(")
	body, _, _ = strings.Cut(body, "\nfunc ")
	return found && (test.Row == "" || strings.Contains(body, strconv.Quote(test.Row)))
}
