package format

import (
	"fmt"
	"strings"

	"legate/config"
)

// CompileJSON makes t ready, which is an object as a rule. What it makes is JSON: with
// every value a text, as Ambassador's json has it, and "-" for what is missing; or,
// if typed, with numbers where a command alone stands for one, and null for what is
// missing. notices and err are those of Compile; err begins with the field at fault.
func CompileJSON(t *config.Template, use Use, types bool) (f *Format, notices []string, err error) {
	c := &compiler{use: use}
	if err := c.json(t, types, ""); err != nil {
		return nil, nil, err
	}
	return &c.Format, c.notices, nil
}

// json adds the steps of t. path leads to it.
func (c *compiler) json(t *config.Template, types bool, path string) error {
	switch t.Kind {
	case config.TemplateObject:
		open := "{"
		for i := range t.Fields {
			f := &t.Fields[i]
			c.literal(open + `"` + string(AppendEscaped(nil, f.Name)) + `":`)
			if err := c.json(&f.Value, types, join(path, f.Name)); err != nil {
				return err
			}
			open = ","
		}
		if len(t.Fields) == 0 {
			c.literal(open)
		}
		c.literal("}")
		return nil
	case config.TemplateList:
		c.literal("[")
		for i := range t.Items {
			if i > 0 {
				c.literal(",")
			}
			if err := c.json(&t.Items[i], types, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		c.literal("]")
		return nil
	case config.TemplateNull:
		c.literal("null")
		return nil
	case config.TemplateNumber, config.TemplateBool:
		if types {
			c.literal(t.Text)
			return nil
		}
	case config.TemplateText:
	}
	if err := c.value(t.Text, types); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// value adds a text. A command and nothing else may have a type.
func (c *compiler) value(text string, types bool) error {
	if types && isCommand(text) {
		c.style = typed
		return c.text(text)
	}
	c.style, c.quoted = line, true
	c.literal(`"`)
	if err := c.text(text); err != nil {
		return err
	}
	c.literal(`"`)
	c.quoted = false
	return nil
}

// isCommand reports whether text is one command.
func isCommand(text string) bool {
	rest, ok := strings.CutPrefix(text, "%")
	if !ok {
		return false
	}
	n, err := new(compiler).command(rest)
	return err == nil && n == len(rest)
}
