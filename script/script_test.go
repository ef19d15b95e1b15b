package script

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"legate/format"
)

// A played is an exchange that a test makes up.
type played struct {
	head     Head
	body     string
	bodyErr  error
	trailer  []Field
	secure   bool
	metadata Metadata
	said     []string
}

func (p *played) Head() *Head { return &p.head }
func (p *played) Body() ([]byte, bool, error) {
	return []byte(p.body), p.body != "", p.bodyErr
}
func (p *played) SetBody(b []byte) error           { p.body = string(b); return nil }
func (p *played) Trailer() ([]Field, error)        { return p.trailer, nil }
func (p *played) Info(op format.Op) (string, bool) { return fmt.Sprintf("%d", op), p.secure }
func (p *played) Secure() bool                     { return p.secure }
func (p *played) Metadata() *Metadata              { return &p.metadata }
func (p *played) Now() time.Time                   { return time.UnixMicro(1_700_000_000_123_456) }
func (p *played) Log(level slog.Level, text string) {
	p.said = append(p.said, level.String()+" "+text)
}

// asked is a request as the tests' scripts meet it.
func asked() *played {
	return &played{head: Head{Fields: []Field{
		{":method", "GET"}, {":path", "/a?b=1"}, {":authority", "a.example"}, {"accept", "x"}, {"accept", "y"}, {"content-length", "3"},
	}}}
}

// on is a script with one hook for requests.
func on(body string) string {
	return "function envoy_on_request(handle)\n" + body + "\nend"
}

func compiled(t testing.TB, text string) *Program {
	t.Helper()
	p, err := Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a hook does to headers, and what it sees of them.
func TestHeaders(t *testing.T) {
	for _, row := range []struct{ name, body, want string }{
		{"nothing", "", ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3"},
		{"looking is not changing", `local x = handle:headers():get("accept")`, ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3"},
		{"add", `handle:headers():add("X-New", "1"); handle:headers():add("accept", "z")`, ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3 x-new=1 accept=z"},
		{"replace one", `handle:headers():replace("Accept", "z")`, ":method=GET :path=/a?b=1 :authority=a.example accept=z content-length=3"},
		{"replace what is not there", `handle:headers():replace("x-new", "1")`, ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3 x-new=1"},
		{"remove", `handle:headers():remove("ACCEPT")`, ":method=GET :path=/a?b=1 :authority=a.example content-length=3"},
		{"the start line", `handle:headers():replace(":path", "/z"); handle:headers():replace("host", "b.example")`, ":method=GET :path=/z :authority=b.example accept=x accept=y content-length=3"},
		{"framing stays", `local h = handle:headers(); h:remove("content-length"); h:add("transfer-encoding", "chunked"); h:replace("Connection", "close")`, ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3"},
		{"joined values", `handle:headers():add("x", handle:headers():get("accept"))`, ":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3 x=x,y"},
		{"one of several values", `local h = handle:headers(); h:add("x", h:getAtIndex("accept", 1) .. h:getNumValues("accept")); if h:getAtIndex("accept", 2) == nil then h:add("y", "none") end`,
			":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3 x=y2 y=none"},
		{"all of them", `local all = ""; for k, v in pairs(handle:headers()) do all = all .. k .. v .. ";" end; handle:headers():remove("accept"); handle:headers():add("x", all)`,
			":method=GET :path=/a?b=1 :authority=a.example content-length=3 x=:methodGET;:path/a?b=1;:authoritya.example;acceptx;accepty;content-length3;"},
		{"tables still have pairs", `local n = 0; for k, v in pairs({a = 1, b = 2}) do n = n + v end; handle:headers():add("x", tostring(n))`,
			":method=GET :path=/a?b=1 :authority=a.example accept=x accept=y content-length=3 x=3"},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := asked()
			if _, err := compiled(t, on(row.body)).Request(x); err != nil {
				t.Fatal(err)
			}
			if got := listed(x.head.Fields); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
			if changed := row.want != listed(asked().head.Fields); x.head.Changed != changed {
				t.Errorf("changed: %v, want %v", x.head.Changed, changed)
			}
		})
	}
}

func listed(fields []Field) string {
	var all []string
	for _, f := range fields {
		all = append(all, f.Name+"="+f.Value)
	}
	return strings.Join(all, " ")
}

// What else a hook may do; it says what it saw by logging.
func TestHandle(t *testing.T) {
	for _, row := range []struct {
		name, body string
		change     func(*played)
		want       string
	}{
		{"levels", `handle:logTrace("a"); handle:logDebug("b"); handle:logInfo("c"); handle:logWarn("d"); handle:logErr("e"); handle:logCritical("f")`, nil,
			"DEBUG a|DEBUG b|INFO c|WARN d|ERROR e|ERROR f"},
		{"a line is a line", `handle:logInfo("a\nb")`, nil, "INFO a b"},
		{"print", `print("a", 1)`, nil, "INFO a 1"},
		{"no body", `if handle:body() == nil then handle:logInfo("none") end; handle:logInfo(handle:body(true):length())`, nil, "INFO none|INFO 0"},
		{"a body", `local b = handle:body(); handle:logInfo(b:length() .. b:getBytes(1, 2))`, func(p *played) { p.body = "abc" }, "INFO 3bc"},
		{"chunks", `for c in handle:bodyChunks() do handle:logInfo(c:length()) end`, func(p *played) { p.body = "abc" }, "INFO 3"},
		{"no chunks", `for c in handle:bodyChunks() do handle:logInfo(c:length()) end`, nil, ""},
		{"another body", `handle:body():setBytes("longer"); handle:logInfo(handle:body():length())`, func(p *played) { p.body = "abc" }, "INFO 6"},
		{"trailers", `handle:logInfo(handle:trailers():get("x-t")); handle:logInfo(tostring(pcall(function() handle:trailers():add("a", "b") end)))`,
			func(p *played) { p.trailer = []Field{{"x-t", "1"}} }, "INFO 1|INFO false"},
		{"no trailers", `handle:logInfo(tostring(handle:trailers()))`, nil, "INFO nil"},
		{"base64", `handle:logInfo(handle:base64Escape("abc"))`, nil, "INFO YWJj"},
		{"timestamps", `handle:logInfo(handle:timestamp()); handle:logInfo(handle:timestamp(EnvoyTimestampResolution.MICROSECOND) % 1000)`, nil, "INFO 1700000000123|INFO 456"},
		{"metadata of the route", `handle:logInfo(tostring(handle:metadata():get("a"))); for k in pairs(handle:metadata()) do handle:logInfo(k) end`, nil, "INFO nil"},
		{"stream info", `handle:logInfo(handle:streamInfo():protocol())`, nil, fmt.Sprintf("INFO %d", format.Protocol)},
		{"in the clear", `handle:logInfo(tostring(handle:connection():ssl())); handle:logInfo(tostring(handle:streamInfo():downstreamSslConnection()))`, nil, "INFO nil|INFO nil"},
		{"over TLS", `local s = handle:connection():ssl(); handle:logInfo(s:tlsVersion()); handle:logInfo(tostring(s:peerCertificatePresented())); handle:logInfo(s:uriSanPeerCertificate()[1])`,
			func(p *played) { p.secure = true }, fmt.Sprintf("INFO %d|INFO true|INFO %d", format.DownstreamTLSVersion, format.DownstreamPeerURISAN)},
		{"libraries", `handle:logInfo(tostring(os.time() > 0) .. type(os.date()) .. math.floor(1.5) .. string.format("%d", 3) .. table.concat({"a", "b"}) .. ("ab"):rep(2))`, nil, "INFO truestring13ababab"},
		{"what is not there", `for _, n in ipairs({"io", "debug", "require", "dofile", "loadfile", "package", "coroutine"}) do if _G[n] ~= nil then handle:logInfo(n) end end
			for _, n in ipairs({"execute", "exit", "remove", "rename", "tmpname", "setenv"}) do if os[n] ~= nil then handle:logInfo(n) end end`, nil, ""},
		{"types stay as they are", `handle:logInfo(tostring(getmetatable(handle))); handle:logInfo(tostring(pcall(setmetatable, handle, {})))`, nil, "INFO handle|INFO false"},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := asked()
			if row.change != nil {
				row.change(x)
			}
			if _, err := compiled(t, on(row.body)).Request(x); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(x.said, "|"); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// A hook may answer, and nothing after that is done.
func TestRespond(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       *Reply
		err        string
	}{
		{"an answer", `handle:respond({[":status"] = "403", ["X-Why"] = "not you"}, "no"); handle:headers():add("x", "1")`, &Reply{403, []Field{{"x-why", "not you"}}, "no"}, ""},
		{"without a body", `handle:respond({[":status"] = 204})`, &Reply{204, nil, ""}, ""},
		{"several lines of one name", `handle:respond({[":status"] = "200", ["set-cookie"] = {"a=1", "b=2"}})`, &Reply{200, []Field{{"set-cookie", "a=1"}, {"set-cookie", "b=2"}}, ""}, ""},
		{"framing is not the script's", `handle:respond({[":status"] = "200", ["content-length"] = "99", ["connection"] = "x"}, "a")`, &Reply{200, nil, "a"}, ""},
		{"caught", `pcall(function() handle:respond({[":status"] = "403"}, "") end); handle:headers():add("x", "1")`, &Reply{403, nil, ""}, ""},
		{"no status", `handle:respond({["x"] = "y"}, "")`, nil, "respond needs :status"},
		{"a strange status", `handle:respond({[":status"] = "99"}, "")`, nil, ":status must be from 200 to 599"},
		{"a line end in a value", `handle:respond({[":status"] = "200", ["x"] = "a\r\nb: c"}, "")`, nil, "the value of x holds a line end"},
	} {
		t.Run(row.name, func(t *testing.T) {
			x := asked()
			got, err := compiled(t, on(row.body)).Request(x)
			switch {
			case row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)):
				t.Errorf("got %v, want %s", err, row.err)
			case row.err == "" && err != nil:
				t.Error(err)
			case (got == nil) != (row.want == nil), got != nil && (got.Status != row.want.Status || got.Body != row.want.Body || !slices.Equal(got.Fields, row.want.Fields)):
				t.Errorf("got %+v, want %+v", got, row.want)
			}
			if x.head.Changed {
				t.Error("what follows the answer was done")
			}
		})
	}
}

// What ends a hook with an error, in the words that the log has.
func TestErrors(t *testing.T) {
	for _, row := range []struct{ name, body, want string }{
		{"its own", `error("my words")`, "lua_scripts:2: my words"},
		{"of a table", `error({code = 1})`, "table"},
		{"a method that is not there", `handle:nothing()`, "attempt to call a non-function object"},
		{"a call to others", `handle:httpCall("cluster_x", {}, "", 100)`, "httpCall is not served: let an AuthService or a Filter ask others"},
		{"a header's name", `handle:headers():add("a b", "c")`, `"a b" cannot be a header's name`},
		{"a header's value", `handle:headers():replace("a", "b\nc")`, "the value of a holds a line end"},
		{"the start line cannot go", `handle:headers():remove(":path")`, "what stands in the start line can only be replaced"},
		{"a path", `handle:headers():replace(":path", "relative")`, ":path must begin with /"},
		{"a method", `handle:headers():replace(":method", "A B")`, ":method must be a method's name"},
		{"a request has no status", `handle:headers():replace(":status", "200")`, "there is no :status here"},
		{"beyond the body", `handle:body(true):getBytes(0, 1)`, "getBytes(0, 1) of 0 bytes"},
		{"for ever", `while true do end`, "the hook takes too long"},
		{"for ever, and catching it", `while true do pcall(function() while true do end end) end`, "the hook takes too long"},
		{"endless recursion", `local function f() return 1 + f() end; f()`, "stack overflow"},
		{"a text that is too long", `local x = ("x"):rep(1e9)`, "string.rep would make more than 1048576 bytes"},
		{"dots for colons", `handle.headers("x")`, "bad argument #1"},
		{"what cannot be kept", `handle:streamInfo():dynamicMetadata():set("a", "b", print)`, "only texts, numbers, booleans and tables can be kept"},
		{"what nests too deeply", `local t = {}; t.t = t; handle:streamInfo():dynamicMetadata():set("a", "b", t)`, "nest too deeply"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := compiled(t, on(row.body))
			reply, err := p.Request(asked())
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.ContainsAny(err.Error(), "\n\r") || reply != nil {
				t.Errorf("got %v and %v, want %s", reply, err, row.want)
			}
			if _, again := p.Request(asked()); again == nil || !strings.Contains(again.Error(), row.want) {
				t.Errorf("then %v, want %v again", again, err)
			}
		})
	}
}

// A body that cannot be had ends the hook, whatever the script does about it.
func TestBodyFails(t *testing.T) {
	x := asked()
	x.bodyErr = errors.New("too large")
	if _, err := compiled(t, on(`pcall(function() handle:body() end); handle:logInfo("goes on")`)).Request(x); err == nil || len(x.said) > 0 {
		t.Errorf("got %v, said %v", err, x.said)
	}
}

// Scripts that cannot run at all say so before they serve.
func TestCompile(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"a syntax error", "function envoy_on_request(handle)\n  if x then\nend", "cannot be read: lua_scripts"},
		{"an error outside of hooks", "local x = nil .. 1", "cannot be started: lua_scripts:1: "},
		{"endless outside of hooks", "while true do end", "cannot be started: lua_scripts:1: the hook takes too long"},
		{"no file", `local f = io.open("/etc/passwd")`, "cannot be started"},
		{"binary", "\x1bLua", "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := Compile(row.text); err == nil || !strings.HasPrefix(err.Error(), row.want) {
				t.Errorf("got %v, want %s", err, row.want)
			}
		})
	}
	request, response := compiled(t, "local x = 1\nfunction envoy_on_response(handle) end").Hooks()
	if request || !response {
		t.Errorf("got %v, %v", request, response)
	}
}

// What one hook keeps in metadata the other finds, on whatever machine it runs.
func TestDynamicMetadata(t *testing.T) {
	p := compiled(t, `
function envoy_on_request(handle)
  handle:streamInfo():dynamicMetadata():set("mine", "path", handle:headers():get(":path"))
  handle:streamInfo():dynamicMetadata():set("mine", "list", {"a", {b = true, c = 1.5}})
end
function envoy_on_response(handle)
  local mine = handle:streamInfo():dynamicMetadata():get("mine")
  handle:logInfo(mine.path .. mine.list[1] .. tostring(mine.list[2].b) .. mine.list[2].c)
  handle:logInfo(tostring(handle:streamInfo():dynamicMetadata():get("other")))
  for name, values in pairs(handle:streamInfo():dynamicMetadata()) do handle:logInfo(name .. values.path) end
end`)
	x := asked()
	if _, err := p.Request(x); err != nil {
		t.Fatal(err)
	}
	p.machines.New = nil
	for p.machines.Get() != nil { // the answer's hook finds no machine that the request's has used
	}
	if err := p.Response(x); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(x.said, "|"), "INFO /a?b=1atrue1.5|INFO nil|INFO mine/a?b=1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if v, ok := x.metadata.Get("mine", "path"); v != "/a?b=1" || !ok {
		t.Errorf("got %q, %v", v, ok)
	}
}

// A handle that a script keeps is of no use after its hook, and an answer's hook cannot
// answer.
func TestHandleEnds(t *testing.T) {
	p := compiled(t, `
function envoy_on_request(handle)
  if kept then kept:logInfo("late") end
  kept = handle
end
function envoy_on_response(handle) handle:respond({[":status"] = "200"}, "") end`)
	if _, err := p.Request(asked()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Request(asked()); raceEnabled {
		t.Log("under the race detector pools forget at random")
	} else if err == nil || !strings.Contains(err.Error(), "after its hook has ended") {
		t.Errorf("got %v", err)
	}
	if err := p.Response(asked()); err == nil || !strings.Contains(err.Error(), "respond is for envoy_on_request") {
		t.Errorf("got %v", err)
	}
}

// FuzzCompile: whatever a script is made of, it is refused or runs, and ends.
func FuzzCompile(f *testing.F) {
	f.Add(on(`handle:headers():add("x", "y")`))
	f.Add("function envoy_on_response(h) for k, v in pairs(h:headers()) do h:headers():replace(k, v .. v) end end")
	f.Add("x = {} x.x = x setmetatable(x, {__index = x, __call = function() return x() end}) x()")
	f.Add("local s = 'a' for i = 1, 9 do s = s:gsub('a', 'aa') end error(s)")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<10 || strings.Contains(text, "..") { // texts that double are bounded by memory alone
			return
		}
		p, err := Compile(text)
		if err != nil {
			return
		}
		x := asked()
		_, _ = p.Request(x)
		_ = p.Response(x)
		for _, field := range x.head.Fields {
			if strings.ContainsAny(field.Value, "\r\n\x00") || field.Name != strings.ToLower(field.Name) {
				t.Errorf("left %q: %q", field.Name, field.Value)
			}
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	p := compiled(b, on(`if handle:headers():get("accept") ~= nil then handle:headers():replace("x-seen", "yes") end`))
	x := asked()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Request(x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInstructions(b *testing.B) {
	p := compiled(b, on(`while true do end`))
	for b.Loop() {
		_, _ = p.Request(asked())
	}
}
