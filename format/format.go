// Package format holds Envoy's %COMMAND% formats, compiled: text with places that a
// request fills. It knows how formats are written and how values are rendered; what
// the values of a request are, a Source says.
package format

import (
	"time"

	"legate/wire"
)

// A Source says what commands stand for in one request.
type Source interface {
	// AppendCommand appends the value of c to dst, in full and as it is. It reports
	// false, and appends nothing, where there is no value.
	AppendCommand(dst []byte, c *Command) ([]byte, bool)
}

// A Command is one %COMMAND% of a format.
type Command struct {
	Op   Op
	Name Field // of REQ, RESP and TRAILER
	Alt  Field // asked for where there is no Name; empty for none
	Arg  string
	// Slot tells commands of one format apart that must be asked before the answer is
	// given back: see Format.Early.
	Slot int

	max      int // bytes of the value that are written; -1 for all
	redacted bool
	times    timeFormat
}

// A Field is the name of a header, in lower case.
type Field struct {
	ID   wire.Field
	Name string
}

// AppendTime appends t as cmd asks for times. Budget: 0 allocs.
func (cmd *Command) AppendTime(dst []byte, t time.Time) []byte { return cmd.times.append(dst, t) }

// A style is how the value of a command is written.
type style uint8

const (
	bare   style = iota // as it is; nothing where there is none: headers
	dashed              // as it is, "-" where there is none: bodies
	line                // escaped, "-" where there is none: lines of a log and texts of JSON
	typed               // a value of JSON, null where there is none
)

// A step is ready text, or a command.
type step struct {
	text  []byte
	cmd   *Command
	style style
}

// A Format is a compiled format. It is never changed, and used by many requests at
// once.
type Format struct {
	steps []step
	early []*Command
}

// Early returns the commands whose values are gone with the upstream's answer, each
// with its Slot, from 0 on.
func (f *Format) Early() []*Command { return f.early }

// Constant returns the text that f always makes, and whether it does.
func (f *Format) Constant() ([]byte, bool) {
	switch {
	case len(f.steps) == 0:
		return nil, true
	case len(f.steps) == 1 && f.steps[0].cmd == nil:
		return f.steps[0].text, true
	}
	return nil, false
}

// Append appends what f makes of src. Budget: 0 allocs once dst has grown.
func (f *Format) Append(dst []byte, src Source) []byte {
	for i := range f.steps {
		s := &f.steps[i]
		if s.cmd == nil {
			dst = append(dst, s.text...)
			continue
		}
		dst = s.append(dst, src)
	}
	return dst
}

// append appends the value of one command in the step's style.
func (s *step) append(dst []byte, src Source) []byte {
	start := len(dst)
	text := s.style == typed && !s.cmd.Op.numeric()
	if text {
		dst = append(dst, '"')
	}
	from := len(dst)
	dst, ok := src.AppendCommand(dst, s.cmd)
	if !ok || s.style == typed && !text && s.cmd.max == 0 {
		return append(dst[:start], missing[s.style]...)
	}
	if s.cmd.redacted {
		dst = append(dst[:from], "[redacted]"...)
	}
	if s.cmd.max >= 0 && len(dst)-from > s.cmd.max {
		dst = dst[:from+s.cmd.max]
	}
	switch s.style {
	case line, typed:
		dst = escapeFrom(dst, from)
	case bare:
		clean(dst[from:])
	case dashed:
	}
	if text {
		dst = append(dst, '"')
	}
	return dst
}

// missing is what stands where there is no value.
var missing = [...]string{bare: "", dashed: "-", line: "-", typed: "null"}

// clean blanks what would end a header's line: certificates may hold any byte.
func clean(value []byte) {
	for i, c := range value {
		if c < 0x20 && c != '\t' || c == 0x7f {
			value[i] = ' '
		}
	}
}
