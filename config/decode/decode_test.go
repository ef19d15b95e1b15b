package decode

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"legate/config"
)

const twoMappings = `# first
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: a}
spec:
  prefix: /a/
  service: a
  nonsense: 1
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: b}
spec: {prefix: /b/, service: b}
`

// The same text says the same, however an editor or a shell encodes it.
func TestEncodings(t *testing.T) {
	want := dump(Bytes(Options{}, "in.yaml", []byte(twoMappings)))
	utf := func(order binary.AppendByteOrder) []byte {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + twoMappings)) {
			b = order.AppendUint16(b, u)
		}
		return b
	}
	for name, text := range map[string][]byte{
		"CRLF":                   []byte(strings.ReplaceAll(twoMappings, "\n", "\r\n")),
		"byte order mark":        []byte("\xef\xbb\xbf" + twoMappings),
		"no newline at the end":  []byte(strings.TrimSuffix(twoMappings, "\n")),
		"UTF-16, big end first":  utf(binary.BigEndian),
		"UTF-16, small end":      utf(binary.LittleEndian),
		"white space at the end": []byte(twoMappings + "\n  \n---\n\n"),
		"end markers":            []byte(strings.Replace(twoMappings, "---\n", "...\n", 1)),
	} {
		if got := dump(Bytes(Options{}, "in.yaml", text)); got != want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", name, got, want)
		}
	}
}

func TestChunks(t *testing.T) {
	type want struct {
		line int
		text string
	}
	for _, test := range []struct {
		text string
		want []want
	}{
		{"", nil},
		{"# only\n---\n# comments\n", nil},
		{"%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2", []want{{2, "---\na: 1\n"}, {6, "---\nb: 2"}}},
		{"a: |\n  ---\n ---x\n----\n--- b\n---\tc", []want{{1, "a: |\n  ---\n ---x\n----\n"}, {5, "--- b\n"}, {6, "---\tc"}}},
		{"a\r\n---\r\nb\r\n", []want{{1, "a\r\n"}, {2, "---\r\nb\r\n"}}},
	} {
		var got []want
		for c := range chunks([]byte(test.text)) {
			got = append(got, want{c.line, string(c.text)})
		}
		if len(got) != len(test.want) {
			t.Errorf("%q: got %v, want %v", test.text, got, test.want)
			continue
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%q: chunk %d is %v, want %v", test.text, i, got[i], test.want[i])
			}
		}
	}
}

func TestUnchangedDocumentsAreNotDecodedAgain(t *testing.T) {
	d := New(Options{})
	before := d.File("in.yaml", []byte(twoMappings))
	after := d.File("in.yaml", []byte(strings.Replace(twoMappings, "service: b", "service: c", 1)))
	if before[0].Value != after[0].Value {
		t.Error("a was decoded again")
	}
	if got := after[1].Value.(*config.Mapping).Service; got != "c" {
		t.Errorf("b has service %q, want c", got)
	}
	d.File("in.yaml", nil) // as an editor leaves it for a moment
	if again := d.File("in.yaml", []byte(twoMappings)); again[0].Value != before[0].Value {
		t.Error("a was forgotten at once")
	}
	for range forgetAfter + 1 {
		d.File("in.yaml", nil)
	}
	if n := len(d.files["in.yaml"].documents); n != 0 {
		t.Errorf("%d documents are remembered for ever", n)
	}
	d.Keep([]string{"other.yaml"})
	if len(d.files) != 0 {
		t.Error("a file that is gone is remembered")
	}
}

func TestMovedDocuments(t *testing.T) {
	d := New(Options{})
	before := d.File("in.yaml", []byte(twoMappings))
	was := dump(before)
	moved := "---\n# two lines more\n" + twoMappings
	got, want := d.File("in.yaml", []byte(moved)), Bytes(Options{}, "in.yaml", []byte(moved))
	if dump(got) != dump(want) {
		t.Errorf("got:\n%s\nwant:\n%s", dump(got), dump(want))
	}
	g, w := got[1].Value.(*config.Mapping), want[1].Value.(*config.Mapping)
	if g.Problem("prefix", "", 0) != w.Problem("prefix", "", 0) || g.Line != w.Line {
		t.Errorf("prefix is at %+v, want %+v", g.Problem("prefix", "", 0), w.Problem("prefix", "", 0))
	}
	if now := dump(before); now != was {
		t.Errorf("objects handed on before have changed to:\n%s", now)
	}
}

func TestDefaultNamespace(t *testing.T) {
	o := Bytes(Options{Namespace: "edge"}, "in.yaml", []byte(twoMappings))[0]
	if o.Meta.Namespace != "edge" || o.Value.(*config.Mapping).Namespace != "edge" {
		t.Errorf("namespace is %q, want edge", o.Meta.Namespace)
	}
}

func TestFieldPositions(t *testing.T) {
	m := Bytes(Options{}, "in.yaml", []byte(twoMappings))[0].Value.(*config.Mapping)
	for field, want := range map[string]string{
		"prefix":   "in.yaml:6:3: Mapping/a.default: prefix: is wrong; it is served as written",
		"nonsense": "in.yaml:8:3: Mapping/a.default: nonsense: is wrong; it is served as written",
		"rewrite":  "in.yaml:2:1: Mapping/a.default: rewrite: is wrong; it is served as written",
	} {
		if got := m.Problem(field, "is wrong", config.Notice).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	o := &object{reading: &reading{opts: Options{Lookup: environment}}}
	for in, want := range map[string]string{
		"$TARGET":               "orders.shop",
		"${TARGET}:${PORT}":     "orders.shop:8080",
		"$TARGETS $_ ${X}":      "$TARGETS $_ ${X}",
		"a$EMPTY-b":             "a-b",
		"^/x$":                  "^/x$",
		"$1 $$ ${ ${} ${A b":    "$1 $$ ${ ${} ${A b",
		"$$PORT":                "$8080",
		"(a|b)$|${PORT":         "(a|b)$|${PORT",
		"${dotted.name}${a b}":  "dotted${a b}",
		"^/(a$|b{2}$)${EMPTY}$": "^/(a$|b{2}$)$",
	} {
		if got := o.expand(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestClosest(t *testing.T) {
	known := []string{"hostname", "host", "jwt", "prefix", "timeout_ms", "tls"}
	for name, want := range map[string]string{
		"hostnam": "hostname", "hsotname": "hostname", "HOST": "host", "jtw": "jwt", "timeoutms": "timeout_ms",
		"tmeout_sm": "timeout_ms", "tl": "", "x": "", "prefixes": "prefix", "completely": "", "": "",
	} {
		if got := closest(name, known); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
