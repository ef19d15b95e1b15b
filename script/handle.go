package script

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// A handle is what a hook is given: its exchange, for as long as it runs.
type handle struct {
	machine  *machine
	exchange Exchange
	request  bool
	over     bool // the hook has ended, and a script that has kept the handle may not use it
	reply    *Reply
}

// The types of values that scripts meet.
const (
	handleType     = "handle"
	headersType    = "headers"
	bufferType     = "buffer"
	metadataType   = "metadata"
	dynamicType    = "dynamic metadata"
	infoType       = "stream info"
	connectionType = "connection"
	tlsType        = "tls"
)

// types tells the machine what can be done with each type of value.
func (m *machine) types() {
	for name, methods := range map[string]map[string]lua.LGFunction{
		handleType: {
			"headers": handleHeaders, "body": handleBody, "bodyChunks": handleChunks, "trailers": handleTrailers,
			"respond": handleRespond, "httpCall": handleCall, "metadata": handleMetadata, "streamInfo": handleInfo,
			"connection": handleConnection, "base64Escape": handleBase64, "timestamp": handleTimestamp,
			"logTrace": logs(slog.LevelDebug), "logDebug": logs(slog.LevelDebug), "logInfo": logs(slog.LevelInfo),
			"logWarn": logs(slog.LevelWarn), "logErr": logs(slog.LevelError), "logCritical": logs(slog.LevelError),
		},
		headersType: {
			"add": headersAdd, "get": headersGet, "getAtIndex": headersAt, "getNumValues": headersCount,
			"remove": headersRemove, "replace": headersReplace, "setHttp1ReasonPhrase": nothing,
		},
		bufferType:     {"length": bufferLength, "getBytes": bufferBytes, "setBytes": bufferSet},
		metadataType:   {"get": nothing},
		dynamicType:    {"get": dynamicGet, "set": dynamicSet},
		infoType:       infoMethods(),
		connectionType: {"ssl": connectionTLS},
		tlsType:        tlsMethods(),
	} {
		meta := m.state.NewTypeMetatable(name)
		meta.RawSetString("__index", m.state.SetFuncs(m.state.NewTable(), methods))
		meta.RawSetString("__metatable", lua.LString(name)) // so that scripts do not change it
	}
}

// wrap makes value one of the script's.
func (m *machine) wrap(value any, kind string) *lua.LUserData {
	ud := m.state.NewUserData()
	ud.Value = value
	m.state.SetMetatable(ud, m.state.GetTypeMetatable(kind))
	return ud
}

// checked returns the value behind the first argument of a method.
func checked[T any](l *lua.LState) (value T) {
	value, ok := l.CheckUserData(1).Value.(T)
	if !ok {
		l.ArgError(1, "is of another type: methods are called as handle:name()")
	}
	return value
}

// current returns the handle that a method is called on, while its hook runs.
func current(l *lua.LState) *handle {
	h := checked[*handle](l)
	h.check(l)
	return h
}

func (h *handle) check(l *lua.LState) {
	if h.over {
		l.RaiseError("the handle is used after its hook has ended")
	}
}

// fail has the script see err.
func fail(l *lua.LState, err error) {
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
}

// nothing is a method that says nil.
func nothing(l *lua.LState) int {
	l.Push(lua.LNil)
	return 1
}

func handleHeaders(l *lua.LState) int {
	h := current(l)
	l.Push(h.machine.wrap(&headers{handle: h, head: h.exchange.Head()}, headersType))
	return 1
}

// body returns the body of the exchange; an error ends the hook, whatever the script
// does about it.
func (h *handle) body(l *lua.LState) ([]byte, bool) {
	body, ok, err := h.exchange.Body()
	if err != nil {
		h.machine.left = 0
		fail(l, err)
	}
	return body, ok
}

func handleBody(l *lua.LState) int {
	h := current(l)
	body, ok := h.body(l)
	if !ok && !l.OptBool(2, false) {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(h.machine.wrap(&buffer{handle: h, bytes: body}, bufferType))
	return 1
}

// handleChunks gives the body as one chunk: it is held back, as by body().
func handleChunks(l *lua.LState) int {
	h, given := current(l), false
	l.Push(l.NewFunction(func(l *lua.LState) int {
		h.check(l)
		if !given {
			given = true
			if body, ok := h.body(l); ok {
				l.Push(h.machine.wrap(&buffer{handle: h, bytes: body}, bufferType))
				return 1
			}
		}
		l.Push(lua.LNil)
		return 1
	}))
	return 1
}

func handleTrailers(l *lua.LState) int {
	h := current(l)
	h.body(l)
	fields, err := h.exchange.Trailer()
	fail(l, err)
	if len(fields) == 0 {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(h.machine.wrap(&headers{handle: h, head: &Head{Fields: fields}, fixed: true}, headersType))
	return 1
}

var errNoReply = errors.New("respond is for envoy_on_request: an answer is there already")

func handleRespond(l *lua.LState) int {
	h := current(l)
	if !h.request {
		fail(l, errNoReply)
	}
	var fields []Field
	l.CheckTable(2).ForEach(func(name, value lua.LValue) {
		if list, ok := value.(*lua.LTable); ok { // several lines of one name
			list.ForEach(func(_, each lua.LValue) { fields = append(fields, Field{name.String(), each.String()}) })
			return
		}
		fields = append(fields, Field{name.String(), value.String()})
	})
	slices.SortStableFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	r, err := reply(fields, l.OptString(3, ""))
	fail(l, err)
	h.reply, h.machine.ended = r, true
	l.RaiseError("%s", errReplied.Error())
	return 0
}

var errNoCalls = errors.New("httpCall is not served: let an AuthService or a Filter ask others")

func handleCall(l *lua.LState) int {
	current(l)
	fail(l, errNoCalls)
	return 0
}

func handleBase64(l *lua.LState) int {
	current(l)
	l.Push(lua.LString(base64.StdEncoding.EncodeToString([]byte(l.CheckString(2)))))
	return 1
}

// The resolutions of timestamps.
const (
	milliseconds = iota
	microseconds
)

func handleTimestamp(l *lua.LState) int {
	now := current(l).exchange.Now()
	if l.OptInt(2, milliseconds) == microseconds {
		l.Push(lua.LNumber(now.UnixMicro()))
	} else {
		l.Push(lua.LNumber(now.UnixMilli()))
	}
	return 1
}

// logs is the method that logs at one level.
func logs(level slog.Level) lua.LGFunction {
	return func(l *lua.LState) int {
		h := current(l)
		h.exchange.Log(level, oneLine(l.ToStringMeta(l.CheckAny(2)).String()))
		return 0
	}
}
