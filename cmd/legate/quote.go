package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"legate/config"
)

// quotes shows the lines that problems are about, so that nobody has to open the file.
// What may hold a secret is not shown: output ends up in other people's logs.
type quotes struct {
	files map[string][]string // lines of the files that were asked for
}

// secretKinds are objects that hold secrets in places that cannot be told.
var secretKinds = regexp.MustCompile(`\bkind["']?\s*:\s*["']?(Secret|Filter)\b`)

// confidential are words by which a line may hold a secret; references are those among
// them that only name where one is.
var (
	confidential = regexp.MustCompile(`(?i)secret|passw|passphrase|token|authoriz|cookie|credential|api.?key|private`)
	references   = regexp.MustCompile(`(?i)\b(tls|ca|crl)_?secret\b|\bsecret_?name(space|spacing)?\b|private_?key_?file`)
)

// of returns the line of p's file that p is about with a mark below its column, indented
// and each ended by a line feed; "" where there is nothing to see.
func (q *quotes) of(p *config.Problem) string {
	if p.Ref.File == "" || p.Ref.Line < 1 || secretKinds.MatchString("kind: "+p.Ref.Kind) {
		return ""
	}
	lines := q.lines(p.Ref.File)
	if p.Ref.Line > len(lines) {
		return ""
	}
	line := lines[p.Ref.Line-1]
	switch {
	case !utf8.ValidString(line), !shows(line, p):
		return ""
	case confidential.MatchString(references.ReplaceAllString(line, "")), secretKinds.MatchString(document(lines, p.Ref.Line-1)):
		return ""
	}
	text, mark := clip(line, max(p.Ref.Col, 1)-1)
	number := fmt.Sprintf("%6d", p.Ref.Line)
	return number + " | " + strings.TrimRightFunc(text, unicode.IsSpace) + "\n" +
		strings.Repeat(" ", len(number)) + " | " + strings.Repeat(" ", mark) + "^\n"
}

// shows reports whether there is on line what p is about. What is missing stands nowhere,
// and of a whole object the first line tells nothing.
func shows(line string, p *config.Problem) bool {
	if p.Field == "" {
		return p.Ref.Name == "" && (p.Ref.Kind == "" || strings.HasPrefix(p.Msg, "cannot be read")) // text that is no YAML
	}
	name := p.Field[strings.LastIndexByte(p.Field, '.')+1:]
	return strings.HasSuffix(name, "]") || strings.Contains(line, name)
}

// lines returns the lines of a file, none if it cannot be read.
func (q *quotes) lines(path string) []string {
	lines, known := q.files[path]
	if known {
		return lines
	}
	if text, err := os.ReadFile(path); err == nil {
		lines = strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
	}
	if q.files == nil {
		q.files = map[string][]string{}
	}
	q.files[path] = lines
	return lines
}

// document returns the document that the line at i is in.
func document(lines []string, i int) string {
	first, end := i, i+1
	for first > 0 && !strings.HasPrefix(lines[first], "---") {
		first--
	}
	for end < len(lines) && !strings.HasPrefix(lines[end], "---") {
		end++
	}
	return strings.Join(lines[first:end], "\n")
}

// The most of a line that is shown, and how much of that before the mark.
const (
	shownWidth  = 120
	shownBefore = 40
)

// clip returns the part of line around the character at col, as it can be printed, and
// where in it that character is.
func clip(line string, col int) (text string, mark int) {
	runes := []rune(line)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' ' // a tab, or what would move a terminal's cursor
		}
	}
	col = min(col, len(runes))
	if len(runes) <= shownWidth {
		return string(runes), col
	}
	first := max(0, min(col-shownBefore, len(runes)-shownWidth))
	last := min(len(runes), first+shownWidth)
	text = string(runes[first:last])
	if last < len(runes) {
		text += "…"
	}
	if first > 0 {
		return "…" + text, col - first + 1
	}
	return text, col - first
}
