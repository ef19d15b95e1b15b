package gateway

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"legate/telemetry"
)

// BenchmarkHeaders compares a route that edits headers with one that does not, over real
// sockets on both sides: by static values, by formats, and for pages of other origins.
func BenchmarkHeaders(b *testing.B) {
	body := strings.Repeat("x", 300)
	up := service(b, func(p *peer) {
		in := make([]byte, 64<<10)
		answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 300\r\n\r\n" + body)
		for {
			if _, err := p.Read(in); err != nil {
				return
			}
			if _, err := p.Write(answer); err != nil {
				return
			}
		}
	})
	access := telemetry.NewAccessLog(io.Discard, telemetry.AccessLogOptions{Interval: time.Hour})
	b.Cleanup(func() { _ = access.Close(context.WithoutCancel(b.Context())) })
	g := open(b, everyone+mapping("bare", "/bare/", up)+
		mapping("static", "/static/", up, "add_request_headers: {x-a: b, x-c: {value: d, append: false}}", "add_response_headers: {x-e: f}", "remove_request_headers: [x-gone]")+
		mapping("formats", "/formats/", up, `add_request_headers: {x-a: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", x-c: {value: "%PROTOCOL% %REQ(:PATH)%", append: false}}`,
			`add_response_headers: {x-e: "%UPSTREAM_HOST%"}`, "remove_request_headers: [x-gone]")+
		mapping("cors", "/cors/", up, fullCORS),
		func(o *Options) { o.AccessLog = func(string, string) *telemetry.AccessLog { return access } })
	for _, route := range []string{"bare", "static", "formats", "cors"} {
		b.Run(route, func(b *testing.B) {
			c := g.dial()
			say, out := []byte(request("GET", "/"+route+"/x", "", "User-Agent: t", "Accept: */*", "Origin: https://a.example")), make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(say); err != nil {
					b.Fatal(err)
				}
				for n := 0; !whole(out[:n]); {
					m, err := c.Read(out[n:])
					if err != nil {
						b.Fatal(err)
					}
					n += m
				}
			}
		})
	}
}
