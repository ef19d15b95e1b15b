package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a failure says in the place of its own words.
func TestErrorOverrides(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte("<h1>%RESPONSE_CODE%</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	const teapot = "HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nContent-Type: text/x\r\nContent-Encoding: br\r\nX-Kept: yes\r\n\r\nshort"
	notFound := verdict{"match", "no_route", 404}
	for _, row := range []struct {
		name, rules, path, reply string
		want                     verdict
		body, contentType        string
	}{
		{"our own answer", `[{on_status_code: 404, body: {text_format: "there has been an error: %RESPONSE_CODE%"}}]`, "/none", "", notFound, "there has been an error: 404", "text/plain"},
		{"the service's", `[{on_status_code: 418, body: {text_format: "%REQ(x-name)% %PROTOCOL% %RESP(x-kept)%"}}]`, "/x/", teapot, verdict{"proxy", "", 418}, "n HTTP/1.1 yes", "text/plain"},
		{"what has to be put together, within a text", `[{on_status_code: 404, body: {text_format: "%REQ(:path)% is not %REQ(:path)%, %REQ(:method)%"}}]`, "/none?q=1", "", notFound, "/none?q=1 is not /none?q=1, GET", "text/plain"},
		{"other statuses are left alone", `[{on_status_code: 404, body: {text_format: x}}]`, "/x/", teapot, verdict{"proxy", "", 418}, "short", "text/x"},
		{"the first rule wins", `[{on_status_code: "404", body: {text_format: one}}, {on_status_code: 404, body: {text_format: two}}]`, "/none", "", notFound, "one", "text/plain"},
		{"JSON", `[{on_status_code: 404, body: {json_format: {custom_error: truth, code: "%RESPONSE_CODE%", text: "code was %RESPONSE_CODE%", yes: true, n: 7, none: "%REQ(x-none)%"}}}]`, "/none", "",
			notFound, `{"custom_error":"truth","code":404,"text":"code was 404","yes":"true","n":"7","none":null}`, "application/json"},
		{"a type of its own", `[{on_status_code: 404, body: {json_format: {a: b}, content_type: "application/problem+json; x"}}]`, "/none", "", notFound, `{"a":"b"}`, "application/problem+json; x"},
		{"a file", `[{on_status_code: 404, body: {text_format_source: {filename: "` + file + `"}, content_type: text/html}}]`, "/none", "", notFound, "<h1>404</h1>", "text/html"},
		{"nothing", `[{on_status_code: 418, body: {text_format: ""}}]`, "/x/", teapot, verdict{"proxy", "", 418}, "", "text/plain"},
		{"a rule without sense is skipped alone", `[{on_status_code: 399, body: {text_format: a}}, {on_status_code: 404}, {on_status_code: 404, body: {text_format: a, json_format: {}}}, {on_status_code: 404, body: {text_format: "%NONSENSE%"}}, {on_status_code: 404, body: {text_format_source: {filename: /nowhere}}}, {on_status_code: 404, body: {text_format: last}}]`,
			"/none", "", notFound, "last", "text/plain"},
		{"no rule with sense", `[{on_status_code: 404}]`, "/none", "", notFound, "", ""},
		{"a denial", `[{on_status_code: 503, body: {text_format: closed}}]`, "/closed/", "", verdict{"authn", "policy_invalid", 503}, "closed", "text/plain"},
		{"a service that is not there", `[{on_status_code: 503, body: {text_format: "%UPSTREAM_HOST% %RESPONSE_FLAGS%"}}]`, "/gone/", "", verdict{"proxy", "dial_refused", 503}, "127.0.0.1:1 UF", "text/plain"},
		{"a failure without a body", `[{on_status_code: 500, body: {text_format: sorry}}]`, "/x/", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", verdict{"proxy", "", 500}, "sorry", "text/plain"},
		{"one that streams", `[{on_status_code: 500, body: {text_format: sorry}}]`, "/x/", "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", verdict{"proxy", "", 500}, "sorry", "text/plain"},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, _ := seeing(t, row.reply)
			g := open(t, everyone+module("error_response_overrides: "+row.rules)+mapping("x", "/x/", up)+mapping("gone", "/gone/", "127.0.0.1:1")+mapping("closed", "/closed/", up, "jwt: broken"))
			a, rec := g.get(row.path, "X-Name: n")
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.body != row.body || a.err != nil || a.Header.Get("Content-Type") != row.contentType || a.ContentLength != int64(len(row.body)) {
				t.Errorf("got %v, %d %v %q", rec.verdict, a.StatusCode, a.Header, a.body)
			}
			if row.reply == teapot && (a.Header.Get("X-Kept") != "yes" || (a.Header.Get("Content-Encoding") == "") != (a.body != "short")) {
				t.Errorf("got %v", a.Header)
			}
		})
	}
}

// Whose rules count.
func TestErrorOverridesOfWhom(t *testing.T) {
	const module404 = `error_response_overrides: [{on_status_code: 503, body: {text_format: module}}]`
	const own = `error_response_overrides: [{on_status_code: 503, body: {text_format: own}}]`
	for _, row := range []struct {
		name, fields, want string
	}{
		{"the Module's", "", "module"},
		{"a Mapping's own", own, "own"},
		{"instead of all of the Module's", `error_response_overrides: [{on_status_code: 404, body: {text_format: own}}]`, "upstream connect error"},
		{"not its own that make no sense", `error_response_overrides: [{on_status_code: 404}]`, "module"},
		{"nobody's", "bypass_error_response_overrides: true", "upstream connect error"},
	} {
		g := open(t, everyone+module(module404)+mapping("x", "/x/", "127.0.0.1:1", row.fields))
		if a, rec := g.get("/x/"); !strings.HasPrefix(a.body, row.want) || rec.verdict != (verdict{"proxy", "dial_refused", 503}) {
			t.Errorf("%s: got %v %q", row.name, rec.verdict, a.body)
		}
	}
}

// The connection to a service stays where all that it said is at hand.
func TestErrorOverridesKeepConnections(t *testing.T) {
	connections := make(chan int, 100)
	up := service(t, func(p *peer) {
		connections <- p.n
		for {
			if r, _ := p.request(); r == nil {
				return
			}
			p.say("HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nabc")
		}
	})
	g := open(t, everyone+mapping("x", "/x/", up, `error_response_overrides: [{on_status_code: 500, body: {text_format: sorry}}]`))
	c := g.dial()
	for range 5 {
		c.say(request("GET", "/x/", ""))
		if a := c.hear("GET"); a.body != "sorry" {
			t.Fatalf("got %q", a.body)
		}
	}
	c.say(request("HEAD", "/x/", ""))
	if a := c.hear("HEAD"); a.ContentLength != 5 || a.body != "" {
		t.Errorf("HEAD: got %d, %q", a.ContentLength, a.body)
	}
	if len(connections) != 1 {
		t.Errorf("%d connections to the service", len(connections))
	}
}

// A file that holds secrets is shown to nobody, and what is no file keeps nobody waiting.
func TestErrorOverridesHideSecrets(t *testing.T) {
	dir := t.TempDir()
	link, pipe, key := filepath.Join(dir, "page"), filepath.Join(dir, "pipe"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.Symlink("/proc/self/environ", link), syscall.Mkfifo(pipe, 0o600), os.WriteFile(key, []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/proc/self/environ", link, "/dev/null", "/etc", pipe, key} {
		g := newGate(t)
		problems := fmt.Sprint(g.Apply(t.Context(), read(everyone+module(`error_response_overrides: [{on_status_code: 404, body: {text_format_source: {filename: "`+name+`"}}}]`))))
		if a, _ := g.get("/none"); a.body != "" || !strings.Contains(problems, "the rule is skipped") {
			t.Errorf("%s: got %q, %s", name, a.body, problems)
		}
	}
}
