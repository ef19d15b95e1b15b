// Package templates renders the text/templates of Filters and RateLimits: values of
// headers and bodies of answers, from what is known of a token and a request. It knows
// neither where a token comes from nor what becomes of a header.
package templates

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/template"
	"text/template/parse"
)

// A Template is compiled once and used by many requests at once.
type Template struct {
	tree  *template.Template
	whole bool            // it uses its data as a whole
	names names           // that it uses
	ends  map[string]bool // names of what it uses as a whole
}

// names are the names that a template uses of anything, and whether it looks further
// into what they stand for.
type names map[string]bool

// errUnset says that a header is not to be set.
var errUnset = errors.New("doNotSet")

// Header compiles the value of a header. It may use hasKey and doNotSet.
func Header(text string) (*Template, error) {
	return compile(text, template.FuncMap{
		"hasKey":   hasKey,
		"doNotSet": func() (string, error) { return "", errUnset },
	})
}

// Body compiles the body of an answer. It may use hasKey and json.
func Body(text string) (*Template, error) {
	return compile(text, template.FuncMap{"hasKey": hasKey, "json": indented})
}

func compile(text string, funcs template.FuncMap) (*Template, error) {
	tree, err := template.New("").Funcs(funcs).Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, plain(err)
	}
	t := &Template{tree: tree, names: names{}, ends: map[string]bool{}}
	for _, defined := range tree.Templates() {
		if defined.Tree != nil {
			t.walk(defined.Root)
		}
	}
	return t, nil
}

// plain returns err without the name of a template that has none.
func plain(err error) error { return errors.New(strings.TrimPrefix(err.Error(), "template: :")) }

// Uses reports whether t may look at what is called name.
func (t *Template) Uses(name string) bool {
	_, named := t.names[name]
	return named || t.whole
}

// PerRequest reports whether what t makes depends on the request, and not on its token
// alone.
func (t *Template) PerRequest() bool { return t.Uses(requestHeader) }

// Value returns what t makes of data for a header, and false where the header is not to
// be set: t says so, it shows a claim in short form that is missing, or what it makes no
// field can carry.
func (t *Template) Value(data map[string]any) (value string, set bool, err error) {
	var b bytes.Buffer
	err = t.tree.Execute(&b, data)
	switch {
	case errors.Is(err, errUnset):
		return "", false, nil
	case err != nil:
		return "", false, plain(err)
	}
	value, set = fieldValue(b.String())
	return value, set, nil
}

// Text returns what t makes of data, as it is. data is an object of JSON, or a Document.
func (t *Template) Text(data any) (string, error) {
	var b strings.Builder
	if err := t.tree.Execute(&b, data); err != nil {
		return "", plain(err)
	}
	return b.String(), nil
}

var lineEnds = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")

// fieldValue makes text the value of a field (RFC 9110 §5.5): on one line, and without the
// space around it that templates leave. It reports false for one with control characters,
// which no field carries.
func fieldValue(text string) (string, bool) {
	text = strings.Trim(lineEnds.Replace(text), " \t")
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return text, true
}

// hasKey is Sprig's.
func hasKey(m any, name string) (bool, error) {
	switch m := m.(type) {
	case map[string]any:
		_, has := m[name]
		return has, nil
	case Token:
		value, has := m[name]
		return has && !isAbsent(value), nil
	case shortObject:
		_, has := m[name]
		return has, nil
	case http.Header:
		_, has := m[name]
		return has, nil
	case nil, absent, absentObject:
		return false, nil
	}
	return false, fmt.Errorf("hasKey: a %T has no keys", m)
}

// indented is the function json of bodies: value with one tab a level, and prefix at the
// beginning of each line but the first.
func indented(prefix string, value any) (string, error) {
	b, err := json.MarshalIndent(value, prefix, "\t")
	return string(b), err
}

// walk notes what n and what is below it use.
func (t *Template) walk(n parse.Node) {
	switch n := n.(type) {
	case *parse.FieldNode:
		t.uses(n.Ident)
	case *parse.VariableNode:
		t.uses(n.Ident[1:])
		t.whole = t.whole || len(n.Ident) == 1 && n.Ident[0] == "$"
	case *parse.ChainNode:
		t.uses(n.Field)
	case *parse.StringNode: // index takes names too
		t.uses([]string{n.Text})
	case *parse.DotNode:
		t.whole = true
	}
	for _, c := range children(n) {
		t.walk(c)
	}
}

func (t *Template) uses(chain []string) {
	for i, name := range chain {
		last := i+1 == len(chain)
		t.names[name], t.ends[name] = t.names[name] || !last, t.ends[name] || last
	}
}

// children returns the nodes below n.
func children(n parse.Node) (list []parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		return n.Nodes
	case *parse.ActionNode:
		return []parse.Node{n.Pipe}
	case *parse.CommandNode:
		return n.Args
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			list = append(list, c)
		}
	case *parse.ChainNode:
		return []parse.Node{n.Node}
	case *parse.TemplateNode:
		if n.Pipe != nil {
			return []parse.Node{n.Pipe}
		}
	case *parse.IfNode:
		return branches(&n.BranchNode)
	case *parse.RangeNode:
		return branches(&n.BranchNode)
	case *parse.WithNode:
		return branches(&n.BranchNode)
	}
	return list
}

func branches(b *parse.BranchNode) []parse.Node {
	list := []parse.Node{b.Pipe, b.List}
	if b.ElseList != nil {
		list = append(list, b.ElseList)
	}
	return list
}
