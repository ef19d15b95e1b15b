package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"legate/config"
)

// luaModule is a Module with a script, and further settings.
func luaModule(script string, fields ...string) string {
	text, err := json.Marshal(script)
	if err != nil {
		panic(err)
	}
	return module(append(fields, "lua_scripts: "+string(text))...)
}

const onRequest, onResponse = "function envoy_on_request(handle)\n%s\nend\n", "function envoy_on_response(handle)\n%s\nend\n"

// What a request's hook leaves is what is matched, judged and sent.
func TestLuaRequests(t *testing.T) {
	scripted := verdict{"accept", "script_answer", 0}
	as := func(v verdict, status int) verdict { v.Status = status; return v }
	for _, row := range []struct {
		name, hook string
		request    string
		want       verdict
		saw        string // of the service: method, path, host, and the header x
		answer     string // the body that came
	}{
		{"a header for the service", `handle:headers():add("x", "1")`, request("GET", "/x/a", ""), served, "GET /a example.com 1 ", "ok"},
		{"in place of the client's", `handle:headers():replace("x", "1")`, request("GET", "/x/a", "", "X: theirs", "x: more"), served, "GET /a example.com 1 ", "ok"},
		{"a header that chooses the route", `handle:headers():add("x-choose", "other")`, request("GET", "/x/a", ""), served, "GET /chosen/a example.com  ", "ok"},
		{"another path", `handle:headers():replace(":path", "/x/../x/b?c=d")`, request("GET", "/nowhere", ""), served, "GET /b?c=d example.com  ", "ok"},
		{"another name", `handle:headers():replace(":authority", "b.example")`, request("GET", "/x/a", ""), served, "GET /a b.example  ", "ok"},
		{"another method", `handle:headers():replace(":method", "PUT")`, request("POST", "/x/a", "hello"), served, "PUT /a example.com  hello", "ok"},
		{"a method that would change what follows", `handle:headers():replace(":method", "HEAD")`, request("GET", "/x/a", ""), served, "GET /a example.com  ", "ok"},
		{"what the edge says is there", `if handle:headers():get("x-request-id") and handle:headers():get("x-forwarded-proto") == "http" and handle:headers():get("x-envoy-internal") == "true" then handle:headers():add("x", "seen") end`,
			request("GET", "/x/a", ""), served, "GET /a example.com seen ", "ok"},
		{"the body", `handle:headers():add("x", handle:body():getBytes(0, 3))`, request("POST", "/x/a", "hello"), served, "POST /a example.com hel hello", "ok"},
		{"a chunked body", `handle:headers():add("x", handle:body():length())`, "POST /x/a HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", served, "POST /a example.com 5 hello", "ok"},
		{"another body", `handle:body():setBytes("another one")`, request("POST", "/x/a", "hello"), served, "POST /a example.com  another one", "ok"},
		{"a body where there was none", `handle:body(true):setBytes("new")`, request("POST", "/x/a", ""), served, "POST /a example.com  new", "ok"},
		{"no body any more", `handle:body():setBytes("")`, request("POST", "/x/a", "hello"), served, "POST /a example.com  ", "ok"},
		{"a body that is too long", `handle:body()`, request("POST", "/x/a", strings.Repeat("x", 2000)), verdict{"accept", "body_too_large", 413}, "", "Payload Too Large"},
		{"an answer", `handle:respond({[":status"] = "403", ["x-why"] = "mine"}, "not you")`, request("GET", "/x/a", ""), as(scripted, 403), "", "not you"},
		{"one where no route is", `handle:respond({[":status"] = "200"}, "here")`, request("GET", "/nowhere", ""), as(scripted, 200), "", "here"},
		{"one with a body on its way", `handle:respond({[":status"] = "401"}, "")`, request("POST", "/x/a", "hello"), as(scripted, 401), "", ""},
		{"an error lets the request go on, as it is by then", `handle:headers():add("x", "1"); error("oops")`, request("GET", "/x/a", ""), served, "GET /a example.com 1 ", "ok"},
		{"as does one without end", `while true do end`, request("GET", "/x/a", ""), served, "GET /a example.com  ", "ok"},
		{"a path that makes no sense", `handle:headers():replace(":path", "/%zz")`, request("GET", "/x/a", ""), served, "GET /a example.com  ", "ok"},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, seen := seeing(t, plainOK)
			g := open(t, everyone+luaModule(fmt.Sprintf(onRequest, row.hook), "buffer_limit_bytes: 1000")+
				mapping("x", "/x/", up)+mapping("chosen", "/x/", up, "headers: {x-choose: other}", "rewrite: /chosen/"))
			a, rec := g.send(row.request)
			if rec.verdict != row.want || a.body != row.answer || a.StatusCode != row.want.Status {
				t.Errorf("got %v, %d %q, want %v, %q", rec.verdict, a.StatusCode, a.body, row.want, row.answer)
			}
			saw := ""
			if len(seen) > 0 {
				s := <-seen
				saw = fmt.Sprintf("%s %s %s %s %s", s.Method, s.RequestURI, s.Host, strings.Join(s.Header.Values("X"), ","), s.body)
			}
			if saw != row.saw {
				t.Errorf("the service saw %q, want %q", saw, row.saw)
			}
		})
	}
}

// What an answer's hook leaves is what the client gets, whoever has answered.
func TestLuaAnswers(t *testing.T) {
	const hello = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Powered-By: x\r\nContent-Length: 5\r\n\r\nhello"
	for _, row := range []struct {
		name, hook, module string
		request            string
		want               verdict
		header             string // name=value of a header of the answer
		body               string
	}{
		{"a header", `handle:headers():add("x-frame-options", "deny")`, "", request("GET", "/x/", ""), served, "X-Frame-Options=deny", "hello"},
		{"one less", `handle:headers():remove("x-powered-by")`, "", request("GET", "/x/", ""), served, "X-Powered-By=", "hello"},
		{"the server's name", `handle:headers():replace("server", "mine")`, "", request("GET", "/x/", ""), served, "Server=mine", "hello"},
		{"a status", `handle:headers():replace(":status", "202")`, "", request("GET", "/x/", ""), verdict{"proxy", "", 202}, "Content-Length=5", "hello"},
		{"not one that has no body", `handle:headers():replace(":status", "204")`, "", request("GET", "/x/", ""), served, "Content-Length=5", "hello"},
		{"the body", `handle:headers():add("x-length", handle:body():length())`, "", request("GET", "/x/", ""), served, "X-Length=5", "hello"},
		{"another body", `handle:body():setBytes("good day")`, "", request("GET", "/x/", ""), served, "Content-Length=8", "good day"},
		{"of one that is compressed it sees what there was", `handle:headers():add("x-seen", handle:body():getBytes(0, 5) .. handle:headers():get("content-encoding"))`,
			"gzip: {min_content_length: 1}", request("GET", "/x/", "", "Accept-Encoding: gzip"), served, "X-Seen=hellogzip", zipped("hello")},
		{"none of HEAD", `handle:headers():add("x-body", tostring(handle:body())); handle:body(true):setBytes("x")`, "", request("HEAD", "/x/", ""), served, "Content-Length=5", ""},
		{"of nobody's", `handle:headers():add("x-status", handle:headers():get(":status"))`, "", request("GET", "/nowhere", ""), verdict{"match", "no_route", 404}, "X-Status=404", ""},
		{"of ours", `handle:headers():add("x-type", handle:headers():get("content-type")); handle:body():setBytes("gone")`, "", request("GET", "/gone/", ""), verdict{"proxy", "dial_refused", 503}, "X-Type=text/plain", "gone"},
		{"of an override", `handle:headers():add("x-length", handle:body():length())`, `error_response_overrides: [{on_status_code: 404, body: {text_format: "no %RESPONSE_CODE%"}}]`, request("GET", "/nowhere", ""),
			verdict{"match", "no_route", 404}, "X-Length=6", "no 404"},
		{"what the request's hook has noted", `handle:headers():add("x-noted", handle:streamInfo():dynamicMetadata():get("a").b)`, "", request("GET", "/x/", ""), served, "X-Noted=/x/", "hello"},
		{"an error lets it go on, as it is by then", `handle:headers():add("x", "1"); error("oops")`, "", request("GET", "/x/", ""), served, "X=1", "hello"},
		{"too long to be held back", `handle:body()`, "buffer_limit_bytes: 4", request("GET", "/x/", ""), verdict{"proxy", "answer_too_large", 502}, "Server=envoy", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			up := service(t, func(p *peer) {
				for r, _ := p.request(); r != nil; r, _ = p.request() {
					if r.Method == http.MethodHead {
						p.say(strings.TrimSuffix(hello, "hello"))
					} else {
						p.say(hello)
					}
				}
			})
			script := fmt.Sprintf(onRequest, `handle:streamInfo():dynamicMetadata():set("a", "b", handle:headers():get(":path"))`) + fmt.Sprintf(onResponse, row.hook)
			g := open(t, everyone+luaModule(script, row.module)+mapping("x", "/x/", up)+mapping("gone", "/gone/", "127.0.0.1:1"))
			c := g.dial()
			method, _, _ := strings.Cut(row.request, " ")
			for range 2 { // the connections go on
				c.say(row.request)
				a := c.hear(method)
				name, value, _ := strings.Cut(row.header, "=")
				if rec := g.next(); rec.verdict != row.want || a.StatusCode != row.want.Status || a.Header.Get(name) != value || a.body != row.body {
					t.Errorf("got %v, %d %v %q", rec.verdict, a.StatusCode, a.Header, a.body)
				}
			}
		})
	}
}

// zipped is what the Module's gzip makes of text.
func zipped(text string) string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// Errors are counted and told, without what nobody may read.
func TestLuaSays(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+luaModule(fmt.Sprintf(onRequest, `handle:logInfo("saw " .. handle:headers():get("authorization")); error("with " .. handle:headers():get("cookie"))`))+mapping("x", "/x/", up))
	if _, rec := g.get("/x/", "Authorization: Bearer s3cr3t-t0k3n", "Cookie: session=abcdef"); rec.verdict != served {
		t.Errorf("got %v", rec.verdict)
	}
	said := g.log.String()
	for _, want := range []string{`"a Lua script says" text="saw [redacted]"`, `msg="a Lua script failed" hook=envoy_on_request error="lua_scripts:2: with [redacted]"`} {
		if !strings.Contains(said, want) {
			t.Errorf("the log lacks %s:\n%s", want, said)
		}
	}
	if strings.Contains(said, "s3cr3t") || strings.Contains(said, "abcdef") {
		t.Errorf("the log holds a secret:\n%s", said)
	}
	if n := g.metrics.ScriptErrors("envoy_on_request").Value(); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// A script that cannot be compiled may have been meant to refuse requests.
func TestLuaBroken(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+luaModule("function envoy_on_request(handle)")+mapping("x", "/x/", up, "bypass_auth: true"))
	if _, rec := g.get("/x/"); rec.verdict != (verdict{"authn", "policy_invalid", 503}) {
		t.Errorf("got %v", rec.verdict)
	}
	problems := g.Problems()
	if len(problems) != 1 || problems[0].Field != "config.lua_scripts" || problems[0].Effect != config.ObjectDropped || problems[0].Ref.Line == 0 {
		t.Errorf("got %v", problems)
	}
}

// A script goes on over a reload that leaves it as it is, and another takes its place.
func TestLuaReload(t *testing.T) {
	up, _ := seeing(t, plainOK)
	world := func(text, rest string) config.World {
		w := read(everyone + luaModule(text) + mapping("x", "/x/", up) + rest)
		w.Listeners[0].Port = 0
		return w
	}
	count := fmt.Sprintf(onRequest, `n = (n or 0) + 1; handle:respond({[":status"] = "200"}, tostring(n))`)
	g := newGate(t)
	g.Apply(t.Context(), world(count, ""))
	first := g.snap.Load().script
	g.Apply(t.Context(), world(count, mapping("y", "/y/", up)))
	if g.snap.Load().script != first {
		t.Error("the script was compiled anew")
	}
	g.Apply(t.Context(), world(fmt.Sprintf(onRequest, `handle:respond({[":status"] = "201"}, "")`), ""))
	if _, rec := g.get("/x/"); rec.Status != 201 {
		t.Errorf("got %v", rec.verdict)
	}
	g.Apply(t.Context(), read(everyone+mapping("x", "/x/", up)))
	if _, rec := g.get("/x/"); rec.verdict != served {
		t.Errorf("got %v", rec.verdict)
	}
}

// A call of gRPC keeps its trailers when a script has looked at its body.
func TestLuaTrailers(t *testing.T) {
	answer := grpcAnswer{body: frame(0, "reply"), status: "0"}
	g := open(t, everyone+luaModule(fmt.Sprintf(onResponse, `handle:headers():add("x-t", handle:trailers():get("grpc-status"))`))+
		mapping("x", "/x/", answer.serve(t), "grpc: true"))
	a, rec := g.send(request("POST", "/x/", frame(0, "ask"), "Content-Type: application/grpc", "TE: trailers"))
	if rec.verdict != served || a.Header.Get("X-T") != "0" || a.Trailer.Get("Grpc-Status") != "0" || a.body != frame(0, "reply") {
		t.Errorf("got %v, %v, trailer %v", rec.verdict, a.Header, a.Trailer)
	}
}

// Explain runs the request's hook, too.
func TestLuaExplained(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g := open(t, everyone+luaModule(fmt.Sprintf(onRequest, `if handle:headers():get(":path") == "/no" then handle:respond({[":status"] = "403"}, "") end; handle:headers():replace(":path", "/x/")`))+mapping("x", "/x/", up))
	for url, want := range map[string]string{"http://example.com/no": "accept script_answer 403", "http://example.com/other": "proxy  0"} {
		e, err := g.Explain(Question{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %d", e.Stage, e.Reason, e.Status); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}

// TestAllocsLua bounds what a request with two hooks allocates. Without a script it is
// nothing: see TestAllocsServe.
func TestAllocsLua(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n"+strings.Repeat("x", 300))
	g := open(t, everyone+luaModule(fmt.Sprintf(onRequest, `handle:headers():add("x", "1")`)+fmt.Sprintf(onResponse, `handle:headers():add("y", "1")`))+mapping("r", "/r/", up), deaf(t))
	c := g.dial()
	say, b := []byte(request("GET", "/r/x", "", "User-Agent: t")), make([]byte, 64<<10)
	once := func() {
		if _, err := c.Write(say); err != nil {
			t.Fatal(err)
		}
		for n := 0; !whole(b[:n]); {
			m, err := c.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(200, once); n > 90 {
		t.Errorf("got %v allocations a request, want 90 at most", n)
	}
}
