package script

import (
	"errors"
	"strconv"

	lua "github.com/yuin/gopher-lua"

	"legate/format"
)

// headers are a head, or a trailer, as a script has it.
type headers struct {
	handle *handle
	head   *Head
	fixed  bool // it can only be looked at
}

func (h *headers) pairs() [][2]lua.LValue {
	all := make([][2]lua.LValue, len(h.head.Fields))
	for i, f := range h.head.Fields {
		all[i] = [2]lua.LValue{lua.LString(f.Name), lua.LString(f.Value)}
	}
	return all
}

// reading returns the headers that a method is called on.
func reading(l *lua.LState) *headers {
	h := checked[*headers](l)
	h.handle.check(l)
	return h
}

var errFixed = errors.New("trailers can only be looked at")

// writing is reading for methods that change something.
func writing(l *lua.LState) *headers {
	h := reading(l)
	if h.fixed {
		fail(l, errFixed)
	}
	return h
}

func headersAdd(l *lua.LState) int {
	fail(l, writing(l).head.add(l.CheckString(2), l.CheckString(3)))
	return 0
}

func headersReplace(l *lua.LState) int {
	fail(l, writing(l).head.replace(l.CheckString(2), l.CheckString(3)))
	return 0
}

func headersRemove(l *lua.LState) int {
	fail(l, writing(l).head.remove(l.CheckString(2)))
	return 0
}

func headersGet(l *lua.LState) int {
	value, ok := reading(l).head.Get(l.CheckString(2))
	return pushText(l, value, ok)
}

func headersAt(l *lua.LState) int {
	all, i := reading(l).head.values(l.CheckString(2)), l.CheckInt(3)
	if i < 0 || i >= len(all) {
		return pushText(l, "", false)
	}
	return pushText(l, all[i], true)
}

func headersCount(l *lua.LState) int {
	l.Push(lua.LNumber(len(reading(l).head.values(l.CheckString(2)))))
	return 1
}

// pushText returns a text, or nil for none.
func pushText(l *lua.LState, text string, ok bool) int {
	if ok {
		l.Push(lua.LString(text))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

// A buffer is a body as a script has it.
type buffer struct {
	handle *handle
	bytes  []byte
}

func bufferLength(l *lua.LState) int {
	l.Push(lua.LNumber(len(checked[*buffer](l).bytes)))
	return 1
}

func bufferBytes(l *lua.LState) int {
	b := checked[*buffer](l)
	b.handle.check(l)
	from, n := l.CheckInt(2), l.CheckInt(3)
	if from < 0 || n < 0 || from > len(b.bytes) || n > len(b.bytes)-from {
		l.RaiseError("getBytes(%d, %d) of %d bytes", from, n, len(b.bytes))
	}
	l.Push(lua.LString(b.bytes[from : from+n]))
	return 1
}

func bufferSet(l *lua.LState) int {
	b := checked[*buffer](l)
	b.handle.check(l)
	body := []byte(l.CheckString(2))
	fail(l, b.handle.exchange.SetBody(body))
	b.bytes = body
	l.Push(lua.LNumber(len(body)))
	return 1
}

func handleMetadata(l *lua.LState) int {
	h := current(l)
	l.Push(h.machine.wrap(&noMetadata{}, metadataType))
	return 1
}

// noMetadata is what Envoy would know of a route beside what Mappings say: nothing.
type noMetadata struct{}

func (*noMetadata) pairs() [][2]lua.LValue { return nil }

func handleInfo(l *lua.LState) int {
	h := current(l)
	l.Push(h.machine.wrap(&info{h}, infoType))
	return 1
}

// info is what is known of the exchange beside its messages.
type info struct{ handle *handle }

// infoMethods are those of streamInfo().
func infoMethods() map[string]lua.LGFunction {
	methods := map[string]lua.LGFunction{"dynamicMetadata": infoMetadata, "downstreamSslConnection": infoTLS}
	for name, op := range map[string]format.Op{
		"protocol": format.Protocol, "routeName": format.RouteName, "requestedServerName": format.RequestedServerName,
		"downstreamLocalAddress": format.DownstreamLocalAddress, "downstreamRemoteAddress": format.DownstreamRemoteAddress,
		"downstreamDirectRemoteAddress": format.DownstreamDirectRemoteAddress,
	} {
		methods[name] = func(l *lua.LState) int { return checked[*info](l).handle.say(l, op) }
	}
	return methods
}

// say returns what a command stands for: "" where it has no value, as Envoy does.
func (h *handle) say(l *lua.LState, op format.Op) int {
	h.check(l)
	text, _ := h.exchange.Info(op)
	return pushText(l, text, true)
}

func handleConnection(l *lua.LState) int {
	h := current(l)
	l.Push(h.machine.wrap(&info{h}, connectionType))
	return 1
}

func connectionTLS(l *lua.LState) int { return infoTLS(l) }

// infoTLS is nil for a connection in the clear.
func infoTLS(l *lua.LState) int {
	h := checked[*info](l).handle
	h.check(l)
	if !h.exchange.Secure() {
		l.Push(lua.LNil)
		return 1
	}
	l.Push(h.machine.wrap(&secured{h}, tlsType))
	return 1
}

// secured is the client's connection over TLS.
type secured struct{ handle *handle }

// tlsMethods are those of connection():ssl().
func tlsMethods() map[string]lua.LGFunction {
	methods := map[string]lua.LGFunction{
		"peerCertificatePresented": func(l *lua.LState) int {
			h := checked[*secured](l).handle
			h.check(l)
			_, presented := h.exchange.Info(format.DownstreamPeerFingerprint256)
			l.Push(lua.LBool(presented))
			return 1
		},
	}
	for name, op := range map[string]format.Op{
		"tlsVersion": format.DownstreamTLSVersion, "ciphersuiteString": format.DownstreamTLSCipher,
		"subjectPeerCertificate": format.DownstreamPeerSubject, "issuerPeerCertificate": format.DownstreamPeerIssuer,
		"serialNumberPeerCertificate": format.DownstreamPeerSerial, "sha256PeerCertificateDigest": format.DownstreamPeerFingerprint256,
		"subjectLocalCertificate": format.DownstreamLocalSubject, "validFromPeerCertificate": format.DownstreamPeerCertVStart,
		"expirationPeerCertificate": format.DownstreamPeerCertVEnd,
	} {
		methods[name] = func(l *lua.LState) int { return checked[*secured](l).handle.say(l, op) }
	}
	for name, op := range map[string]format.Op{
		"uriSanPeerCertificate": format.DownstreamPeerURISAN, "dnsSansPeerCertificate": format.DownstreamPeerDNSSAN,
		"uriSanLocalCertificate": format.DownstreamLocalURISAN, "dnsSansLocalCertificate": format.DownstreamLocalDNSSAN,
	} {
		methods[name] = func(l *lua.LState) int { return checked[*secured](l).handle.list(l, op) }
	}
	return methods
}

// list returns what a command stands for, cut at its commas, as a table.
func (h *handle) list(l *lua.LState, op format.Op) int {
	h.check(l)
	table := l.NewTable()
	if text, ok := h.exchange.Info(op); ok {
		for each := range splitList(text) {
			table.Append(lua.LString(each))
		}
	}
	l.Push(table)
	return 1
}

// A Metadata is what the hooks of one exchange tell each other: by the name of a filter,
// values by their keys. Its zero value is empty.
type Metadata struct{ of map[string]map[string]any }

// Get returns a value that is a text, a number or a boolean, as text.
func (m *Metadata) Get(filter, key string) (string, bool) {
	switch v := m.of[filter][key].(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// dynamic is a Metadata as a script has it.
type dynamic struct{ handle *handle }

func (d *dynamic) pairs() [][2]lua.LValue {
	var all [][2]lua.LValue
	for filter, values := range d.handle.exchange.Metadata().of {
		all = append(all, [2]lua.LValue{lua.LString(filter), toTable(d.handle.machine.state, values)})
	}
	return all
}

func infoMetadata(l *lua.LState) int {
	h := checked[*info](l).handle
	h.check(l)
	l.Push(h.machine.wrap(&dynamic{h}, dynamicType))
	return 1
}

func dynamicGet(l *lua.LState) int {
	d := checked[*dynamic](l)
	d.handle.check(l)
	values := d.handle.exchange.Metadata().of[l.CheckString(2)]
	if values == nil {
		return nothing(l)
	}
	l.Push(toTable(l, values))
	return 1
}

func dynamicSet(l *lua.LState) int {
	d := checked[*dynamic](l)
	d.handle.check(l)
	m, filter, key := d.handle.exchange.Metadata(), l.CheckString(2), l.CheckString(3)
	value, err := fromLua(l.CheckAny(4), 0)
	fail(l, err)
	if m.of == nil {
		m.of = map[string]map[string]any{}
	}
	if m.of[filter] == nil {
		m.of[filter] = map[string]any{}
	}
	m.of[filter][key] = value
	return 0
}
