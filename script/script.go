// Package script runs the Module's lua_scripts: what its hooks envoy_on_request and
// envoy_on_response do to requests and answers, by the names that Envoy's Lua filter has
// for things. It knows Lua; what a request is, an Exchange says. It opens no file, no
// socket and no process, whatever a script asks for.
package script

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"legate/format"
)

// The hooks that a script may have.
const (
	OnRequest  = "envoy_on_request"
	OnResponse = "envoy_on_response"
)

// An Exchange is what a hook is about: one request, and its answer once there is one.
type Exchange interface {
	// Head is that of the request, or of the answer in its hook. It is the same one as
	// long as a hook runs, and what the hook leaves in it counts.
	Head() *Head
	// Body returns the whole body, which it waits for, and whether there is one. After
	// an error the hook ends.
	Body() ([]byte, bool, error)
	// SetBody puts another body in its place.
	SetBody(body []byte) error
	// Trailer returns what came after the body, which it waits for.
	Trailer() ([]Field, error)
	// Info returns what one of a format's commands stands for, and whether it has a value.
	Info(op format.Op) (string, bool)
	// Secure reports whether the client's connection is encrypted.
	Secure() bool
	// Metadata is the same for both hooks of an exchange.
	Metadata() *Metadata
	Now() time.Time
	Log(level slog.Level, text string)
}

// A Reply is an answer that a request's hook gives itself.
type Reply struct {
	Status int // 200 to 599
	Fields []Field
	Body   string
}

// A Program is a compiled script. It serves many exchanges at once, each on a machine of
// its own; as in Envoy, what a hook leaves in global variables other exchanges may find.
type Program struct {
	proto     *lua.FunctionProto
	request   bool
	response  bool
	asksCalls bool
	machines  sync.Pool // of *machine
}

// Compile reads a script and runs what stands outside of its hooks once. An error says
// what is wrong, with the line of the script.
func Compile(text string) (p *Program, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the library's parser, at worst
			p, err = nil, fmt.Errorf("cannot be read: %v", cause)
		}
	}()
	chunk, err := parse.Parse(strings.NewReader(text), "lua_scripts")
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %s", oneLine(err.Error()))
	}
	proto, err := lua.Compile(chunk, "lua_scripts")
	if err != nil {
		return nil, fmt.Errorf("cannot be compiled: %s", oneLine(err.Error()))
	}
	p = &Program{proto: proto, asksCalls: strings.Contains(text, ":httpCall")}
	m, err := p.start()
	if err != nil {
		return nil, fmt.Errorf("cannot be started: %w", err)
	}
	p.request, p.response = m.has(OnRequest), m.has(OnResponse)
	p.machines.Put(m)
	return p, nil
}

// Hooks reports which hooks the script has.
func (p *Program) Hooks() (request, response bool) { return p.request, p.response }

// AsksCalls reports whether the script may ask for httpCall, which always fails.
func (p *Program) AsksCalls() bool { return p.asksCalls }

// Request runs the request's hook. A Reply is to be given instead of asking anybody;
// nil means that the request goes on, also after an error.
func (p *Program) Request(x Exchange) (*Reply, error) {
	if !p.request {
		return nil, nil
	}
	return p.run(OnRequest, x)
}

// Response runs the answer's hook. The answer is given also after an error.
func (p *Program) Response(x Exchange) error {
	if !p.response {
		return nil
	}
	_, err := p.run(OnResponse, x)
	return err
}

// run runs one hook on a machine that nobody else uses meanwhile. One on which a hook
// has failed is not used again.
func (p *Program) run(hook string, x Exchange) (*Reply, error) {
	m, _ := p.machines.Get().(*machine)
	if m == nil {
		var err error
		if m, err = p.start(); err != nil {
			return nil, err
		}
	}
	h := &handle{machine: m, exchange: x, request: hook == OnRequest}
	err := m.call(m.state.GetGlobal(hook), m.wrap(h, handleType))
	h.over = true
	switch {
	case h.reply != nil:
		err = nil // saying it has ended the hook
	case err != nil:
		return nil, err
	}
	p.machines.Put(m)
	return h.reply, err
}

// start makes a machine on which the script has been run.
func (p *Program) start() (*machine, error) {
	m := newMachine()
	if err := m.call(m.state.NewFunctionFromProto(p.proto)); err != nil {
		return nil, err
	}
	return m, nil
}

// plain returns the text of an error of Lua without the library's trace.
func plain(err error) error {
	if at, ok := errors.AsType[*lua.ApiError](err); ok && at.Object != nil && at.Object != lua.LNil {
		return errors.New(oneLine(at.Object.String()))
	}
	return errors.New(oneLine(err.Error()))
}

// oneLine returns text as one line of a bearable length.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// maxText is how much of what a script says is kept.
const maxText = 2 << 10
