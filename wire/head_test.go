package wire

import "testing"

func TestNormalizePath(t *testing.T) {
	merge, reject := PathRules{MergeSlashes: true}, PathRules{RejectEscapedSlashes: true}
	for _, c := range []struct {
		raw, want string
		rules     PathRules
		bad       bool
	}{
		{raw: "/", want: "/"},
		{raw: "", want: "/"},
		{raw: "*", want: "*"},
		{raw: "/a/b", want: "/a/b"},
		{raw: "/need-normalization/../x/", want: "/x/"},
		{raw: "/../a", want: "/a"},
		{raw: "/a/./b", want: "/a/b"},
		{raw: "/a/b/.", want: "/a/b/"},
		{raw: "/a/b/..", want: "/a/"},
		{raw: "/..", want: "/"},
		{raw: "/%2e%2E/a", want: "/a"},
		{raw: "/a/.%2e/b", want: "/b"},
		{raw: "/.well-known/x", want: "/.well-known/x"},
		{raw: "/a..b/...", want: "/a..b/..."},
		{raw: `/a\b\..\c`, want: "/a/c"},
		{raw: "/%41%7e%2d", want: "/A~-"},
		{raw: "/%2f%2F", want: "/%2f%2F"},
		{raw: "/%2f", rules: reject, bad: true},
		{raw: "/%5c", rules: reject, bad: true},
		{raw: "//a///b", want: "//a///b"},
		{raw: "//a///b", rules: merge, want: "/a/b"},
		{raw: "/a//../b", want: "/a/b"},
		{raw: "/%00", bad: true},
		{raw: "/%", bad: true},
		{raw: "/%%", bad: true},
		{raw: "/%zz", bad: true},
		{raw: "/%4", bad: true},
		{raw: "/a#b", bad: true},
		{raw: "a", want: "/a"},
		{raw: "/caf%C3%A9", want: "/caf%C3%A9"},
	} {
		var h Head
		h.BuildRequest("GET", "x", c.raw)
		err := h.NormalizePath(c.rules)
		if (err != nil) != c.bad {
			t.Errorf("%q: error %v, want bad=%v", c.raw, err, c.bad)
			continue
		}
		if err == nil && string(h.Path()) != c.want {
			t.Errorf("%q: got %q, want %q", c.raw, h.Path(), c.want)
		}
		if err == nil {
			once := string(h.Path())
			if err := h.NormalizePath(c.rules); err != nil || string(h.Path()) != once {
				t.Errorf("%q: normalising twice gives %q, %v", c.raw, h.Path(), err)
			}
		}
	}
}

func TestValidAuthority(t *testing.T) {
	good := []string{"a", "a.example.com", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:443", "A_b-c.d", "a:65535"}
	bad := []string{"", ":80", "a:b", "a:65536", "a b", "u@h", "a/b", "a?b", "a#b", "[::1", "::1", "[]", "[g::1]", "a%41", "a\x00", "a\\b", "é", "[::1]x", "a:8 0"}
	for _, a := range good {
		if !ValidAuthority([]byte(a)) {
			t.Errorf("%q refused", a)
		}
	}
	for _, a := range bad {
		if ValidAuthority([]byte(a)) {
			t.Errorf("%q accepted", a)
		}
	}
}

func TestHeadLooksUpKnownAndOtherNames(t *testing.T) {
	var h Head
	h.BuildRequest("GET", "x", "/p?q=1", "Accept", "a", "X-Other", "b", "Cookie", "c", "cookie", "d")
	if got := string(h.Get(FieldAccept)); got != "a" {
		t.Errorf("accept: got %q", got)
	}
	if got, ok := h.Find("x-other"); !ok || string(got) != "b" {
		t.Errorf("x-other: got %q %v", got, ok)
	}
	if got := string(h.Get(FieldCookie)); got != "c" || h.Count(FieldCookie) != 2 {
		t.Errorf("cookie: got %q, %d lines", got, h.Count(FieldCookie))
	}
	if q, ok := h.Query(); !ok || string(q) != "q=1" {
		t.Errorf("query: got %q %v", q, ok)
	}
	h.RemoveNamed([]byte("Accept"))
	if h.Has(FieldAccept) || string(h.Get(FieldCookie)) != "c" || h.Len() != 3 {
		t.Errorf("after removal: accept %v, cookie %q, %d lines", h.Has(FieldAccept), h.Get(FieldCookie), h.Len())
	}
}

func TestEveryKnownFieldIsFound(t *testing.T) {
	for f := FieldOther + 1; f < NumFields; f++ {
		if got := LookupField([]byte(f.String())); got != f {
			t.Errorf("%q: got %d, want %d", f, got, f)
		}
	}
	if NumFields > 64 {
		t.Errorf("%d names do not fit a FieldSet", NumFields)
	}
}

func TestEditsSetReplacesWhatWasAdded(t *testing.T) {
	var e Edits
	e.Add(FieldServer, []byte("one"))
	e.SetName([]byte("server"), []byte("two"))
	e.AddName([]byte("x-a"), []byte("1"))
	e.SetName([]byte("x-a"), []byte("2"))
	adds := e.Adds()
	if len(adds) != 2 || string(adds[0].Value) != "two" || string(adds[1].Value) != "2" {
		t.Errorf("got %v", adds)
	}
	if !e.Drops(FieldServer, nil) || !e.Drops(FieldOther, []byte("x-a")) || e.Drops(FieldVia, nil) {
		t.Error("drops are wrong")
	}
}

func TestAllocsHead(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are counted without the race detector")
	}
	var h Head
	name, value := []byte("x-request-idaccept"), []byte("v")
	if n := testing.AllocsPerRun(100, func() {
		h.Reset(h.Buffer()[:0])
		a := h.Append(name[:12])
		b := h.Append(name[12:])
		v := h.Append(value)
		h.AddSpan(a, v)
		h.AddSpan(b, v)
		_ = h.Get(FieldAccept)
		_, _ = h.Find("x-request-id")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
