package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"legate/config"
)

func TestQuotes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.yaml")
	long := "long: [" + strings.Repeat("a, ", 60) + "wrong, " + strings.Repeat("b, ", 60) + "]"
	text := strings.Join([]string{
		"\ufeffkind: Mapping", // line 1
		"spec:",
		"  timeout_ms: soon\r",
		"\tprefix: /\x1b[31m",
		"  add_request_headers: {authorization: Basic YTpi}",
		"  tlsSecret: {name: shop-cert}",
		"  - 5",
		long,
		"  \xff prefix: /", // line 9
		"---",
		"kind: Secret",
		"broken: [s3cr3t",
		"---",
		`{"kind": "Filter", "prefix": "s3cr3t"}`,
	}, "\n")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, kind, field string
		line, col         int
		want              string
	}{
		{"a field", "Mapping", "timeout_ms", 3, 3, "     3 |   timeout_ms: soon\n       |   ^\n"},
		{"a tab and an escape", "Mapping", "prefix", 4, 2, "     4 |  prefix: / [31m\n       |  ^\n"},
		{"the first line of a file", "", "", 1, 7, "     1 | kind: Mapping\n       |       ^\n"},
		{"the name of a Secret", "Host", "tlsSecret", 6, 3, "     6 |   tlsSecret: {name: shop-cert}\n       |   ^\n"},
		{"an item", "Mapping", "hosts[0]", 7, 5, "     7 |   - 5\n       |     ^\n"},
		{"a long line", "Mapping", "long[60]", 8, 188, "     8 | …" + long[147:267] + "…\n       | " + strings.Repeat(" ", 41) + "^\n"},
		{"a column beyond the line", "", "", 2, 99, "     2 | spec:\n       |      ^\n"},
		{"what is missing", "Mapping", "service", 1, 1, ""},
		{"a whole object", "Mapping", "", 1, 1, ""},
		{"a line beyond the file", "Mapping", "prefix", 99, 1, ""},
		{"no line", "Mapping", "prefix", 0, 0, ""},
		{"a line with a secret", "Mapping", "add_request_headers", 5, 3, ""},
		{"a Secret", "Secret", "broken", 12, 1, ""},
		{"a Secret that cannot be read", "", "", 12, 1, ""},
		{"a document with a Filter", "Mapping", "prefix", 14, 1, ""},
		{"no text", "Mapping", "prefix", 9, 1, ""},
	} {
		var q quotes
		p := config.Problem{Ref: config.Ref{Kind: c.kind, File: path, Line: c.line, Col: c.col}, Field: c.field}
		if got := q.of(&p); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.what, got, c.want)
		}
	}
	var q quotes
	if got := q.of(&config.Problem{Ref: config.Ref{File: path + ".gone", Line: 1}}); got != "" {
		t.Errorf("a file that is gone: %s", got)
	}
}
