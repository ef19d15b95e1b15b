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
	found  []config.Object
	visits int // nodes looked at, see visit
}

// objects decodes the chunk. Text that is no YAML is one Problem.
func (r *reading) objects() []config.Object {
	decoder := yaml.NewDecoder(bytes.NewReader(yamlText(r.chunk.text)))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return r.found
		}
		if err == nil && len(root.Content) == 1 {
			r.document(root.Content[0], 0)
			if r.visit() {
				continue
			}
			err, r.found = errTooMany, nil
		}
		if err != nil {
			r.unreadable(err)
			return r.found
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

// line returns n's line in the file.
func (r *reading) line(n *yaml.Node) int { return r.chunk.line - 1 + n.Line }

// The library's errors are text alone: "yaml: line 3: could not find expected ':'".
var yamlErrorLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// unreadable reports text that is no YAML. A protector's text may be too broken to
// say what it protects, and then it protects everything.
func (r *reading) unreadable(err error) {
	msg := err.Error()
	line := r.chunk.line
	if m := yamlErrorLine.FindStringSubmatch(msg); m != nil {
		msg = msg[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line += n - 1
		}
	}
	msg = "cannot be read as YAML: " + msg
	o := config.Object{Meta: config.Meta{File: r.file, Line: r.chunk.line, Col: 1}, Digest: r.digest}
	ref := config.Ref{File: r.file, Line: line, Col: 1}
	if kind := protectorNamed(r.chunk.text); kind != "" {
		o.Meta.Kind, ref.Kind = kind, kind
		o.IDs = []string{anyID}
		o.Value = brokenGuard(o.Meta, ambassadorKinds[kind].bypassable)
		o.Problems = []config.Problem{{Ref: ref, Msg: msg, Effect: config.RouteClosed, Instead: everythingClosed}}
	} else {
		o.Problems = []config.Problem{{Ref: ref, Msg: msg, Effect: config.ObjectDropped}}
	}
	r.found = append(r.found, o)
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
