package format

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"legate/config"
	"legate/wire"
)

// values is a Source of what it holds.
type values map[Op]string

var moment = time.Date(2026, 2, 3, 16, 5, 6, 78_912_345, time.FixedZone("", 3600))

func (v values) AppendCommand(dst []byte, c *Command) ([]byte, bool) {
	if c.Op == StartTime {
		return c.AppendTime(dst, moment), true
	}
	value, ok := v[c.Op]
	if c.Op == Req && (c.Name.ID == wire.FieldUserAgent || c.Alt.Name == ":path") {
		return append(dst, "known"...), true
	}
	return append(dst, value...), ok
}

var some = values{ResponseCode: "200", UpstreamHost: "10.1.2.3:80", RouteName: "a \"b\"\\\n\xff", Protocol: "HTTP/1.1", Req: "secret", GRPCStatus: "OK", ResponseFlags: ""}

func TestFormats(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		format            string
		header, body, log string
	}{
		{"", "", "", ""},
		{"plain", "plain", "plain", "plain"},
		{"100%%", "100%", "100%", "100%"},
		{"%%%RESPONSE_CODE%%%", "%200%", "%200%", "%200%"},
		{"%RESPONSE_CODE%", "200", "200", "200"},
		{"code=%RESPONSE_CODE% by %UPSTREAM_HOST%.", "code=200 by 10.1.2.3:80.", "code=200 by 10.1.2.3:80.", "code=200 by 10.1.2.3:80."},
		{"%UPSTREAM_HOST:4%", "10.1", "10.1", "10.1"},
		{"%UPSTREAM_HOST:0%", "", "", ""},
		{"%UPSTREAM_HOST:99%", "10.1.2.3:80", "10.1.2.3:80", "10.1.2.3:80"},
		{"%UPSTREAM_CLUSTER%", "", "-", "-"},
		{"%UPSTREAM_CLUSTER:0%", "", "-", "-"},
		{"%RESPONSE_FLAGS%", "", "", ""},
		{"a%UPSTREAM_CLUSTER%b", "ab", "a-b", "a-b"},
		{"%REQ(user-agent)%", "known", "known", "known"},
		{"%REQ(USER-AGENT)%", "known", "known", "known"},
		{"%REQ(X-Envoy-Original-Path?:PATH):3%", "kno", "kno", "kno"},
		{"%REQ(authorization)%", "secret", "secret", "[redacted]"},
		{"%REQ(Cookie):3%", "sec", "sec", "[re"},
		{"%REQ(x-token?authorization)%", "secret", "secret", "[redacted]"},
		{"%RESP(set-cookie)%", "", "-", "-"},
		{"%GRPC_STATUS(CAMEL_STRING)%", "OK", "OK", "OK"},
		{"%HOSTNAME%", host, host, host},
		{"%HOSTNAME:1%", host[:1], host[:1], host[:1]},
		{"%DYNAMIC_METADATA(ns:key)%", "", "-", "-"},
		{"%DYNAMIC_METADATA(ns:key):7%", "", "-", "-"},
		{`%UPSTREAM_METADATA(["a","b"])%`, "", "-", "-"},
		{"%FILTER_STATE(k)%", "", "-", "-"},
		{"%PER_REQUEST_STATE(k)%", "", "-", "-"},
		{"%FILTER_CHAIN_NAME%", "", "-", "-"},
		{"%DOWNSTREAM_TLS_SESSION_ID%", "", "-", "-"},
		{"%START_TIME%", "2026-02-03T15:05:06.078Z", "2026-02-03T15:05:06.078Z", "2026-02-03T15:05:06.078Z"},
		{"%START_TIME(%Y (%m))%", "2026 (02)", "2026 (02)", "2026 (02)"},
		{"%START_TIME(%s):4%", "1770", "1770", "1770"},
		{"%ROUTE_NAME%", "a \"b\"\\ \xff", "a \"b\"\\\n\xff", `a \"b\"\\\u000a\ufffd`},
	}
	for _, test := range tests {
		for use, want := range []string{Header: test.header, Body: test.body, Log: test.log} {
			f, _, err := Compile(test.format, Use(use))
			if err != nil {
				t.Errorf("%s: %v", test.format, err)
				continue
			}
			if got := string(f.Append(nil, some)); got != want {
				t.Errorf("%s, use %d: got %q, want %q", test.format, use, got, want)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	for format, want := range map[string]string{
		"":                           "2026-02-03T15:05:06.078Z",
		"%Y/%m/%dT%H:%M:%S%z":        "2026/02/03T15:05:06+0000",
		"%Y-%m-%dT%H:%M:%E3SZ":       "2026-02-03T15:05:06.078Z",
		"%s.%3f":                     "1770131106.078",
		"%s%6f":                      "1770131106078912",
		"%f":                         "078912345",
		"%9f %1f %E4f":               "078912345 0 0789",
		"%a %A %b %B %h":             "Tue Tuesday Feb February Feb",
		"%e|%k|%l|%I %p":             " 3|15| 3|03 PM",
		"%j %u %w %y %E4Y":           "034 2 2 26 2026",
		"%F %T %D %R":                "2026-02-03 15:05:06 02/03/26 15:05",
		"%r %c":                      "03:05:06 PM Tue Feb  3 15:05:06 2026",
		"%Z %Ez %% %n%t|":            "UTC +00:00 % \n\t|",
		"no verbs":                   "no verbs",
		"[%d/%b/%Y:%H:%M:%S %z] end": "[03/Feb/2026:15:05:06 +0000] end",
	} {
		f, err := parseTime(format)
		if err != nil {
			t.Errorf("%s: %v", format, err)
			continue
		}
		if got := string(f.append(nil, moment)); got != want {
			t.Errorf("%s: got %q, want %q", format, got, want)
		}
	}
	for _, format := range []string{"%", "%Q", "%E", "%3S", "%E5Y", "%0f", "%E3", "%5"} {
		if f, err := parseTime(format); err == nil {
			t.Errorf("%s: is taken for %v, want an error", format, f)
		}
	}
	for hour, want := range map[int]string{0: "12 AM", 1: "01 AM", 11: "11 AM", 12: "12 PM", 13: "01 PM", 23: "11 PM"} {
		f, _ := parseTime("%I %p")
		if got := string(f.append(nil, time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC))); got != want {
			t.Errorf("hour %d: got %q, want %q", hour, got, want)
		}
	}
}

func TestWhatIsNoFormat(t *testing.T) {
	for format, want := range map[string]string{
		"%":                             "does not begin a %COMMAND%",
		"50% off":                       "does not begin a %COMMAND%",
		"%RESPONSE_CODE":                "does not begin a %COMMAND%",
		"%NO_SUCH_COMMAND%":             "there is no command %NO_SUCH_COMMAND%",
		"%response_code%":               "does not begin a %COMMAND%",
		"%RESPONSE_CODE(x)%":            "takes nothing in parentheses",
		"%RESPONSE_CODE()%":             "takes nothing in parentheses",
		"%REQ%":                         "must be told the name of a header",
		"%REQ()%":                       "must be told the name of a header",
		"%REQ(a b)%":                    "must be told the name of a header",
		"%REQ(a?b?c)%":                  "must be told the name of a header",
		"%REQ(a?)%":                     "must be told the name of a header",
		"%REQ(a%":                       "does not begin a %COMMAND%",
		"%REQ(a):%":                     "does not begin a %COMMAND%",
		"%REQ(a):-1%":                   "does not begin a %COMMAND%",
		"%REQ(a):99999999999999999999%": "does not begin a %COMMAND%",
		"%REQ(a)x%":                     "does not begin a %COMMAND%",
		"%START_TIME(%Q)%":              "is no part of a time",
		"%GRPC_STATUS(x)%":              "takes CAMEL_STRING",
		"%()%":                          "does not begin a %COMMAND%",
	} {
		if _, _, err := Compile(format, Log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", format, err, want)
		}
	}
}

func TestNotices(t *testing.T) {
	for format, want := range map[string]string{
		"%FILTER_STATE(a:b)%":                 "%FILTER_STATE% has no value in this gateway",
		"%UPSTREAM_TRANSPORT_FAILURE_REASON%": "%UPSTREAM_TRANSPORT_FAILURE_REASON% is for logs: clients must not see it",
		"%RESPONSE_CODE%":                     "",
	} {
		_, notices, err := Compile(format, Header)
		if got := strings.Join(notices, "|"); err != nil || got != want {
			t.Errorf("%s: got %q and %v, want %q", format, got, err, want)
		}
	}
	if _, notices, _ := Compile("%UPSTREAM_TRANSPORT_FAILURE_REASON%", Log); len(notices) != 0 {
		t.Errorf("in a log: %q, want no notice", notices)
	}
}

func TestConstants(t *testing.T) {
	for format, want := range map[string]string{"": "", "a%%b": "a%b", "x%FILTER_STATE(a:b)%y": "xy"} {
		f, _, err := Compile(format, Header)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := f.Constant(); !ok || string(got) != want {
			t.Errorf("%s: got %q and %v, want %q", format, got, ok, want)
		}
	}
	f, _, _ := Compile("a%PROTOCOL%", Header)
	if _, ok := f.Constant(); ok {
		t.Error("a command is said to be constant")
	}
}

func TestEarly(t *testing.T) {
	f, _, err := Compile("%RESP(a)% %PROTOCOL% %TRAILER(b)% %GRPC_STATUS% %UPSTREAM_LOCAL_ADDRESS%", Log)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range f.Early() {
		if c.Slot != i {
			t.Errorf("command %d has slot %d", i, c.Slot)
		}
	}
	if len(f.Early()) != 4 {
		t.Errorf("got %d early commands, want 4", len(f.Early()))
	}
}

// object is a template of all kinds.
func object() *config.Template {
	text := func(s string) config.Template { return config.Template{Text: s} }
	return &config.Template{Kind: config.TemplateObject, Fields: []config.TemplateField{
		{Name: "code", Value: text("%RESPONSE_CODE%")},
		{Name: "says", Value: text("code was %RESPONSE_CODE%")},
		{Name: "none", Value: text("%UPSTREAM_CLUSTER%")},
		{Name: "size", Value: text("%BYTES_SENT%")},
		{Name: `qu"ote`, Value: text("a\"b %ROUTE_NAME%")},
		{Name: "empty", Value: text("")},
		{Name: "never", Value: text("%FILTER_STATE(x)%")},
		{Name: "n", Value: config.Template{Kind: config.TemplateNumber, Text: "7"}},
		{Name: "b", Value: config.Template{Kind: config.TemplateBool, Text: "true"}},
		{Name: "null", Value: config.Template{Kind: config.TemplateNull}},
		{Name: "in", Value: config.Template{Kind: config.TemplateObject, Fields: []config.TemplateField{{Name: "proto", Value: text("%PROTOCOL%")}}}},
		{Name: "list", Value: config.Template{Kind: config.TemplateList, Items: []config.Template{text("%RESPONSE_CODE%"), text("x")}}},
		{Name: "void", Value: config.Template{Kind: config.TemplateObject}},
	}}
}

func TestJSON(t *testing.T) {
	for _, test := range []struct {
		types bool
		want  string
	}{
		{false, `{"code":"200","says":"code was 200","none":"-","size":"-","qu\"ote":"a\"b a \"b\"\\\u000a\ufffd","empty":"","never":"-",` +
			`"n":"7","b":"true","null":null,"in":{"proto":"HTTP/1.1"},"list":["200","x"],"void":{}}`},
		{true, `{"code":200,"says":"code was 200","none":null,"size":null,"qu\"ote":"a\"b a \"b\"\\\u000a\ufffd","empty":"","never":null,` +
			`"n":7,"b":true,"null":null,"in":{"proto":"HTTP/1.1"},"list":[200,"x"],"void":{}}`},
	} {
		f, _, err := CompileJSON(object(), Log, test.types)
		if err != nil {
			t.Fatal(err)
		}
		got := string(f.Append(nil, some))
		if got != test.want {
			t.Errorf("typed %v:\ngot  %s\nwant %s", test.types, got, test.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("typed %v: is no JSON", test.types)
		}
	}
	bad := &config.Template{Kind: config.TemplateObject, Fields: []config.TemplateField{{Name: "a", Value: *object()}}}
	bad.Fields[0].Value.Fields[10].Value.Fields[0].Value.Text = "%NO%"
	if _, _, err := CompileJSON(bad, Log, true); err == nil || !strings.HasPrefix(err.Error(), "a.in.proto: there is no command %NO%") {
		t.Errorf("got %v, want the field named", err)
	}
}

// FuzzFormat holds formats to JSON and to one line, whatever values and formats are.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{"%RESPONSE_CODE%", "%REQ(a?b):3%", "%START_TIME(%s.%3f)%", "%%", "%(", "%A(:9%", "x%ROUTE_NAME:7%y", "%HOSTNAME%"} {
		f.Add(s, "va\"l\n\xff")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		src := values{}
		for op := range numOps {
			if src[op] = value; op.numeric() {
				src[op] = "42"
			}
		}
		header, _, err := Compile(text, Header)
		if err != nil {
			return
		}
		if _, constant := header.Constant(); !constant && !strings.ContainsAny(text, "\r\n\x00%(") {
			if got := string(header.Append(nil, src)); strings.ContainsAny(got, "\r\n") {
				t.Errorf("%q holds a line break", got)
			}
		}
		for _, types := range []bool{false, true} {
			j, _, err := CompileJSON(&config.Template{Kind: config.TemplateList, Items: []config.Template{{Text: text}}}, Log, types)
			if err != nil {
				t.Fatalf("%q is a format, but not in JSON: %v", text, err)
			}
			if got := j.Append(nil, src); !json.Valid(got) || !utf8.Valid(got) && utf8.ValidString(text) {
				t.Errorf("%q makes %q, which is no JSON", text, got)
			}
		}
	})
}

func TestAllocsFormat(t *testing.T) {
	f, _, err := CompileJSON(object(), Log, true)
	if err != nil {
		t.Fatal(err)
	}
	start, _, err := Compile("%START_TIME(%F %T.%3f %b)% %START_TIME%", Log)
	if err != nil {
		t.Fatal(err)
	}
	var src Source = some
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = start.Append(f.Append(b[:0], src), src) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkLine(b *testing.B) {
	f, _, err := Compile(`ACCESS [%START_TIME%] "%PROTOCOL%" %RESPONSE_CODE% "%UPSTREAM_HOST%" "%UPSTREAM_CLUSTER%"`, Log)
	if err != nil {
		b.Fatal(err)
	}
	var src Source = some
	out := make([]byte, 0, 1024)
	for b.Loop() {
		out = f.Append(out[:0], src)
	}
}
