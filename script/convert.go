package script

import (
	"errors"
	"iter"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// maxDepth is how deep tables may nest that outlive their hook.
const maxDepth = 16

var (
	errTooDeep = errors.New("the value holds tables that nest too deeply")
	errNoValue = errors.New("only texts, numbers, booleans and tables can be kept")
)

// fromLua copies a value out of its machine.
func fromLua(v lua.LValue, depth int) (any, error) {
	switch v := v.(type) {
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		return float64(v), nil
	case lua.LBool:
		return bool(v), nil
	case *lua.LTable:
		return fromTable(v, depth)
	}
	return nil, errNoValue
}

// fromTable copies a table: a list if it is one.
func fromTable(t *lua.LTable, depth int) (any, error) {
	if depth == maxDepth {
		return nil, errTooDeep
	}
	var list []any
	fields, failed := map[string]any{}, error(nil)
	t.ForEach(func(key, value lua.LValue) {
		copied, err := fromLua(value, depth+1)
		if err != nil {
			failed = err
			return
		}
		if _, number := key.(lua.LNumber); number {
			list = append(list, copied)
		} else {
			fields[key.String()] = copied
		}
	})
	switch {
	case failed != nil:
		return nil, failed
	case len(fields) == 0 && len(list) > 0:
		return list, nil
	}
	return fields, nil
}

// toLua copies a value into a machine.
func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case string:
		return lua.LString(v)
	case float64:
		return lua.LNumber(v)
	case bool:
		return lua.LBool(v)
	case []any:
		t := l.NewTable()
		for _, each := range v {
			t.Append(toLua(l, each))
		}
		return t
	case map[string]any:
		return toTable(l, v)
	}
	return lua.LNil
}

func toTable(l *lua.LState, fields map[string]any) *lua.LTable {
	t := l.NewTable()
	for key, value := range fields {
		t.RawSetString(key, toLua(l, value))
	}
	return t
}

// splitList goes through a list that commas divide.
func splitList(text string) iter.Seq[string] { return strings.SplitSeq(text, ",") }
