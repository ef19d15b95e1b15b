package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"legate/config"
	"legate/decision"
	"legate/format"
	"legate/script"
	"legate/wire"
)

// script compiles the Module's lua_scripts; one that the last snapshot has as well goes
// on. One that cannot be compiled may have been meant to refuse requests: then all are.
func (c *compiler) script(old *Snapshot) {
	m := c.defaults()
	if strings.TrimSpace(m.LuaScripts) == "" {
		return
	}
	if old.script != nil && old.scriptText == m.LuaScripts {
		c.next.script, c.next.scriptText = old.script, old.scriptText
	} else if p, err := script.Compile(m.LuaScripts); err == nil {
		c.next.script, c.next.scriptText = p, m.LuaScripts
	} else {
		problem := m.Problem("config.lua_scripts", err.Error(), config.ObjectDropped)
		problem.Instead = "every route answers 503"
		c.problems = append(c.problems, problem)
		c.world.Guards = append(slices.Clip(c.world.Guards),
			config.Guard{Meta: m.Meta, Rules: []config.GuardRule{{Host: "*", Path: "*"}}, Broken: true})
		return
	}
	ref := m.Ref()
	c.next.scriptBy = ref.String()
	c.next.scriptErrors = [2]*scriptErrors{newScriptErrors(c, script.OnRequest), newScriptErrors(c, script.OnResponse)}
	if request, response := c.next.script.Hooks(); !request && !response {
		c.scriptNotice("it has neither envoy_on_request nor envoy_on_response", "it does nothing")
	}
	if c.next.script.AsksCalls() {
		c.scriptNotice("httpCall is not served", "a hook that calls it ends with an error, and the request goes on")
	}
}

func (c *compiler) scriptNotice(msg, instead string) {
	p := c.defaults().Problem("config.lua_scripts", msg, config.Notice)
	p.Instead = instead
	c.problems = append(c.problems, p)
}

// A scripting is what a script has of one exchange.
type scripting struct {
	x        *Exchange
	answers  bool // the hook that runs, or ran last, is the answer's
	request  script.Head
	answer   script.Head
	read     bool // the head of the hook has been filled
	metadata script.Metadata
	ended    decision.Reason // why the exchange cannot go on; None if it can
	err      error
	bodyLen  int64 // of the request, once the script has changed it; -1 before
	head     wire.Head
	buf      []byte
}

var scriptings = sync.Pool{New: func() any { return new(scripting) }}

// scripted runs the request's hook, which comes before everything that is decided about
// the request: what it leaves is what is matched, and it may answer itself.
func (x *Exchange) scripted() Verdict {
	s := scriptings.Get().(*scripting) //nolint:forcetypeassert // nothing else is put in
	s.x, s.bodyLen, x.scripting = x, -1, s
	reply, err := x.Snap.script.Request(s)
	switch {
	case s.ended != decision.None:
		return x.stop(decision.Accept, s.ended, x.Snap.scriptBy, s.err)
	case reply != nil:
		return x.scriptReply(reply)
	case err != nil:
		x.scriptFailed(0, err) // what it has done before stays done
	}
	if s.request.Changed || s.bodyLen >= 0 {
		if err := s.rewrite(); err != nil {
			x.scriptFailed(0, err)
		}
	}
	return Continue
}

// scriptReply gives the answer that the hook wants.
func (x *Exchange) scriptReply(r *script.Reply) Verdict {
	x.reply = localReply{status: r.Status, body: r.Body}
	for _, f := range r.Fields {
		if f.Name == "content-type" {
			x.reply.contentType = []byte(f.Value)
			continue
		}
		x.ToClient.AddName([]byte(f.Name), []byte(f.Value))
	}
	return x.stop(decision.Accept, decision.ScriptAnswer, x.Snap.scriptBy, nil)
}

// endScripting gives back what scripted has taken.
func (x *Exchange) endScripting() {
	s := x.scripting
	if cap(s.buf) > maxArena {
		s.buf, s.head = nil, wire.Head{}
	}
	*s = scripting{head: s.head, buf: s.buf[:0], request: script.Head{Fields: s.request.Fields[:0]}, answer: script.Head{Fields: s.answer.Fields[:0]}}
	x.scripting = nil
	scriptings.Put(s)
}

// A scriptStage has the answer's hook run in its place among the stages.
type scriptStage struct{}

// scriptStage returns nil where the Module has no script.
func (c *compiler) scriptStage() Stage {
	if c.next.script == nil {
		return nil
	}
	return scriptStage{}
}

// Enter does nothing: the request's hook has run before there was a route.
func (scriptStage) Enter(*Exchange) Verdict { return Continue }

// Respond runs the answer's hook.
func (scriptStage) Respond(x *Exchange) { x.scriptAnswer() }

// scriptAnswer runs the answer's hook, and changes what it says.
func (x *Exchange) scriptAnswer() {
	s := x.scripting
	if s == nil {
		return
	}
	s.answers, s.read, s.ended, s.err = true, false, decision.None, nil
	err := x.Snap.script.Response(s)
	if s.ended != decision.None {
		x.loseAnswer(s.ended, s.err)
		return
	}
	if err != nil {
		x.scriptFailed(1, err)
	}
	if s.answer.Changed {
		s.rewriteAnswer()
	}
}

// Head implements script.Exchange.
func (s *scripting) Head() *script.Head {
	h := &s.request
	if s.answers {
		h = &s.answer
	}
	if !s.read {
		s.read = true
		*h = script.Head{Fields: s.fields(h.Fields[:0])}
	}
	return h
}

// fields are those of the head that the hook is about, as it is by now.
func (s *scripting) fields(list []script.Field) []script.Field {
	x, from, edits := s.x, s.x.Req, &s.x.ToUp
	if s.answers {
		from, edits = &x.Resp, &x.ToClient
		list = append(list, script.Field{Name: ":status", Value: strconv.Itoa(x.answerStatus())})
		if !x.relayed {
			from = nil
		}
	} else {
		for _, name := range []string{":method", ":path", ":authority", ":scheme"} {
			if value, ok := x.pseudoField(name); ok {
				list = append(list, script.Field{Name: name, Value: string(value)})
			}
		}
	}
	for i := 0; from != nil && i < from.Len(); i++ {
		if id, name, value := from.Line(i); id != wire.FieldHost && !edits.Drops(id, name) {
			list = append(list, script.Field{Name: string(name), Value: string(value)})
		}
	}
	for i := range edits.Adds() {
		a := &edits.Adds()[i]
		list = append(list, script.Field{Name: a.FieldName(), Value: string(a.Value)})
	}
	return list
}

// rewrite makes the request what the hook has left: everyone after it sees no other.
func (s *scripting) rewrite() error {
	x, old, h := s.x, s.x.Req, &s.head
	fields := s.Head().Fields
	h.Reset(s.buf[:0])
	h.Major, h.Minor, h.Close, h.Absolute, h.UpgradeTo = old.Major, old.Minor, old.Close, old.Absolute, old.UpgradeTo
	h.Length, h.NoBody = old.Length, old.NoBody
	if s.bodyLen >= 0 {
		h.Length, h.NoBody = s.bodyLen, s.bodyLen == 0
		if x.stream.Trailer() != nil {
			h.Length, h.NoBody = wire.LengthUnknown, false
		}
	}
	var path string
	for _, f := range fields {
		switch f.Name {
		case ":method":
			if f.Value != string(old.MethodName()) && (old.Method() == wire.HEAD || f.Value == "HEAD" || f.Value == "CONNECT") {
				return fmt.Errorf("the method cannot become %.20q", f.Value)
			}
			h.SetMethod(h.AppendString(f.Value))
		case ":path":
			path = f.Value
		case ":authority":
			if !wire.ValidAuthority([]byte(f.Value)) {
				return errors.New(":authority must be a name with or without a port")
			}
			h.SetHost(h.AppendString(f.Value))
		case ":scheme":
		default:
			if !h.AppendLine(f.Name, f.Value) {
				return errors.New("there are too many headers")
			}
		}
	}
	t := h.AppendString(path)
	s.buf = h.Buffer()
	at, query, hasQuery := wire.SplitTarget(h.At(t), t.Off)
	h.SetTarget(t, at, query, hasQuery)
	if err := h.NormalizePath(x.Snap.edge.paths); err != nil {
		return fmt.Errorf(":path: %w", err)
	}
	x.Req = h
	casing := x.ToUp.Casing
	x.ToUp.Reset()
	x.ToUp.Casing = casing
	if id := h.Get(wire.FieldXRequestID); id != nil {
		x.requestID = id
	}
	return nil
}

// rewriteAnswer makes the head of the answer what the hook has left.
func (s *scripting) rewriteAnswer() {
	x := s.x
	casing, upgrade := x.ToClient.Casing, x.ToClient.Upgrade
	x.ToClient.Reset()
	x.ToClient.Casing, x.ToClient.Upgrade = casing, upgrade
	if x.relayed {
		for i := range x.Resp.Len() {
			_, name, _ := x.Resp.Line(i)
			x.ToClient.DropName(name)
		}
	}
	for _, f := range s.answer.Fields {
		switch {
		case f.Name == ":status":
			n, _ := strconv.Atoi(f.Value) // scripts can only leave a status here
			x.setStatus(n)
		case !script.Framing(f.Name):
			x.ToClient.AddName([]byte(f.Name), []byte(f.Value))
		}
	}
}

// setStatus changes the answer's status, unless that would change whether a body follows.
func (x *Exchange) setStatus(status int) {
	now := x.answerStatus()
	if status == now || bodiless(status) || bodiless(now) {
		return
	}
	if x.relayed {
		x.status = status
	} else {
		x.reply.status = status
	}
}

func bodiless(status int) bool { return status < 200 || status == 204 || status == 304 }

// Body implements script.Exchange.
func (s *scripting) Body() ([]byte, bool, error) {
	x := s.x
	if s.answers {
		return s.answerBody()
	}
	if x.Req.NoBody && !x.buffered {
		return nil, false, nil
	}
	x.stream.SetIdle(defaultIdle)
	if err := x.receive(x.Snap.edge.bufferLimit); err != nil {
		s.ended, s.err = x.bodyFailure(err), err
		return nil, false, err
	}
	return x.body[:x.bodyBytes], true, nil
}

func (s *scripting) answerBody() ([]byte, bool, error) {
	x := s.x
	switch {
	case !x.relayed:
		return []byte(x.reply.body), x.reply.body != "", nil
	case x.worn != nil:
		return x.worn, true, nil
	case x.Resp.NoBody && x.kept == nil || x.Resp.Status == 101:
		return nil, false, nil
	}
	if err := x.keepAnswer(x.Snap.edge.bufferLimit); err != nil {
		s.ended, s.err = x.answerFailure(err)
		return nil, false, err
	}
	return x.kept, true, nil
}

var errNoBody = errors.New("this message cannot have a body")

// SetBody implements script.Exchange.
func (s *scripting) SetBody(body []byte) error {
	x := s.x
	switch {
	case !s.answers && (x.Req.Method() == wire.CONNECT || x.Req.UpgradeTo):
		return errNoBody
	case !s.answers:
		// Not one of a pool's, nor nil; the one before is left to the collector, as the script may still have it.
		x.body, x.bodyBytes = append(make([]byte, 0, len(body)+1), body...), len(body)
		x.bodyWhole, x.buffered, s.bodyLen = true, true, int64(len(body))
	case x.Req.Method() == wire.HEAD || bodiless(x.answerStatus()):
		return errNoBody
	case !x.relayed:
		x.reply.body = string(body)
	case x.worn != nil:
		x.worn = append([]byte{}, body...)
	default:
		if x.kept == nil {
			if _, _, err := s.answerBody(); err != nil {
				return err
			}
		}
		x.kept = append(make([]byte, 0, len(body)+1), body...)
	}
	return nil
}

// Trailer implements script.Exchange.
func (s *scripting) Trailer() (list []script.Field, err error) {
	var trailer *wire.Head
	switch {
	case !s.answers && !s.x.Req.NoBody:
		trailer = s.x.stream.Trailer()
	case s.answers && s.x.link != nil:
		trailer = s.x.link.Trailer()
	}
	for i := 0; trailer != nil && i < trailer.Len(); i++ {
		_, name, value := trailer.Line(i)
		list = append(list, script.Field{Name: string(name), Value: string(value)})
	}
	return list, nil
}

// Secure implements script.Exchange.
func (s *scripting) Secure() bool { return s.x.peer.TLS != nil }

// Metadata implements script.Exchange.
func (s *scripting) Metadata() *script.Metadata { return &s.metadata }

// Now implements script.Exchange.
func (s *scripting) Now() time.Time { return s.x.gateway.clock() }

// Info implements script.Exchange.
func (s *scripting) Info(op format.Op) (string, bool) {
	f := infoFormats[op]
	if f == nil {
		return "", false
	}
	text := string(s.x.render(f))
	return text, text != ""
}

// infoFormats are the commands that scripts may ask for.
var infoFormats = func() map[format.Op]*format.Format {
	all := map[format.Op]*format.Format{}
	for op, name := range map[format.Op]string{
		format.Protocol: "PROTOCOL", format.RouteName: "ROUTE_NAME", format.RequestedServerName: "REQUESTED_SERVER_NAME",
		format.DownstreamLocalAddress: "DOWNSTREAM_LOCAL_ADDRESS", format.DownstreamRemoteAddress: "DOWNSTREAM_REMOTE_ADDRESS",
		format.DownstreamDirectRemoteAddress: "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
		format.DownstreamTLSVersion:          "DOWNSTREAM_TLS_VERSION", format.DownstreamTLSCipher: "DOWNSTREAM_TLS_CIPHER",
		format.DownstreamPeerSubject: "DOWNSTREAM_PEER_SUBJECT", format.DownstreamPeerIssuer: "DOWNSTREAM_PEER_ISSUER",
		format.DownstreamPeerURISAN: "DOWNSTREAM_PEER_URI_SAN", format.DownstreamPeerDNSSAN: "DOWNSTREAM_PEER_DNS_SAN",
		format.DownstreamPeerSerial: "DOWNSTREAM_PEER_SERIAL", format.DownstreamPeerFingerprint256: "DOWNSTREAM_PEER_FINGERPRINT_256",
		format.DownstreamPeerCertVStart: "DOWNSTREAM_PEER_CERT_V_START", format.DownstreamPeerCertVEnd: "DOWNSTREAM_PEER_CERT_V_END",
		format.DownstreamLocalSubject: "DOWNSTREAM_LOCAL_SUBJECT", format.DownstreamLocalURISAN: "DOWNSTREAM_LOCAL_URI_SAN",
		format.DownstreamLocalDNSSAN: "DOWNSTREAM_LOCAL_DNS_SAN",
	} {
		f, _, err := format.Compile("%"+name+"%", format.Header)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		all[op] = f
	}
	return all
}()

// Log implements script.Exchange. Secrets of the client do not get into the log, even if
// a script wishes so.
func (s *scripting) Log(level slog.Level, text string) {
	s.x.gateway.log.Log(context.Background(), level, "a Lua script says", "text", s.x.withoutSecrets(text), "request_id", string(s.x.requestID))
}

// withoutSecrets returns text without what the request says in headers that hold secrets.
func (x *Exchange) withoutSecrets(text string) string {
	for _, f := range []wire.Field{wire.FieldAuthorization, wire.FieldProxyAuthorization, wire.FieldCookie} {
		for n := 0; ; n++ {
			value, ok := x.Req.Nth(f, n)
			if !ok {
				break
			}
			text = redact(text, string(value))
			if _, token, ok := strings.Cut(string(value), " "); ok {
				text = redact(text, strings.TrimSpace(token))
			}
		}
	}
	return text
}

// minSecret is how long a text is at least that is taken for a secret.
const minSecret = 6

func redact(text, secret string) string {
	if len(secret) < minSecret {
		return text
	}
	return strings.ReplaceAll(text, secret, "[redacted]")
}

// scriptErrors are those of one hook.
type scriptErrors struct {
	hook  string
	count interface{ Add() }
	says  *sometimes
}

func newScriptErrors(c *compiler, hook string) *scriptErrors {
	return &scriptErrors{hook: hook, count: c.g.metrics.ScriptErrors(hook), says: &c.g.scriptSays}
}

// scriptFailed counts an error of a hook, and says so once in a while. As with Envoy the
// request goes on.
func (x *Exchange) scriptFailed(hook int, err error) {
	if x.Dry {
		return
	}
	e := x.Snap.scriptErrors[hook]
	e.count.Add()
	if l := x.inbound(); l != nil {
		l.ScriptFailed()
	}
	if others, ok := e.says.pass(x.gateway.clock()); ok {
		x.gateway.log.Error("a Lua script failed", "hook", e.hook, "error", x.withoutSecrets(err.Error()),
			"request_id", string(x.requestID), "others", others)
	}
}
