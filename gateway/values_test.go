package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"legate/config"
	"legate/telemetry"
)

// logged is a gateway whose access log is read line by line.
func logged(t *testing.T, manifests string) (*gate, <-chan string) {
	t.Helper()
	written := make(chan string, 1000)
	access := telemetry.NewAccessLog(lines{func(line []byte) { written <- string(line) }}, telemetry.AccessLogOptions{Interval: time.Microsecond})
	t.Cleanup(func() {
		if err := access.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return open(t, manifests, func(o *Options) { o.AccessLog = func(string, string) *telemetry.AccessLog { return access } }), written
}

// Every command that needs no TLS, in a log of one value each.
func TestCommands(t *testing.T) {
	up := service(t, func(p *peer) {
		for {
			r, _ := p.request()
			if r == nil {
				return
			}
			p.say("HTTP/1.1 201 Created\r\nContent-Type: text/x\r\nSet-Cookie: secret=1\r\nX-Two: a\r\nX-Two: b\r\nGrpc-Status: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: t\r\n\r\n")
		}
	})
	number := `^\d+$`
	rows := map[string]string{
		"%REQ(User-Agent)%":                               "^agent$",
		"%REQ(:METHOD)%":                                  "^POST$",
		"%REQ(:PATH)%":                                    `^/b\?q=1$`,
		"%REQ(:AUTHORITY)%":                               "^a.test$",
		"%REQ(:SCHEME)%":                                  "^http$",
		"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%":              `^/r/b\?q=1$`,
		"%REQ(X-NONE?User-Agent):3%":                      "^age$",
		"%REQ(X-NONE)%":                                   "^-$",
		"%REQ(X-GONE)%":                                   "^-$",
		"%REQ(X-ADDED)%":                                  "^yes$",
		"%REQ(authorization)%":                            `^\[redacted\]$`,
		"%REQ(cookie)%":                                   `^\[redacted\]$`,
		"%REQ(X-REQUEST-ID)%":                             "^[0-9a-f-]{36}$",
		"%REQ(X-FORWARDED-FOR)%":                          "^127.0.0.1$",
		"%RESP(content-type)%":                            "^text/x$",
		"%RESP(Set-Cookie)%":                              `^\[redacted\]$`,
		"%RESP(x-two)%":                                   "^a$",
		"%RESP(x-to-client)%":                             "^yes$",
		"%RESP(server)%":                                  "^envoy$",
		"%RESP(:STATUS)%":                                 "^201$",
		"%RESP(x-none)%":                                  "^-$",
		"%TRAILER(x-late)%":                               "^t$",
		"%TRAILER(x-none?x-late)%":                        "^t$",
		"%TRAILER(x-none)%":                               "^-$",
		"%START_TIME%":                                    `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`,
		"%START_TIME(%s)%":                                `^\d{10}$`,
		"%PROTOCOL%":                                      "^HTTP/1.1$",
		"%RESPONSE_CODE%":                                 "^201$",
		"%RESPONSE_CODE_DETAILS%":                         "^via_upstream$",
		"%RESPONSE_FLAGS%":                                "^-$",
		"%BYTES_RECEIVED%":                                "^3$",
		"%BYTES_SENT%":                                    "^2$",
		"%DURATION%":                                      number,
		"%REQUEST_DURATION%":                              number,
		"%RESPONSE_DURATION%":                             number,
		"%RESPONSE_TX_DURATION%":                          number,
		"%ROUTE_NAME%":                                    "^r.default$",
		"%UPSTREAM_HOST%":                                 "^" + regexp.QuoteMeta(up) + "$",
		"%UPSTREAM_CLUSTER%":                              `^127_0_0_1_\d+$`,
		"%UPSTREAM_LOCAL_ADDRESS%":                        `^127\.0\.0\.1:\d+$`,
		"%UPSTREAM_TRANSPORT_FAILURE_REASON%":             "^-$",
		"%UPSTREAM_REQUEST_ATTEMPT_COUNT%":                "^1$",
		"%DOWNSTREAM_REMOTE_ADDRESS%":                     `^127\.0\.0\.1:\d+$`,
		"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":        `^127\.0\.0\.1$`,
		"%DOWNSTREAM_REMOTE_PORT%":                        number,
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%":              `^127\.0\.0\.1:\d+$`,
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%": `^127\.0\.0\.1$`,
		"%DOWNSTREAM_DIRECT_REMOTE_PORT%":                 number,
		"%DOWNSTREAM_LOCAL_ADDRESS%":                      `^127\.0\.0\.1:\d+$`,
		"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%":         `^127\.0\.0\.1$`,
		"%DOWNSTREAM_LOCAL_PORT%":                         number,
		"%REQUESTED_SERVER_NAME%":                         "^-$",
		"%DOWNSTREAM_TLS_VERSION%":                        "^-$",
		"%DOWNSTREAM_PEER_SUBJECT%":                       "^-$",
		"%CONNECTION_ID%":                                 number,
		"%GRPC_STATUS%":                                   "^NotFound$",
		"%GRPC_STATUS(SNAKE_STRING)%":                     "^NOT_FOUND$",
		"%GRPC_STATUS(NUMBER)%":                           "^5$",
		"%GRPC_STATUS_NUMBER%":                            "^5$",
		"%LOCAL_REPLY_BODY%":                              "^-$",
		"%DYNAMIC_METADATA(a:b)%":                         "^-$",
	}
	format := []string{"envoy_log_type: json", "envoy_log_format:"}
	for command := range rows {
		format = append(format, "  "+quoted(command)+": "+quoted(command))
	}
	g, written := logged(t, everyone+module(format...)+mapping("r", "/r/", up,
		"add_request_headers: {x-added: yes}", "remove_request_headers: [x-gone]", "add_response_headers: {x-to-client: yes}"))
	c := g.dial()
	c.say("POST /r/b?q=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: agent\r\nX-Gone: 1\r\nAuthorization: Bearer abc\r\nCookie: a=b\r\nContent-Length: 3\r\n\r\nabc")
	c.hear("POST")
	line := <-written
	var got map[string]string
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	for command, want := range rows {
		if !regexp.MustCompile(want).MatchString(got[command]) {
			t.Errorf("%s: got %q, want %s", command, got[command], want)
		}
	}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Logs in every kind of format, and of answers of our own.
func TestLogFormats(t *testing.T) {
	up, _ := seeing(t, plainOK)
	for _, row := range []struct {
		name, target string
		module       []string
		want         string
		problem      string
	}{
		{"text", "/r/x", []string{"envoy_log_type: text", `envoy_log_format: "%REQ(:METHOD)% %RESPONSE_CODE% 100%%"`}, "GET 200 100%\n", ""},
		{"text without a type", "/r/x", []string{`envoy_log_format: "%RESPONSE_CODE%\n"`}, "200\n", ""},
		{"no route", "/none", []string{`envoy_log_format: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% %RESP(server)% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"`}, "404 NR no_route - envoy - 0\n", ""},
		{"no service", "/down/", []string{`envoy_log_format: "%RESPONSE_CODE% %RESPONSE_FLAGS% %LOCAL_REPLY_BODY:16% %RESP(content-type)%"`}, "503 UF upstream connect text/plain\n", ""},
		{"json", "/r/x", []string{"envoy_log_type: json", `envoy_log_format: {code: "%RESPONSE_CODE%", n: 1, none: "%REQ(x)%", in: {p: "<%PROTOCOL%>"}}`},
			`{"code":"200","n":"1","none":"-","in":{"p":"<HTTP/1.1>"}}` + "\n", ""},
		{"typed_json", "/r/x", []string{"envoy_log_type: typed_json", `envoy_log_format: {code: "%RESPONSE_CODE%", n: 1, none: "%REQ(x)%", in: [true, "<%PROTOCOL%>"]}`},
			`{"code":200,"n":1,"none":null,"in":[true,"<HTTP/1.1>"]}` + "\n", ""},
		{"an unknown command", "/r/x", []string{`envoy_log_format: "%NO%"`}, "", "there is no command %NO%; the built-in format is used"},
		{"an unknown command in json", "/r/x", []string{"envoy_log_type: json", `envoy_log_format: {a: {b: "%NO%"}}`}, "", "a.b: there is no command %NO%; the built-in format is used"},
		{"an object for text", "/r/x", []string{"envoy_log_type: text", `envoy_log_format: {a: b}`}, "", "must be a text, as envoy_log_type is text"},
		{"a text for json", "/r/x", []string{"envoy_log_type: json", `envoy_log_format: "%PROTOCOL%"`}, "", "must be an object, as envoy_log_type is json"},
		{"metadata", "/r/x", []string{`envoy_log_format: "<%DYNAMIC_METADATA(a:b)%%FILTER_STATE(a)%>"`}, "<-->\n", "%FILTER_STATE% has no value in this gateway; what stands for a missing value is written"},
	} {
		t.Run(row.name, func(t *testing.T) {
			g, written := logged(t, everyone+module(row.module...)+mapping("r", "/r/", up)+mapping("down", "/down/", refusing(t)))
			c := g.dial()
			c.say(request("GET", row.target, ""))
			c.hear("GET")
			if got := <-written; row.want != "" && got != row.want || row.want == "" && !strings.HasPrefix(got, `{"time":"`) {
				t.Errorf("got %q, want %q", got, cmp.Or(row.want, "our own JSON"))
			}
			var problems []string
			for _, p := range g.Problems() {
				problems = append(problems, p.String())
			}
			if got := strings.Join(problems, "\n"); !strings.Contains(got, row.problem) || row.problem == "" && got != "" {
				t.Errorf("problems %q, want %q", got, row.problem)
			}
		})
	}
}

// Formats in headers, both ways; what is missing adds nothing.
func TestFormattedHeaders(t *testing.T) {
	up, seen := seeing(t, "HTTP/1.1 200 OK\r\nServer: theirs\r\nX-Up: u\r\nX-Gone: g\r\nContent-Length: 2\r\n\r\nok")
	g := open(t, everyone+mapping("r", "/r/", up,
		`add_request_headers: {x-client: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", x-path: "%REQ(:PATH)%", x-none: "%REQ(x-nothing)%", x-gone-too: "%REQ(x-gone)%", user-agent: {value: "<%REQ(user-agent)%>", append: false}}`,
		`remove_request_headers: [x-gone]`,
		`add_response_headers: {x-code: "%RESPONSE_CODE%", x-host: "%UPSTREAM_HOST%", x-up: {value: "%RESP(x-up)%2", append: false}, x-asked: "%REQ(x-client)%", server: {value: mine, append: false}, x-fail: "%RESP(x-gone)%"}`,
		`remove_response_headers: [x-gone]`,
	)+mapping("down", "/down/", refusing(t), `add_response_headers: {x-code: "%RESPONSE_CODE%", x-flags: "%RESPONSE_FLAGS%"}`))
	a, _ := g.get("/r/x?a=b", "User-Agent: t", "X-Gone: 1")
	s := <-seen
	for name, want := range map[string]string{"X-Client": "127.0.0.1", "X-Path": "/r/x?a=b", "X-None": "", "X-Gone-Too": "", "User-Agent": "<t>", "X-Envoy-Original-Path": "/r/x?a=b"} {
		if got := strings.Join(s.Header.Values(name), "|"); got != want {
			t.Errorf("the service saw %s %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"X-Code": "200", "X-Host": up, "X-Up": "u2", "X-Asked": "127.0.0.1", "Server": "envoy", "X-Gone": "", "X-Fail": ""} {
		if got := strings.Join(a.Header.Values(name), "|"); got != want {
			t.Errorf("the client saw %s %q, want %q", name, got, want)
		}
	}
	a, _ = g.get("/down/")
	if got := a.Header.Get("X-Code") + " " + a.Header.Get("X-Flags"); a.StatusCode != 503 || got != "503 UF" {
		t.Errorf("an answer of our own: %d with %q", a.StatusCode, got)
	}
}

func TestUnderscores(t *testing.T) {
	up, seen := seeing(t, plainOK)
	for _, row := range []struct {
		action string
		want   verdict
		seen   string
	}{
		{"ALLOW", served, "1"},
		{"DROP_HEADER", served, ""},
		{"REJECT_REQUEST", verdict{"accept", "header_underscore", 400}, ""},
	} {
		g := open(t, everyone+module("headers_with_underscores_action: "+row.action)+mapping("r", "/", up))
		_, rec := g.get("/", "X_A: 1", "X_B: 2", "X-C: 3")
		if rec.verdict != row.want {
			t.Errorf("%s: got %v, want %v", row.action, rec.verdict, row.want)
		}
		if row.want == served {
			if s := <-seen; s.Header.Get("X_a") != row.seen || s.Header.Get("X-C") != "3" {
				t.Errorf("%s: the service saw %v", row.action, s.Header)
			}
		}
		if _, rec := g.get("/", "X-C: 3"); rec.verdict != served {
			t.Errorf("%s, no underscore: %v", row.action, rec.verdict)
		}
		<-seen
	}
}

// Spellings are looked at byte by byte: net/http would hide them.
func TestSpellings(t *testing.T) {
	for _, row := range []struct{ setting, up, down string }{
		{"server_name: x", "\r\nx-my-id: 1\r\n", "\r\nx-two: 2\r\n"},
		{"proper_case: true", "\r\nX-My-Id: 1\r\n", "\r\nX-Two: 2\r\n"},
		{"proper_case: true", "\r\nHost: ", "HTTP/1.1 103 Early Hints\r\nX-Two: 1\r\n\r\nHTTP/1.1 200 OK\r\n"},
		{"header_case_overrides: [X-MY-Id, content-LENGTH]", "\r\nX-MY-Id: 1\r\n", "\r\ncontent-LENGTH: 2\r\n"},
	} {
		heard := make(chan string, 1)
		up := service(t, func(p *peer) {
			var b [4096]byte
			n, err := p.Read(b[:])
			if err != nil {
				return
			}
			heard <- string(b[:n])
			p.say("HTTP/1.1 103 Early Hints\r\nX-Two: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-Two: 2\r\nContent-Length: 2\r\n\r\nok")
			p.wait()
		})
		g := open(t, everyone+module(row.setting)+mapping("r", "/", up))
		c := g.dial()
		c.say(request("GET", "/", "", "x-MY-id: 1"))
		if got := <-heard; !strings.Contains(got, row.up) {
			t.Errorf("%s: the service heard %q, want %q", row.setting, got, row.up)
		}
		var b [4096]byte
		n := 0
		for !bytes.HasSuffix(b[:n], []byte("ok")) {
			m, err := c.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
		if got := string(b[:n]); !strings.Contains(got, row.down) {
			t.Errorf("%s: the client heard %q, want %q", row.setting, got, row.down)
		}
	}
}

// A client behind a trusted proxy has an address, and no port that anybody knows.
func TestAddressesBehindProxies(t *testing.T) {
	up, seen := seeing(t, plainOK)
	g := newGate(t)
	g.Apply(t.Context(), behindProxy(everyone+mapping("r", "/", up,
		`add_request_headers: {x-remote: "%DOWNSTREAM_REMOTE_ADDRESS%", x-direct: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", x-local: "%DOWNSTREAM_LOCAL_ADDRESS%"}`),
		func(l *config.Listener) { l.L7Depth = 1 }))
	for client, want := range map[string]string{"198.51.100.7": "198.51.100.7:0", "": "10.1.2.3:5000"} {
		var header []string
		if client != "" {
			header = []string{"X-Forwarded-For: " + client}
		}
		g.asked("10.1.2.3", "a.test", "/", header...)
		s := <-seen
		if got := s.Header.Get("X-Remote"); got != want {
			t.Errorf("X-Forwarded-For %q: remote %q, want %q", client, got, want)
		}
		if got := s.Header.Get("X-Direct"); got != "127.0.0.1" {
			t.Errorf("direct %q, want our neighbour", got)
		}
		if got := s.Header.Get("X-Local"); got != netip.MustParseAddrPort("10.0.0.1:80").String() {
			t.Errorf("local %q, want what the PROXY header says", got)
		}
	}
}

// The built-in line of text has X-Forwarded-For as the service gets it.
func TestTextLineHasThePeer(t *testing.T) {
	up, seen := seeing(t, plainOK)
	var written lockedBuffer
	access := telemetry.NewAccessLog(&written, telemetry.AccessLogOptions{Format: telemetry.Text, Interval: time.Hour})
	g := open(t, everyone+mapping("r", "/", up), func(o *Options) { o.AccessLog = func(string, string) *telemetry.AccessLog { return access } })
	c := g.dial()
	c.say(request("GET", "/", "", "X-Forwarded-For: 198.51.100.7"))
	c.hear("GET")
	<-seen
	g.waitFor("the line is there", func() bool {
		access.Flush()
		return strings.Contains(written.String(), ` "198.51.100.7, 127.0.0.1" `)
	})
	if err := access.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the engine refuses, and what comes by HTTP/2, is written in the same format.
func TestLogFormatOfEverything(t *testing.T) {
	up, _ := seeing(t, plainOK)
	g, written := logged(t, everyone+module(
		`envoy_log_format: "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT% %DURATION:0%%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"`)+mapping("r", "/", up))
	c := g.dial()
	c.say("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n")
	c.hear("GET")
	if got, want := <-written, "GET / HTTP/1.1 400 DPE bad_host 0 127.0.0.1\n"; got != want {
		t.Errorf("refused: got %q, want %q", got, want)
	}
	c = g.dial()
	c.say("GET / HTTP/1.1x\r\n\r\n")
	c.hear("GET")
	if got, want := <-written, "GET - - 400 DPE bad_request 0 127.0.0.1\n"; got != want {
		t.Errorf("nonsense: got %q, want %q", got, want)
	}
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + g.addr() + "/two")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got, want := <-written, "GET /two HTTP/2 200 - via_upstream 2 127.0.0.1\n"; got != want {
		t.Errorf("HTTP/2: got %q, want %q", got, want)
	}
}

// What has to be put together for a command stands within the text around it.
func TestFormatsWithinText(t *testing.T) {
	up, seen := seeing(t, plainOK)
	g := open(t, everyone+mapping("x", "/x/", up, `add_request_headers: {x-a: "from %REQ(:path)% on, %REQ(:path)%"}`, `add_response_headers: {x-b: "was %RESP(:status)% for %REQ(:path)%."}`))
	a, _ := g.get("/x/y?q=1")
	if r := <-seen; r.Header.Get("X-A") != "from /x/y?q=1 on, /x/y?q=1" || a.Header.Get("X-B") != "was 200 for /y?q=1." {
		t.Errorf("the service got %q, the client %q", r.Header.Get("X-A"), a.Header.Get("X-B"))
	}
}
