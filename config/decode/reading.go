package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// A reading is the decoding of one chunk.
type reading struct {
	opts   Options
	file   string
	chunk  chunk
	digest config.Digest
	found  []*config.Object
	visits int // nodes looked at, see visit
	// within is the annotation that is read; nil for the text of a file.
	within *annotation
	// unplaced is true for a text whose lines mean nothing to its author.
	unplaced bool
	// expects, if not nil, is told what is expected of every field that is asked for.
	expects func(f *fields, name string, s shape)
}

// objects decodes the chunk. Text that is no YAML is one Problem.
func (r *reading) objects() []*config.Object {
	if err := r.read(); err != nil {
		r.unreadable(err)
	}
	return r.found
}

// read decodes the chunk until its end or what is no YAML.
func (r *reading) read() error {
	decoder := yaml.NewDecoder(bytes.NewReader(yamlText(r.chunk.text)))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(root.Content) != 1 {
			continue
		}
		r.document(root.Content[0], 0)
		if !r.visit() {
			r.found = nil
			return errTooMany
		}
	}
}

var errTooMany = errors.New("its aliases stand for too many objects")

// visit counts a node that is looked at and reports whether there may be more.
// Aliases let a text of one kilobyte stand for a billion nodes; what is not made
// to do that looks at no node more than a few times.
func (r *reading) visit() bool {
	r.visits++
	return r.visits <= max(100_000, 4*len(r.chunk.text))
}

// nowhere reports whether nothing can be said of where in the text something is.
func (r *reading) nowhere() bool { return r.unplaced && r.within == nil }

// line returns n's line in the file, or in an annotation that is folded.
func (r *reading) line(n *yaml.Node) int { return r.chunk.line - 1 + n.Line }

// column returns n's column, in what line counts.
func (r *reading) column(n *yaml.Node) int {
	if r.within != nil {
		return n.Column + r.within.indent
	}
	return n.Column
}

// ref returns where n is written. Whose part it is, is not known yet.
func (r *reading) ref(n *yaml.Node) config.Ref {
	if r.nowhere() {
		return config.Ref{File: r.file}
	}
	ref := config.Ref{File: r.file, Line: r.line(n), Col: r.column(n)}
	if a := r.within; a != nil {
		ref = a.ref(ref)
	}
	return ref
}

// The library's errors are text alone: "yaml: line 3: could not find expected ':'".
var yamlErrorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlParserError matches what the library's parser finds wrong with what its scanner
// made of the text. These errors alone count lines from 0.
var yamlParserError = regexp.MustCompile(`^did not find expected (<|node content|key|'-' indicator|',' or)|^found (incompatible YAML|duplicate %|undefined tag)`)

// unreadable reports text that is no YAML. A protector's text may be too broken to
// say what it protects, and then it protects everything.
func (r *reading) unreadable(err error) {
	msg, line := yamlError(err, r.chunk.text)
	o := config.Object{Meta: config.Meta{File: r.file, Line: r.chunk.line, Col: 1}, Digest: r.digest, Broken: true}
	p := config.Problem{Ref: config.Ref{File: r.file, Line: r.chunk.line - 1 + line, Col: 1}, Msg: msg, Effect: config.ObjectDropped}
	r.found = append(r.found, lost(o, p, r.chunk.text))
}

// lost is what stands for a text that cannot be read: p says why. If the text speaks
// of a protector, everything is closed that it could guard.
func lost(o config.Object, p config.Problem, text []byte) *config.Object {
	if kind := protectorNamed(text); kind != "" {
		o.Meta.Kind = kind
		if p.Ref.Kind == "" {
			p.Ref.Kind = kind
		}
		o.IDs = []string{anyID}
		o.Value = brokenGuard(o.Meta, ambassadorKinds[kind].bypassable)
		p.Effect, p.Instead = config.RouteClosed, everythingClosed
	}
	if p.Ref.Kind == "" && hostText.Match(text) {
		p.Ref.Kind = "Host" // without which another may not be assumed
	}
	o.Problems = []config.Problem{p}
	return &o
}

// yamlError words the library's error and returns the line of the text it is about, its
// last one for what is missing at its end.
func yamlError(err error, text []byte) (msg string, line int) {
	msg, line = err.Error(), 1
	if m := yamlErrorLine.FindStringSubmatch(msg); m != nil {
		msg = msg[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if yamlParserError.MatchString(msg) {
				line++
			}
		}
	}
	return "cannot be read as YAML: " + msg, min(line, bytes.Count(bytes.TrimRight(text, " \t\r\n"), []byte("\n"))+1)
}

// yamlText rewrites the escapes of JSON that the YAML library does not know: a
// slash, and the two that write a character beyond 16 bits.
func yamlText(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\/`)) && !bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) || !json.Valid(text) {
		return text
	}
	return jsonEscape.ReplaceAllFunc(text, func(e []byte) []byte {
		switch {
		case string(e) == `\/`:
			return e[1:]
		case len(e) == 2:
			return e
		}
		high, _ := strconv.ParseUint(string(e[2:6]), 16, 16)
		low, _ := strconv.ParseUint(string(e[8:12]), 16, 16)
		return fmt.Appendf(nil, `\U%08X`, utf16.DecodeRune(rune(high), rune(low)))
	})
}

// jsonEscape matches an escape; a pair of surrogates as one.
var jsonEscape = regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)

// shown renders a node for a message, in a few words.
func shown(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "an object"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	text := []rune(strings.ToValidUTF8(n.Value, "?"))
	if len(text) > 60 {
		text = append(text[:57], '.', '.', '.')
	}
	return strconv.Quote(string(text))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
