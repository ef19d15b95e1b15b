package script

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
)

const (
	// maxInstructions is how many instructions of Lua a hook may take: some tens of
	// milliseconds, where a hook that edits headers takes a hundred instructions.
	maxInstructions = 1_000_000
	// maxRepeated is the longest text that string.rep makes.
	maxRepeated = 1 << 20
)

var (
	errTooLong = errors.New("the hook takes too long")
	errReplied = errors.New("the hook has answered")
)

// A machine is one state of Lua with the script's functions and variables. It is also the
// context by which the library asks, before each instruction, whether to go on.
type machine struct {
	state *lua.LState
	left  int  // instructions
	ended bool // nothing more is to be done
	now   *handle
}

var _ context.Context = (*machine)(nil)

// newMachine makes a machine with what of Lua's libraries touches nothing outside of it.
func newMachine() *machine {
	m := &machine{state: lua.NewState(lua.Options{
		SkipOpenLibs: true, CallStackSize: 200, MinimizeStackMemory: true,
		RegistrySize: 1 << 10, RegistryMaxSize: 64 << 10, RegistryGrowStep: 1 << 10,
	})}
	for _, lib := range []struct {
		name string
		open lua.LGFunction
	}{{lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath}, {lua.OsLibName, lua.OpenOs}} {
		m.state.Push(m.state.NewFunction(lib.open))
		m.state.Push(lua.LString(lib.name))
		m.state.Call(1, 0)
	}
	m.restrict()
	m.types()
	m.state.SetContext(m)
	return m
}

// restrict takes away what reads files, starts processes or ends this one, and bounds
// what grows without an instruction.
func (m *machine) restrict() {
	l := m.state
	for _, name := range []string{"dofile", "loadfile", "module", "require", "newproxy", "_printregs", "collectgarbage"} {
		l.SetGlobal(name, lua.LNil)
	}
	os := l.GetGlobal(lua.OsLibName).(*lua.LTable) //nolint:forcetypeassert // the library made it
	for _, name := range []string{"execute", "exit", "remove", "rename", "setenv", "setlocale", "tmpname"} {
		os.RawSetString(name, lua.LNil)
	}
	l.SetGlobal("print", l.NewFunction(m.print))
	l.SetGlobal("pairs", l.NewClosure(pairs, l.GetGlobal("pairs")))
	texts := l.GetGlobal(lua.StringLibName).(*lua.LTable) //nolint:forcetypeassert // the library made it
	texts.RawSetString("rep", l.NewClosure(repeat, texts.RawGetString("rep")))
	scale := l.NewTable()
	scale.RawSetString("MILLISECOND", lua.LNumber(milliseconds))
	scale.RawSetString("MICROSECOND", lua.LNumber(microseconds))
	l.SetGlobal("EnvoyTimestampResolution", scale)
}

// call runs fn within the limits of a hook.
func (m *machine) call(fn lua.LValue, args ...lua.LValue) error {
	m.left, m.ended = maxInstructions, false
	m.now = nil
	if len(args) > 0 {
		m.now, _ = args[0].(*lua.LUserData).Value.(*handle)
	}
	err := m.state.CallByParam(lua.P{Fn: fn, Protect: true}, args...)
	m.now = nil
	m.state.SetTop(0)
	if err != nil {
		return plain(err)
	}
	return nil
}

// has reports whether the script has a function of that name.
func (m *machine) has(name string) bool {
	_, ok := m.state.GetGlobal(name).(*lua.LFunction)
	return ok
}

// print logs, as there is no console.
func (m *machine) print(l *lua.LState) int {
	var parts []string
	for i := 1; i <= l.GetTop(); i++ {
		parts = append(parts, l.ToStringMeta(l.Get(i)).String())
	}
	if m.now != nil {
		m.now.exchange.Log(slog.LevelInfo, oneLine(strings.Join(parts, " ")))
	}
	return 0
}

// repeat is string.rep for texts that are not too long.
func repeat(l *lua.LState) int {
	text, n := l.CheckString(1), l.CheckInt(2)
	if n > 0 && len(text) > maxRepeated/n {
		l.RaiseError("string.rep would make more than %d bytes", maxRepeated)
	}
	l.Push(l.Get(lua.UpvalueIndex(1)))
	l.Push(lua.LString(text))
	l.Push(lua.LNumber(n))
	l.Call(2, 1)
	return 1
}

// A sequence is a value that pairs goes through, as it does through a table.
type sequence interface{ pairs() [][2]lua.LValue }

// pairs is Lua's, and goes through headers and metadata as well.
func pairs(l *lua.LState) int {
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		if s, ok := ud.Value.(sequence); ok {
			rest := s.pairs()
			l.Push(l.NewFunction(func(l *lua.LState) int {
				if len(rest) == 0 {
					l.Push(lua.LNil)
					return 1
				}
				l.Push(rest[0][0])
				l.Push(rest[0][1])
				rest = rest[1:]
				return 2
			}))
			l.Push(ud)
			l.Push(lua.LNil)
			return 3
		}
	}
	l.Push(l.Get(lua.UpvalueIndex(1)))
	l.Push(l.CheckAny(1))
	l.Call(1, 3)
	return 3
}

// closed is a channel from which one can always receive.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done is asked before each instruction, and so counts them.
func (m *machine) Done() <-chan struct{} {
	if m.left--; m.left < 0 || m.ended {
		return closed
	}
	return nil
}

// Err says why the hook has to end.
func (m *machine) Err() error {
	if m.ended {
		return errReplied
	}
	return errTooLong
}

// Deadline implements context.Context: there is none.
func (m *machine) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context: there is none.
func (m *machine) Value(any) any { return nil }
