package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Requests are received whole before services see them, up to the limit.
func TestBuffer(t *testing.T) {
	large := verdict{"accept", "body_too_large", 413}
	chunked := func(body string) string {
		return "POST /x/ HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	for _, row := range []struct {
		name, text string
		limit      int
		want       verdict
		body       int
	}{
		{"none", request("GET", "/x/", ""), 10, served, 0},
		{"as long as may be", request("POST", "/x/", strings.Repeat("b", 10)), 10, served, 10},
		{"a byte longer", request("POST", "/x/", strings.Repeat("b", 11)), 10, large, 0},
		{"in chunks", chunked(strings.Repeat("b", 10)), 10, served, 10},
		{"a byte longer in chunks", chunked(strings.Repeat("b", 11)), 10, large, 0},
		{"long", request("POST", "/x/", strings.Repeat("b", 300_000)), 1 << 20, served, 300_000},
		{"long, in chunks", chunked(strings.Repeat("b", 300_000)), 1 << 20, served, 300_000},
		{"longer than some", chunked(strings.Repeat("b", 300_000)), 200_000, large, 0},
		{"to be sent elsewhere", strings.Replace(request("POST", "/x/", strings.Repeat("b", 11)), "/x/", "/y/", 1), 10, large, 0},
		{"broken", strings.Replace(chunked("body"), "0\r\n\r\n", "z\r\n\r\n", 1), 10, verdict{"accept", "bad_framing", 400}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, seen := seeing(t, plainOK)
			g := open(t, everyone+module(fmt.Sprintf("buffer: {max_request_bytes: %d}", row.limit))+mapping("x", "/x/", up)+mapping("y", "/y/", "other.example", "host_redirect: true"))
			a, rec := g.send(row.text)
			if rec.verdict != row.want || a.StatusCode != row.want.Status || row.want == large && (a.body != "Payload Too Large" || !strings.HasPrefix(rec.By, "Module ")) {
				t.Errorf("got %v by %s, %d %q; want %v", rec.verdict, rec.By, a.StatusCode, a.body, row.want)
			}
			if row.want == served {
				if r := <-seen; len(r.body) != row.body || r.ContentLength != int64(row.body) {
					t.Errorf("the service saw %d bytes of %d", len(r.body), r.ContentLength)
				}
			} else if len(seen) > 0 {
				t.Error("the service was asked")
			}
		})
	}
}

// A service is not asked before the request is whole; what trails it is passed on.
func TestBufferWaits(t *testing.T) {
	up, seen := seeing(t, plainOK)
	g := open(t, everyone+module("buffer: {max_request_bytes: 100}")+mapping("x", "/x/", up))
	c := g.dial()
	c.say("POST /x/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbo")
	c.say("d")
	if len(seen) > 0 {
		t.Error("the service was asked")
	}
	c.say("y")
	if a := c.hear(http.MethodPost); a.StatusCode != 200 {
		t.Errorf("got %d", a.StatusCode)
	}
	if r := <-seen; r.body != "body" {
		t.Errorf("the service saw %q", r.body)
	}
}

// A client that leaves amid its request costs the service nothing.
func TestBufferOfTheGone(t *testing.T) {
	up, seen := seeing(t, plainOK)
	g := open(t, everyone+module("buffer: {max_request_bytes: 100}")+mapping("x", "/x/", up))
	c := g.dial()
	c.say("POST /x/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbo")
	c.Close()
	if rec := g.next(); rec.verdict != (verdict{"accept", "client_gone", 0}) || len(seen) > 0 {
		t.Errorf("got %v, and %d requests", rec.verdict, len(seen))
	}
}
