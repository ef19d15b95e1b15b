package templates

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"legate/config"
	"legate/wire"
)

const claims = `{
	"sub": "alice", "email": "a@example.com", "iat": 1516239022, "level": 2.5, "admin": true, "nothing": null,
	"permissions": ["read", "write"], "numbers": [1, 2.5, 1e21], "mixed": ["a", {"b": 1}], "empty": [],
	"address": {"city": "Bern", "zip": 3000, "tags": ["x", "y"]}, "quote": "<a&b>", "folded": "a\nb", "nul": "a\u0000b", "Raw": "forged"
}`

// render returns what a header's template makes of the token above, "(unset)" where it is
// not to be set.
func render(t testing.TB, text string) (string, error) {
	t.Helper()
	h, err := NewHeaders([]config.HeaderTemplate{{Name: "X", Value: text}})
	if err != nil {
		return "", err
	}
	var decoded map[string]any
	if err := json.Unmarshal([]byte(claims), &decoded); err != nil {
		t.Fatal(err)
	}
	head := &wire.Head{}
	head.BuildRequest("GET", "x", "/", "x-a", "1", "x-a", "2")
	data := map[string]any{
		"token":       h.TokenFor("h.p.s", map[string]any{"alg": "ES256"}, decoded, "s"),
		requestHeader: RequestHeader(head, &wire.Edits{}),
	}
	lines, err := h.Render(data, h.PerRequest())
	switch {
	case err != nil:
		return "", err
	case len(lines) == 0:
		return "(unset)", nil
	}
	return string(lines[0].Value), nil
}

func TestHeaderTemplates(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"plain", "plain"},
		{"", ""},
		{"{{ .token.Raw }} {{ .token.Signature }} {{ .token.Header.alg }}", "h.p.s s ES256"},
		{"{{ .token.Claims.sub }}", "alice"},
		{"{{ .token.Claims.iat }}", "1.516239022e+09"},
		{`{{ printf "%.0f" .token.Claims.iat }}`, "1516239022"},
		{"{{ .token.Claims.permissions }}", "[read write]"},
		{"{{ .token.Claims.address }}", "map[city:Bern tags:[x y] zip:3000]"},
		{"{{ .token.Claims.missing }}", "<no value>"},
		{"{{ .token.Claims.nothing }}", "<no value>"},

		{"{{ .token.sub }}", "alice"},
		{"{{ .token.iat }}", "1516239022"},
		{`{{ printf "%.0f" .token.iat }}`, "1516239022"},
		{"{{ .token.level }} {{ .token.admin }}", "2.5 true"},
		{"{{ .token.permissions }}", "read,write"},
		{"{{ .token.numbers }}", "1,2.5,1000000000000000000000"},
		{"{{ .token.mixed }}", `["a",{"b":1}]`},
		{"{{ .token.empty }}", ""},
		{"{{ .token.address }}", `{"city":"Bern","tags":["x","y"],"zip":3000}`},
		{"{{ .token.address.city }} {{ .token.address.zip }} {{ .token.address.tags }}", "Bern 3000 x,y"},
		{"{{ range .token.permissions }}<{{ . }}>{{ end }}", "<read><write>"},
		{"{{ index .token.permissions 1 }} {{ len .token.permissions }}", "write 2"},
		{"{{ .token.quote }}", "<a&b>"},
		{"{{ .token.missing }}", "(unset)"},
		{`{{ index .token "sub" }}`, "alice"},
		{`{{ index .token (printf "%s" "s" | printf "%sub") }}`, "alice"},
		{`{{ range $name, $claim := .token }}{{ if eq $name "permissions" }}{{ $claim }}{{ end }}{{ end }}`, "read,write"},
		{"{{ with .token }}{{ .sub }}{{ end }}", "alice"},
		{"{{ $t := .token }}{{ $t.sub }}", "alice"},
		{"{{ $d := . }}{{ $d.token.sub }}", "alice"},
		{`{{ define "who" }}{{ .sub }}{{ end }}{{ template "who" .token }}`, "alice"},
		{"{{ .token.nothing }}", "(unset)"},
		{"{{ .token.missing.deeper.still }}", "(unset)"},
		{"user {{ .token.missing }}", "(unset)"},
		{"{{ if .token.missing }}a{{ else }}b{{ end }}", "b"},
		{"{{ with .token.email }}{{ . }}{{ else }}none{{ end }}", "a@example.com"},
		{"{{ with .token.missing }}{{ . }}{{ else }}none{{ end }}", "none"},
		{"{{ with .token }}{{ .sub }} {{ .missing }}{{ end }}", "(unset)"},
		{"{{ $t := .token }}{{ $t.sub }}", "alice"},
		{`{{ eq .token.sub "alice" }} {{ eq .token.missing "alice" }}`, "true false"},

		{`{{ hasKey .token.Claims "sub" }} {{ hasKey .token.Claims "missing" }}`, "true false"},
		{`{{ hasKey .token "sub" }} {{ hasKey .token "missing" }} {{ hasKey .token.address "zip" }}`, "true false true"},
		{`{{ if hasKey .token.Claims "missing" }}{{ .token.Claims.missing }}{{ else }}{{ doNotSet }}{{ end }}`, "(unset)"},
		{"a{{ doNotSet }}b", "(unset)"},
		{`{{ .httpRequestHeader.Get "X-A" }} {{ len (index .httpRequestHeader "X-A") }}`, "1 2"},
		{`{{ .httpRequestHeader.Set "X-A" "3" }}`, "(error)"},
		{`{{ .httpRequestHeader.Get "missing" }}`, ""},

		{"  {{ .token.sub }}\n", "alice"},
		{"a\r\nb\nc", "a b c"},
		{"{{ .token.folded }}", "a b"},
		{"{{ .token.nul }}", "(unset)"},
		{"bell\a", "(unset)"},
	} {
		got, err := render(t, row.text)
		if err != nil {
			got = "(error)"
		}
		if got != row.want {
			t.Errorf("%s: got %q (%v), want %q", row.text, got, err, row.want)
		}
	}
}

func TestBrokenHeaders(t *testing.T) {
	for _, row := range []struct {
		header config.HeaderTemplate
		field  string
		text   string
	}{
		{config.HeaderTemplate{Name: "X", Value: "{{ .token.sub"}, "value", "unclosed action"},
		{config.HeaderTemplate{Name: "X", Value: `{{ . | json "" }}`}, "value", `function "json" not defined`},
		{config.HeaderTemplate{Name: "X", Value: "{{ exec }}"}, "value", `function "exec" not defined`},
		{config.HeaderTemplate{Name: "X Y", Value: ""}, "name", "is no name of a header"},
		{config.HeaderTemplate{Name: "", Value: ""}, "name", "is no name of a header"},
		{config.HeaderTemplate{Name: "Host", Value: ""}, "name", "cannot be set"},
		{config.HeaderTemplate{Name: "Transfer-Encoding", Value: ""}, "name", "cannot be set"},
	} {
		_, err := NewHeaders([]config.HeaderTemplate{{Name: "fine", Value: "a"}, row.header})
		h, ok := errors.AsType[*HeaderError](err)
		if !ok || h.Index != 1 || h.Field != row.field || !strings.Contains(err.Error(), row.text) || strings.HasPrefix(err.Error(), "template:") {
			t.Errorf("%+v: got %v", row.header, err)
		}
	}
	if _, err := NewResponse(&config.ErrorResponse{Body: "{{"}); err == nil {
		t.Error("a body that cannot be read is taken")
	}
	if _, err := NewResponse(&config.ErrorResponse{Headers: []config.HeaderTemplate{{Name: "X", Value: `{{ json "" . }}`}}}); err == nil {
		t.Error("json is taken in a header")
	}
}

// What depends on the token alone is made apart from what depends on the request.
func TestPerRequest(t *testing.T) {
	for text, want := range map[string]bool{
		"{{ .token.sub }}": false,
		"{{ range .token.Claims.groups }}{{ $x := 1 }}{{ $x }}{{ end }}":        false,
		`{{ .httpRequestHeader.Get "a" }}`:                                      true,
		`{{ with .httpRequestHeader }}a{{ end }}`:                               true,
		`{{ if true }}{{ else }}{{ .httpRequestHeader }}{{ end }}`:              true,
		`{{ index . "httpRequestHeader" }}`:                                     true,
		`{{ $.httpRequestHeader }}`:                                             true,
		`{{ $a := $ }}{{ $a }}`:                                                 true,
		`{{ . }}`:                                                               true,
		`{{ define "x" }}{{ .httpRequestHeader }}{{ end }}{{ template "x" . }}`: true,
	} {
		h, err := NewHeaders([]config.HeaderTemplate{{Name: "X", Value: text}})
		if err != nil {
			t.Fatal(err)
		}
		if h.PerRequest() != want {
			t.Errorf("%s: got %t, want %t", text, h.PerRequest(), want)
		}
	}
}

// The default answer, and what templates know beside it.
func TestResponse(t *testing.T) {
	plain, err := NewResponse(&config.ErrorResponse{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		refusal Refusal
		want    string
	}{
		{Refusal{Status: 403, Message: "<no> & \"yes\"", RequestID: "r"}, "{\n\t\"message\": \"\\u003cno\\u003e \\u0026 \\\"yes\\\"\",\n\t\"status_code\": 403\n}"},
		{Refusal{Status: 503, Message: "m", RequestID: "r"}, "{\n\t\"message\": \"m\",\n\t\"request_id\": \"r\",\n\t\"status_code\": 503\n}"},
		{Refusal{Status: 429, Message: "m", Extra: map[string]any{"RetryAfter": 3}}, "{\n\t\"RetryAfter\": 3,\n\t\"message\": \"m\",\n\t\"status_code\": 429\n}"},
	} {
		a := plain.Render(&row.refusal)
		if string(a.Body) != row.want || a.Status != row.refusal.Status || string(a.ContentType) != "application/json" || a.Err != nil {
			t.Errorf("got %d %s\n%s\nwant\n%s", a.Status, a.ContentType, a.Body, row.want)
		}
	}
	custom, err := NewResponse(&config.ErrorResponse{
		Headers: []config.HeaderTemplate{{Name: "content-type", Value: "a/b"}, {Name: "X-Wait", Value: "{{ .RetryAfter }}"}},
		Body:    `{{ .message }} {{ .status_code }} {{ . | json "" }}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	a := custom.Render(&Refusal{Status: 429, Message: "m", RequestID: "r", Extra: map[string]any{"RetryAfter": 3}})
	if string(a.ContentType) != "a/b" || len(a.Headers) != 1 || string(a.Headers[0].Value) != "3" || string(a.Body) != "m 429 {\n\t\"RetryAfter\": 3,\n\t\"message\": \"m\",\n\t\"status_code\": 429\n}" {
		t.Errorf("got %+v %s", a, a.Body)
	}
	failing, err := NewResponse(&config.ErrorResponse{Headers: []config.HeaderTemplate{{Name: "X-Bad", Value: "{{ index .message 9 }}"}}})
	if err != nil {
		t.Fatal(err)
	}
	a = failing.Render(&Refusal{Status: 401, Message: "m", RequestID: "r"})
	if a.Status != 500 || a.Err == nil || !strings.Contains(string(a.Body), `"message": "errorResponse: generating header \"X-Bad\": `) {
		t.Errorf("got %+v %s", a, a.Body)
	}
}

// A template is made once and rendered by anybody's claims: whatever both are, the value
// is one that a field can carry, and nothing panics.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"{{ .token.sub }}", "{{ .token.Claims.x }}", "{{ range .token.a }}{{ . }}{{ end }}", "{{ hasKey .token \"a\" }}{{ doNotSet }}", `{{ printf "%s" .token.a.b }}`} {
		for _, payload := range []string{claims, `{"a":{"b":[{"c":"\r\nX-Evil: 1"}]}}`, `{"a":"\u0000"}`, `{"a":null}`} {
			f.Add(text, payload)
		}
	}
	f.Fuzz(func(t *testing.T, text, payload string) {
		h, err := NewHeaders([]config.HeaderTemplate{{Name: "X", Value: text}})
		if err != nil || len(text) > 1000 || strings.Contains(text, "range") && strings.Contains(text, "template") {
			return
		}
		var decoded map[string]any
		if json.Unmarshal([]byte(payload), &decoded) != nil {
			return
		}
		head := &wire.Head{}
		head.BuildRequest("GET", "x", "/")
		data := map[string]any{"token": h.TokenFor("h.p.s", nil, decoded, "s"), requestHeader: RequestHeader(head, &wire.Edits{})}
		lines, err := h.Render(data, h.PerRequest())
		if err != nil {
			return
		}
		for _, l := range lines {
			if strings.ContainsAny(string(l.Value), "\x00\r\n") || strings.TrimSpace(string(l.Value)) != string(l.Value) && strings.Trim(string(l.Value), " \t") != string(l.Value) {
				t.Errorf("%q of %q makes %q", text, payload, l.Value)
			}
		}
	})
}
