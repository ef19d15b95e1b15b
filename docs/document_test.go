package docs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A block is one fenced block of a document.
type block struct {
	lang  string
	text  string // ends with a line feed unless it is empty
	line  int    // of its first line, from 1
	after int    // index in the document's blocks of the one that follows with nothing but empty lines between; 0 for none
}

// A document is a Markdown file with its fenced blocks.
type document struct {
	path   string // from the root of the repository
	lines  []string
	blocks []block
}

// root is the repository's, seen from this folder.
const root = ".."

// documents reads the README, the change log and everything in docs.
func documents(t *testing.T) []*document {
	t.Helper()
	paths := []string{"README.md", "CHANGELOG.md"}
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			paths = append(paths, filepath.Join("docs", path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	docs := make([]*document, 0, len(paths))
	for _, path := range paths {
		docs = append(docs, read(t, path))
	}
	return docs
}

func read(t *testing.T, path string) *document {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	d := &document{path: path, lines: strings.Split(string(content), "\n")}
	if err := d.parse(); err != "" {
		t.Fatalf("%s: %s", path, err)
	}
	return d
}

// languages are those that a block may have: everything is run, loaded or shown on
// purpose.
var languages = []string{"sh", "console", "yaml", "json", "text", "go"}

// parse finds the blocks; it returns what is wrong, or "".
func (d *document) parse() string {
	open, empty := -1, false
	for i, line := range d.lines {
		lang, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open < 0:
			if !slices.Contains(languages, lang) {
				return "line " + line + ": a block must be one of " + strings.Join(languages, ", ")
			}
			if n := len(d.blocks); empty && n > 0 {
				d.blocks[n-1].after = n
			}
			d.blocks = append(d.blocks, block{lang: lang, line: i + 2})
			open = i
		case fence:
			b := &d.blocks[len(d.blocks)-1]
			if i > open+1 {
				b.text = strings.Join(d.lines[open+1:i], "\n") + "\n"
			}
			open, empty = -1, true
		case open < 0 && strings.TrimSpace(line) != "":
			empty = false
		}
	}
	if open >= 0 {
		return "a block is not closed"
	}
	return ""
}

// fileName is what the first line of a YAML block calls it: "# shop.yaml".
func (b *block) fileName() (string, bool) {
	first, _, _ := strings.Cut(b.text, "\n")
	name, ok := strings.CutPrefix(first, "# ")
	return name, ok && strings.HasSuffix(name, ".yaml") && !strings.ContainsAny(name, " /")
}

// A step is one command of a shell block with the output that the document shows.
type step struct {
	command string
	output  string
	shown   bool // the document shows its output, be it none
	line    int  // of the command
	from    int  // lines of the output, as indexes into the document's
	to      int
}

// steps returns a block's commands: those after "$ " in a console block, and the
// whole of another.
func (b *block) steps() []step {
	if b.lang != "console" {
		return []step{{command: b.text, line: b.line}}
	}
	var steps []step
	continues := false
	for i, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
		command, prompt := strings.CutPrefix(line, "$ ")
		switch n := len(steps) - 1; {
		case continues:
			steps[n].command += line + "\n"
			steps[n].from, steps[n].to = b.line+i, b.line+i
			continues = strings.HasSuffix(line, "\\")
		case prompt:
			steps = append(steps, step{command: command + "\n", shown: true, line: b.line + i, from: b.line + i, to: b.line + i})
			continues = strings.HasSuffix(line, "\\")
		case n >= 0:
			steps[n].output += line + "\n"
			steps[n].to = b.line + i
		}
	}
	return steps
}
