package ambassador

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// A Row is one thing that is known of Ambassador's surface.
type Row struct {
	ID, Says string
	// Tests are the Go tests that prove it; none if cases do.
	Tests []Test
	// Open is why nothing proves it yet.
	Open string
}

// A Test is a Go test.
type Test struct {
	Folder, Name string
	// Row is what the test calls the row of its own table that is meant; "" for all of it.
	Row string
}

// Lists are the lists of rows, by what they are of.
var lists = []struct{ Of, file string }{
	{"Ambassador's surface", "rows.txt"},
	{"identity and limits", "identity.txt"},
}

// Section is the part of the id before the first slash.
func (r *Row) Section() string {
	section, _, _ := strings.Cut(r.ID, "/")
	return section
}

// Rows returns the rows of one file, in its order. A line is an id, a bar, and what the
// row says; then, after another bar, "by" and tests, or "open:" and why.
func Rows(file string) ([]Row, error) {
	text, err := data.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	var rows []Row
	known := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := parseRow(line)
		if err == nil && known[r.ID] {
			err = fmt.Errorf("%s is there twice", r.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("read rows: %s: line %d: %w", file, n, err)
		}
		known[r.ID] = true
		rows = append(rows, r)
	}
	return rows, lines.Err()
}

func parseRow(line string) (Row, error) {
	parts := strings.Split(line, " | ")
	if len(parts) < 2 || len(parts) > 3 {
		return Row{}, fmt.Errorf("want id | words | proof, got %q", line)
	}
	r := Row{ID: strings.TrimSpace(parts[0]), Says: strings.TrimSpace(parts[1])}
	if len(parts) == 2 {
		return r, nil
	}
	proof := strings.TrimSpace(parts[2])
	if tests, ok := strings.CutPrefix(proof, "by "); ok {
		for text := range strings.SplitSeq(tests, "; ") {
			t, err := parseTest(text)
			if err != nil {
				return Row{}, err
			}
			r.Tests = append(r.Tests, t)
		}
		return r, nil
	}
	if why, ok := strings.CutPrefix(proof, "open: "); ok {
		r.Open = why
		return r, nil
	}
	return Row{}, fmt.Errorf("a proof is \"by TEST\" or \"open: WHY\", got %q", proof)
}

// parseTest reads `folder.TestName "row of its table"`, or without a row.
func parseTest(text string) (Test, error) {
	name, row, named := strings.Cut(text, " ")
	t := Test{}
	var ok bool
	if t.Folder, t.Name, ok = strings.Cut(name, "."); !ok {
		return Test{}, fmt.Errorf("a test is FOLDER.TEST, got %q", text)
	}
	if named {
		var err error
		if t.Row, err = strconv.Unquote(row); err != nil {
			return Test{}, fmt.Errorf("a row of %s is a quoted text, got %q", name, row)
		}
	}
	return t, nil
}
