package ambassador

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage prints how many rows are proved, and fails if one is proved by nothing
// that exists, or a case proves no row.
func TestCoverage(t *testing.T) {
	rows, err := Rows()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files()
	if err != nil {
		t.Fatal(err)
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
	type count struct{ proved, all int }
	counts := map[string]*count{}
	var order []string
	var total count
	for i := range rows {
		r := &rows[i]
		c := counts[r.Section()]
		if c == nil {
			c = &count{}
			counts[r.Section()], order = c, append(order, r.Section())
		}
		c.all++
		total.all++
		if r.Test != "" && !declared(t, r.Test) {
			t.Errorf("%s: there is no %s", r.ID, r.Test)
		}
		switch {
		case proved[r.ID] || r.Test != "":
			c.proved++
			total.proved++
		case r.Open == "":
			t.Errorf("%s: nothing proves it, and nothing says why", r.ID)
		}
	}
	for _, section := range order {
		t.Logf("%-5s %3d of %3d", section, counts[section].proved, counts[section].all)
	}
	t.Logf("rows of Ambassador's surface that are proved: %d of %d", total.proved, total.all)
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

// declared reports whether a test, written as folder.TestName, is in that folder.
func declared(t *testing.T, test string) bool {
	t.Helper()
	folder, name, _ := strings.Cut(test, ".")
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declaration := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if declaration.Match(bytes.TrimSpace(text)) {
			return true
		}
	}
	return false
}
