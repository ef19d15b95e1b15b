package routes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"legate/config"
	"legate/format"
	"legate/wire"
)

// adding adds one header to requests.
func adding(name, value string) mod[config.Mapping] {
	return func(m *config.Mapping) {
		m.Request.Add = []config.HeaderAdd{{Name: name, Value: value, Append: true}}
	}
}

func TestHeaderProblems(t *testing.T) {
	for _, row := range []struct{ name, value, want string }{
		{":path", "x", "cannot be edited"}, {"Host", "x", "cannot be edited"}, {"Content-Length", "1", "cannot be edited"},
		{"x y", "x", "is not a header name"},
	} {
		table, problems := Build(world(anyHost(), mapping("m", "/", adding(row.name, row.value))), Options{})
		expectProblem(t, row.name, problems, row.want)
		if problems[0].Effect != config.FieldIgnored || len(table.Routes[0].Request.adds) != 0 {
			t.Errorf("%s: %v", row.name, problems[0])
		}
	}
}

func TestHeaderNotices(t *testing.T) {
	_, problems := Build(world(anyHost(), mapping("m", "/", adding("x", "a%FILTER_STATE(x)%"))), Options{})
	expectProblem(t, "metadata", problems, "%FILTER_STATE% has no value in this gateway")
	if problems[0].Effect != config.Notice {
		t.Errorf("got %v, want a notice", problems[0])
	}
}

// fixed is a Source that has one value for everything.
type fixed string

func (f fixed) AppendCommand(dst []byte, _ *format.Command) ([]byte, bool) {
	return append(dst, f...), f != ""
}

// edited lists what a head with the lines of have looks like after e.
func edited(e *HeaderEdits, have, added []string, value string) string {
	var h wire.Head
	var to wire.Edits
	h.BuildRequest("GET", "a.test", "/", have...)
	for i := 0; i < len(added); i += 2 {
		to.AddName([]byte(added[i]), []byte(added[i+1]))
	}
	e.Remove(&to)
	e.Add(&to)
	for i := range e.Formats {
		if v := e.Formats[i].Value.Append(nil, fixed(value)); len(v) > 0 {
			e.Formats[i].Put(&to, v)
		}
	}
	var out []string
	for i := range h.Len() {
		if id, name, value := h.Line(i); !to.Drops(id, name) {
			out = append(out, fmt.Sprintf("%s=%s", name, value))
		}
	}
	for i := range to.Adds() {
		a := &to.Adds()[i]
		out = append(out, a.FieldName()+"="+string(a.Value))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestHeaderEdits(t *testing.T) {
	line := func(name, value string, more bool) []config.HeaderAdd {
		return []config.HeaderAdd{{Name: name, Value: value, Append: more}}
	}
	tests := []struct {
		name   string
		wishes config.HeaderWishes
		have   []string
		added  []string // by the edge, before
		value  string   // of every command
		want   string
	}{
		{"nothing", config.HeaderWishes{}, []string{"a", "1"}, nil, "", "a=1"},
		{"add", config.HeaderWishes{Add: line("X-A", "v", true)}, []string{"x-a", "1"}, nil, "", "x-a=1 x-a=v"},
		{"replace", config.HeaderWishes{Add: line("X-A", "v", false)}, []string{"x-a", "1", "x-a", "2"}, nil, "", "x-a=v"},
		{"replace a known name", config.HeaderWishes{Add: line("Accept", "v", false)}, []string{"accept", "1"}, nil, "", "accept=v"},
		{"remove", config.HeaderWishes{Remove: []string{"X-A", "Accept"}}, []string{"x-a", "1", "accept", "2", "b", "3"}, nil, "", "b=3"},
		{"remove, then add", config.HeaderWishes{Remove: []string{"x-a"}, Add: line("x-a", "v", true)}, []string{"x-a", "1"}, nil, "", "x-a=v"},
		{"remove what the edge added", config.HeaderWishes{Remove: []string{"x-envoy-external-address", "l5d-dst-override"}}, nil,
			[]string{"x-envoy-external-address", "1", "l5d-dst-override", "2"}, "", ""},
		{"replace what the edge added", config.HeaderWishes{Add: line("l5d-dst-override", "v", false)}, nil, []string{"l5d-dst-override", "2"}, "", "l5d-dst-override=v"},
		{"an empty value", config.HeaderWishes{Add: line("x-a", "", false)}, []string{"x-a", "1"}, nil, "", "x-a=1"},
		{"white space", config.HeaderWishes{Add: line("x-a", "  v ", false)}, nil, nil, "", "x-a=v"},
		{"a command", config.HeaderWishes{Add: line("x-a", "<%PROTOCOL%>", true)}, []string{"x-a", "1"}, nil, "p", "x-a=1 x-a=<p>"},
		{"a command that replaces", config.HeaderWishes{Add: line("x-a", "%PROTOCOL%", false)}, []string{"x-a", "1"}, nil, "p", "x-a=p"},
		{"a command that replaces a known name", config.HeaderWishes{Add: line("accept", "%PROTOCOL%", false)}, []string{"accept", "1"}, nil, "p", "accept=p"},
		{"a command without a value", config.HeaderWishes{Add: line("x-a", "%PROTOCOL%", false)}, []string{"x-a", "1"}, nil, "", "x-a=1"},
		{"a command that has none here", config.HeaderWishes{Add: line("x-a", "%FILTER_STATE(x)%", false)}, []string{"x-a", "1"}, nil, "p", "x-a=1"},
		{"a value with a line break", config.HeaderWishes{Add: line("x-a", "%DOWNSTREAM_PEER_SUBJECT%", false)}, nil, nil, "a\r\nb: c", "x-a=a  b: c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := Must(t, world(anyHost(), mapping("m", "/", func(m *config.Mapping) { m.Request = test.wishes })))
			if got := edited(&table.Routes[0].Request, test.have, test.added, test.value); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Must builds w, whose notices do not matter.
func Must(t *testing.T, w *config.World) *Table {
	t.Helper()
	table, problems := Build(w, Options{})
	for _, p := range problems {
		if p.Effect != config.Notice {
			t.Fatal(p)
		}
	}
	return table
}

func TestHeaderDefaults(t *testing.T) {
	defaults := config.Defaults{
		Request:  config.HeaderWishes{Add: []config.HeaderAdd{{Name: "x-d", Value: "d"}}, AddField: "config.defaults.add_request_headers", Remove: []string{"x-r"}, RemoveField: "config.defaults.remove_request_headers"},
		Response: config.HeaderWishes{Add: []config.HeaderAdd{{Name: "x-bad", Value: "%NO%"}}, AddField: "config.defaults.httpmapping.add_response_headers"},
	}
	w := world(anyHost(),
		mapping("own", "/own/", adding("x-o", "o")),
		mapping("none", "/none/", func(m *config.Mapping) { m.Request.Add, m.Request.Remove = []config.HeaderAdd{}, []string{} }),
		mapping("silent", "/silent/"),
		mapping("redirecting", "/redirecting/", redirecting),
	)
	w.Modules = []config.Module{{Meta: config.Meta{Kind: "Module", Name: "ambassador"}, Defaults: defaults}}
	table, problems := Build(w, Options{})
	want := map[string]string{"own": "x-keep=1 x-o=o", "none": "x-keep=1 x-r=1", "silent": "x-d=d x-keep=1", "redirecting": "x-keep=1 x-r=1"}
	for _, r := range table.Routes {
		if got := edited(&r.Request, []string{"x-keep", "1", "x-r", "1"}, nil, ""); got != want[r.Mapping.Name] {
			t.Errorf("%s: got %q, want %q", r.Mapping.Name, got, want[r.Mapping.Name])
		}
	}
	for _, p := range problems {
		if p.Ref.Kind != "Module" || p.Field != "config.defaults.httpmapping.add_response_headers.x-bad" || p.Effect != config.FieldIgnored {
			t.Errorf("got %v, want the Module's field ignored", p)
		}
	}
	if len(problems) == 0 {
		t.Error("nothing is said of the Module's bad format")
	}
}
