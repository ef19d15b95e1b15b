package gateway

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// unzip is what an answer says, and whether it was compressed.
func (a answer) unzip(t *testing.T) (body string, zipped bool) {
	t.Helper()
	if a.Header.Get("Content-Encoding") != "gzip" {
		return a.body, false
	}
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("%v, of %q", err, a.body)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

const longText = "a text that is long enough to be worth it, and then some"

// typed is an answer of that status line with longText.
func typed(status string, fields ...string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n\r\n%s", status, len(longText), strings.Join(fields, "\r\n"), longText)
}

// Which answers are compressed, and what their heads say then.
func TestGzip(t *testing.T) {
	const plain = "Content-Type: text/plain; charset=utf-8"
	for _, row := range []struct {
		name, module, accept, reply string
		zipped, vary                bool
		etag                        string
	}{
		{"text", "gzip: {}", "gzip", typed("200 OK", plain), true, true, ""},
		{"of a client that takes none", "gzip: {}", "", typed("200 OK", plain), false, true, ""},
		{"of a client that takes anything", "gzip: {}", "*", typed("200 OK", plain), true, true, ""},
		{"of one that takes gzip among others", "gzip: {}", "br, GZIP;q=0.8, identity;q=0.1", typed("200 OK", plain), true, true, ""},
		{"of one that does not want it", "gzip: {}", "gzip;q=0", typed("200 OK", plain), false, true, ""},
		{"of one that likes the text itself better", "gzip: {}", "gzip;q=0.5, identity", typed("200 OK", plain), false, true, ""},
		{"of one whose weight makes no sense", "gzip: {}", "gzip;q=much", typed("200 OK", plain), false, true, ""},
		{"an image", "gzip: {}", "gzip", typed("200 OK", "Content-Type: image/png"), false, false, ""},
		{"a type that is on the list", "gzip: {content_type: [IMAGE/png]}", "gzip", typed("200 OK", "Content-Type: image/png"), true, true, ""},
		{"one that is so no more", "gzip: {content_type: [image/png]}", "gzip", typed("200 OK", plain), false, false, ""},
		{"one that begins like one of the list", "gzip: {}", "gzip", typed("200 OK", "Content-Type: text/plainer"), false, false, ""},
		{"no type", "gzip: {}", "gzip", typed("200 OK", "X: y"), true, true, ""},
		{"a failure", "gzip: {}", "gzip", typed("500 Oops", plain), true, true, ""},
		{"a part", "gzip: {}", "gzip", typed("206 Partial Content", plain, "Content-Range: bytes 0-55/99"), false, false, ""},
		{"of unknown length", "gzip: {}", "gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + plain + "\r\n\r\n38\r\n" + longText + "\r\n0\r\n\r\n", true, true, ""},
		{"shorter than asked for", "gzip: {min_content_length: 57}", "gzip", typed("200 OK", plain), false, false, ""},
		{"as long", "gzip: {min_content_length: 56}", "gzip", typed("200 OK", plain), true, true, ""},
		{"shorter than thirty bytes", "gzip: {}", "gzip", "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n" + plain + "\r\n\r\n" + longText[:29], false, false, ""},
		{"compressed already", "gzip: {}", "gzip", typed("200 OK", plain, "Content-Encoding: br"), false, false, ""},
		{"not to be changed", "gzip: {}", "gzip", typed("200 OK", plain, "Cache-Control: public, No-Transform"), false, false, ""},
		{"with a strong tag", "gzip: {}", "gzip", typed("200 OK", plain, `ETag: "x"`), true, true, ""},
		{"with a weak tag", "gzip: {}", "gzip", typed("200 OK", plain, `ETag: W/"x"`), true, true, `W/"x"`},
		{"with any tag where that forbids it", "gzip: {disable_on_etag_header: true}", "gzip", typed("200 OK", plain, `ETag: W/"x"`), false, false, `W/"x"`},
		{"with a tag, of a client that takes none", "gzip: {}", "", typed("200 OK", plain, `ETag: "x"`), false, true, `"x"`},
		{"fast", "gzip: {compression_level: SPEED}", "gzip", typed("200 OK", plain), true, true, ""},
		{"well", "gzip: {compression_level: COMPRESSION_LEVEL_9, enabled: true}", "gzip", typed("200 OK", plain), true, true, ""},
		{"hardly", "gzip: {compression_strategy: huffman}", "gzip", typed("200 OK", plain), true, true, ""},
		{"not at all", "gzip: {enabled: false}", "gzip", typed("200 OK", plain), false, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			up, seen := seeing(t, row.reply)
			g := open(t, everyone+module(row.module)+mapping("x", "/x/", up))
			a, rec := g.get("/x/", "Accept-Encoding: "+row.accept)
			body, zipped := a.unzip(t)
			vary := a.Header.Get("Vary") == "Accept-Encoding"
			if zipped != row.zipped || vary != row.vary || a.Header.Get("ETag") != row.etag || !strings.HasPrefix(longText, body) || len(body) < 29 ||
				zipped && a.ContentLength >= 0 || rec.BytesOut != int64(len(a.body)) {
				t.Errorf("got %v, %q, %d bytes of %d: zipped %v", a.Header, body, len(a.body), rec.BytesOut, zipped)
			}
			if r := <-seen; r.Header.Get("Accept-Encoding") != row.accept {
				t.Errorf("the service was told %q", r.Header.Get("Accept-Encoding"))
			}
		})
	}
}

// Heads that no body follows, answers of the gateway's own, and what services learn.
func TestGzipBeside(t *testing.T) {
	up, seen := seeing(t, typed("200 OK", "Content-Type: text/plain"))
	g := open(t, everyone+module("gzip: {remove_accept_encoding_header: true}")+mapping("x", "/x/", up)+mapping("gone", "/gone/", "127.0.0.1:1", "retry_policy: {retry_on: 5xx, num_retries: 0}"))
	g.get("/x/", "Accept-Encoding: gzip")
	if r := <-seen; r.Header["Accept-Encoding"] != nil {
		t.Errorf("the service was told %q", r.Header["Accept-Encoding"])
	}
	a, rec := g.get("/gone/", "Accept-Encoding: gzip")
	if body, zipped := a.unzip(t); !zipped || !strings.HasPrefix(body, "upstream connect error") || rec.verdict != (verdict{"proxy", "dial_refused", 503}) {
		t.Errorf("got %v, %v %q", rec.verdict, zipped, body)
	}
	for name, reply := range map[string]string{
		"HEAD": "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 500\r\n\r\n",
		"GET":  "HTTP/1.1 304 Not Modified\r\nContent-Type: text/plain\r\nETag: \"x\"\r\n\r\n",
	} {
		up, _ := seeing(t, reply)
		g := open(t, everyone+module("gzip: {}")+mapping("x", "/x/", up))
		a, _ := g.send(request(name, "/x/", "", "Accept-Encoding: gzip"))
		if a.Header.Get("Content-Encoding") != "" || a.body != "" || a.Header.Get("Vary") != "Accept-Encoding" || name == "GET" && a.Header.Get("ETag") == "" {
			t.Errorf("%s: got %v %q", name, a.Header, a.body)
		}
	}
}

// An event that is sent is received before the next one is, compressed or not.
func TestGzipStreams(t *testing.T) {
	next := make(chan bool)
	up := service(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range next {
			p.say("9\r\ndata: x\n\n\r\n")
		}
		p.say("0\r\n\r\n")
	})
	g := open(t, everyone+module("gzip: {content_type: [text/event-stream]}")+mapping("x", "/x/", up))
	c := g.dial()
	c.say(request("GET", "/x/", "", "Accept-Encoding: gzip"))
	next <- true
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	zip, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewReader(zip)
	for i := range 3 {
		if i > 0 {
			next <- true
		}
		for _, want := range []string{"data: x\n", "\n"} {
			if line, err := events.ReadString('\n'); line != want {
				t.Fatalf("got %q, %v", line, err)
			}
		}
	}
	close(next)
	if rest, err := io.ReadAll(events); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v at the end", rest, err)
	}
}
