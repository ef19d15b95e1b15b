package ambassador

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// A Row is one thing that is known of Ambassador's surface.
type Row struct {
	ID, Says string
	// Test is the Go test that proves it, as "package.TestName"; "" if cases do.
	Test string
	// Open is why nothing proves it yet.
	Open string
}

// Section is the part of the id before the first slash.
func (r *Row) Section() string {
	section, _, _ := strings.Cut(r.ID, "/")
	return section
}

// Rows returns the list of all rows, in its order. A line is an id, a bar, and what the
// row says; then, after another bar, "by" and a test, or "open:" and why.
func Rows() ([]Row, error) {
	text, err := data.ReadFile("rows.txt")
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
			return nil, fmt.Errorf("read rows: line %d: %w", n, err)
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
	if test, ok := strings.CutPrefix(proof, "by "); ok {
		r.Test = test
		return r, nil
	}
	if why, ok := strings.CutPrefix(proof, "open: "); ok {
		r.Open = why
		return r, nil
	}
	return Row{}, fmt.Errorf("a proof is \"by TEST\" or \"open: WHY\", got %q", proof)
}
