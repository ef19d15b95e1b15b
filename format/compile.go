package format

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"legate/wire"
)

// A Use says what a format is for.
type Use uint8

// The uses. What a header or a body cannot say, as clients would see it, has no value
// there; what a log must not hold is redacted in it.
const (
	Header Use = iota // a value; nothing stands where there is none
	Body              // of an answer; "-" stands where there is no value
	Log               // a line; "-" stands where there is no value
)

// secrets are the headers whose values no log holds.
var secrets = wire.SetOf(wire.FieldAuthorization, wire.FieldProxyAuthorization, wire.FieldCookie, wire.FieldSetCookie)

// Secret reports whether no log holds the values of a header.
func Secret(f wire.Field) bool { return secrets.Has(f) }

// A compiler makes one Format.
type compiler struct {
	Format
	use     Use
	style   style
	quoted  bool // the text stands in quotes of JSON
	notices []string
}

// Compile makes text ready. notices say what of it has no value here; err says, for
// its author, why it makes no sense.
func Compile(text string, use Use) (f *Format, notices []string, err error) {
	c := &compiler{use: use, style: [...]style{Header: bare, Body: dashed, Log: line}[use]}
	if err := c.text(text); err != nil {
		return nil, nil, err
	}
	return &c.Format, c.notices, nil
}

// text adds the steps of one text with commands.
func (c *compiler) text(text string) error {
	for {
		plain, rest, found := strings.Cut(text, "%")
		if c.quoted {
			plain = string(AppendEscaped(nil, plain))
		}
		c.literal(plain)
		if !found {
			return nil
		}
		if strings.HasPrefix(rest, "%") {
			c.literal("%")
			text = rest[1:]
			continue
		}
		n, err := c.command(rest)
		if err != nil {
			return err
		}
		text = rest[n:]
	}
}

// literal adds ready text, to the ready text before it if there is some.
func (c *compiler) literal(text string) {
	if text == "" {
		return
	}
	if last := len(c.steps) - 1; last >= 0 && c.steps[last].cmd == nil {
		c.steps[last].text = append(c.steps[last].text, text...)
		return
	}
	c.steps = append(c.steps, step{text: []byte(text)})
}

// command adds the command that text begins with, behind its first %, and returns how
// long it is with its last.
func (c *compiler) command(text string) (n int, err error) {
	name := text[:len(text)-len(strings.TrimLeft(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))]
	known, ok := commands[name]
	arg, limit, length, whole := split(text, len(name))
	switch {
	case name == "" || !whole:
		return 0, fmt.Errorf("%q does not begin a %%COMMAND%%; a %% by itself is written %%%%", "%"+clip(text))
	case !ok:
		return 0, fmt.Errorf("there is no command %%%s%%", name)
	}
	cmd := &Command{Op: known.op, max: limit}
	if err := cmd.read(known.takes, arg); err != nil {
		return 0, fmt.Errorf("%%%s%%: %w", name, err)
	}
	c.add(cmd, known, name)
	return length, nil
}

// split finds what follows a command's name: (ARG), :N and the last %.
func split(text string, at int) (arg *string, limit, n int, ok bool) {
	tail := text[at:]
	if !strings.HasPrefix(tail, "(") {
		limit, n, ok = end(tail)
		return nil, limit, at + n, ok
	}
	for from := 1; ; from++ { // an argument may hold parentheses
		i := strings.IndexByte(tail[from:], ')')
		if i < 0 {
			return nil, 0, 0, false
		}
		from += i
		if limit, n, ok = end(tail[from+1:]); ok {
			a := tail[1:from]
			return &a, limit, at + from + 1 + n, true
		}
	}
}

// end reads [:N]% at the beginning of text.
func end(text string) (limit, n int, ok bool) {
	limit = -1
	if rest, found := strings.CutPrefix(text, ":"); found {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		number, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return 0, 0, false
		}
		limit, n = int(number), 1+len(digits)
	}
	return limit, n + 1, strings.HasPrefix(text[n:], "%")
}

func clip(text string) string {
	if len(text) > 20 {
		return text[:20] + "…"
	}
	return text
}

// read reads what stands in parentheses; nil stands for no parentheses.
func (cmd *Command) read(takes shape, arg *string) error {
	given := ""
	if arg != nil {
		given = *arg
	}
	switch takes {
	case noArg:
		if arg != nil {
			return fmt.Errorf("takes nothing in parentheses, got %q", given)
		}
	case aField:
		name, alt, two := strings.Cut(given, "?")
		if !isFieldName(name) || two && !isFieldName(alt) || strings.Contains(alt, "?") {
			return fmt.Errorf("must be told the name of a header, as in REQ(NAME) or REQ(NAME?ALT), got %q", given)
		}
		cmd.Name, cmd.Alt = newField(name), newField(alt)
	case aTime:
		times, err := parseTime(given)
		if err != nil {
			return err
		}
		cmd.times = times
	case aStatus:
		switch given {
		case "", "CAMEL_STRING", "SNAKE_STRING", "NUMBER":
			cmd.Arg = given
		default:
			return fmt.Errorf("takes CAMEL_STRING, SNAKE_STRING or NUMBER, got %q", given)
		}
	case anyArg:
		cmd.Arg = given
	}
	return nil
}

func newField(name string) Field {
	lower := strings.ToLower(name)
	return Field{ID: wire.LookupField([]byte(lower)), Name: lower}
}

// isFieldName reports whether name may be that of a header or a pseudo-header.
func isFieldName(name string) bool {
	name = strings.TrimPrefix(name, ":")
	return name != "" && strings.Trim(name, "!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// add adds a command that is understood.
func (c *compiler) add(cmd *Command, known command, name string) {
	switch {
	case cmd.Op == hostname:
		if host, err := os.Hostname(); err == nil {
			if cmd.max >= 0 && cmd.max < len(host) {
				host = host[:cmd.max]
			}
			c.constant(host)
			return
		}
		cmd.Op = nothing
	case cmd.Op == nothing:
		c.notices = append(c.notices, "%"+name+"% has no value in this gateway")
	case known.logOnly && c.use != Log:
		c.notices = append(c.notices, "%"+name+"% is for logs: clients must not see it")
		cmd.Op = nothing
	}
	if cmd.Op == nothing {
		c.constant(missing[c.style])
		return
	}
	if c.use == Log {
		cmd.redacted = cmd.Op <= Trailer && (secrets.Has(cmd.Name.ID) || secrets.Has(cmd.Alt.ID))
		if known.early {
			cmd.Slot = len(c.early)
			c.early = append(c.early, cmd)
		}
	}
	c.steps = append(c.steps, step{cmd: cmd, style: c.style})
}

// constant adds a value that never changes.
func (c *compiler) constant(value string) {
	if c.style == typed && value != "null" {
		value = string(AppendEscaped([]byte{'"'}, value)) + `"`
	} else if c.style == line {
		value = string(AppendEscaped(nil, value))
	}
	c.literal(value)
}
