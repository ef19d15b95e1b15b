package main

import (
	"os"
	"strings"
	"testing"

	"legate/decision"
)

func TestDocumentIsUpToDate(t *testing.T) {
	var b strings.Builder
	write(&b)
	got, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/reasons.md differs from the table: run make generate")
	}
}

func TestEveryReasonHasARow(t *testing.T) {
	var b strings.Builder
	write(&b)
	for r := decision.None + 1; r < decision.NumReasons; r++ {
		if n := strings.Count(b.String(), "\n| `"+r.String()+"` |"); n != 1 {
			t.Errorf("%v has %d rows", r, n)
		}
	}
}
