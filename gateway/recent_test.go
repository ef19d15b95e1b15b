package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"legate/decision"
	"legate/wire"
)

func TestDecisionsAreRemembered(t *testing.T) {
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
	g := open(t, everyone+mapping("r", "/r/", up))
	for _, target := range []string{"/r/1", "/nowhere/7?token=s3cret"} {
		c := g.dial()
		if _, err := c.Write([]byte("GET " + target + " HTTP/1.1\r\nHost: a\r\nAuthorization: s3cret\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		g.next()
	}
	list := g.Decisions()
	if len(list) != 1 {
		t.Fatalf("got %+v, want the refused one alone", list)
	}
	v := list[0]
	if v.Path != "/nowhere/7" || v.Reason != "no_route" || v.Stage != "match" || v.Status != 404 || v.Method != "GET" || v.Host != "a" || v.ClientIP != "127.0.0.1" || v.RequestID == "" || v.Time.IsZero() {
		t.Errorf("got %+v", v)
	}
}

// note keeps a bounded number, the latest, and allocates nothing.
func TestAllocsRecent(t *testing.T) {
	var h wire.Head
	g := &Gateway{}
	x := &Exchange{Req: &h, Route: &Route{}, Now: time.Unix(1, 0), Client: netip.MustParseAddr("192.0.2.1")}
	x.Decision.End(decision.Match, decision.NoRoute, "", fmt.Errorf("s3cret"))
	for i := range recentSize + 3 {
		h.BuildRequest("GET", "a", fmt.Sprintf("/%d", i))
		x.path = h.Path()
		g.recent.note(x)
	}
	if list := g.Decisions(); len(list) != recentSize || list[0].Path != fmt.Sprintf("/%d", recentSize+2) || list[recentSize-1].Path != "/3" {
		t.Errorf("got %d, from %+v to %+v", len(list), list[0], list[len(list)-1])
	}
	if n := testing.AllocsPerRun(100, func() { g.recent.note(x) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}
