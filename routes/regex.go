package routes

import (
	"fmt"
	"regexp"
	"regexp/syntax"
)

// maxProgram is Ambassador's regex_max_size: a larger expression costs too much per
// request.
const maxProgram = 200

// A regexForm says what an expression is held against.
type regexForm uint8

const (
	anywhere      regexForm = iota
	fullMatch               // the whole text
	fullMatchFold           // the whole text, regardless of case
)

type regexKey struct {
	pattern string
	form    regexForm
}

// regexp compiles a pattern once for all Mappings that use it.
func (b *builder) regexp(pattern string, form regexForm) (*regexp.Regexp, error) {
	key := regexKey{pattern, form}
	if re := b.regexps[key]; re != nil {
		return re, nil
	}
	// Parsed alone first: "a)|(b" would be valid within the parentheses below.
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", pattern, err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", pattern, err)
	}
	if n := len(prog.Inst); n > maxProgram {
		return nil, fmt.Errorf("regex %q: its program size %d is larger than regex_max_size %d", pattern, n, maxProgram)
	}
	full := pattern
	switch form {
	case fullMatch:
		full = "^(?:" + pattern + ")$"
	case fullMatchFold:
		full = "(?i)^(?:" + pattern + ")$"
	case anywhere:
	}
	re, err := regexp.Compile(full)
	if err != nil {
		return nil, fmt.Errorf("regex %q: %w", pattern, err)
	}
	b.regexps[key] = re
	return re, nil
}

// programOf compiles a pattern to look at it, nil if it is none.
func programOf(pattern string) *syntax.Prog {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil
	}
	return prog
}
