package authn

import (
	"slices"
	"testing"
)

type fixed string

func (fixed) Serve(*Call) {}

func TestEndpoints(t *testing.T) {
	var s Endpoints
	adds := []struct {
		path string
		want bool
	}{
		{"/auth/token", true},
		{"/auth/token", false},
		{"/.ambassador/oauth2/*", true},
		{"/.ambassador/oauth2/*", false},
		{"/.ambassador/oauth2/callback", false},
		{"/auth/revoke", true},
	}
	for _, a := range adds {
		if got := s.Add(a.path, fixed(a.path), "Filter a/"+a.path); got != a.want {
			t.Errorf("Add(%q) = %v, want %v", a.path, got, a.want)
		}
	}
	finds := []struct{ path, want string }{
		{"/auth/token", "/auth/token"},
		{"/auth/token/", ""},
		{"/auth/tokens", ""},
		{"/.ambassador/oauth2/", "/.ambassador/oauth2/*"},
		{"/.ambassador/oauth2/redirection-endpoint", "/.ambassador/oauth2/*"},
		{"/.ambassador/oauth2", ""},
		{"", ""},
	}
	for _, f := range finds {
		e, by := s.Find([]byte(f.path))
		got, _ := e.(fixed)
		if string(got) != f.want || f.want != "" && by != "Filter a/"+f.want {
			t.Errorf("Find(%q) = %q by %q, want %q", f.path, got, by, f.want)
		}
	}
	all := s.All()
	slices.Sort(all)
	if want := []string{"/.ambassador/oauth2/*", "/auth/revoke", "/auth/token"}; !slices.Equal(all, want) {
		t.Errorf("All() = %q, want %q", all, want)
	}
	if e, _ := (*Endpoints)(nil).Find([]byte("/")); e != nil {
		t.Error("nobody answers, and somebody was found")
	}
}

func TestAllocsEndpoints(t *testing.T) {
	var s Endpoints
	s.Add("/auth/token", fixed(""), "")
	s.Add("/.ambassador/oauth2/*", fixed(""), "")
	path := []byte("/api/orders")
	if n := testing.AllocsPerRun(100, func() { s.Find(path) }); n != 0 {
		t.Errorf("Find allocates %v times", n)
	}
}
