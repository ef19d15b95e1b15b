package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"legate/wire"
)

const web = "enable_grpc_web: true"

// frame is a message as gRPC frames it, or with flag 0x80 a trailer as gRPC-Web does.
func frame(flag byte, payload string) string {
	head := []byte{flag, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	return string(head) + payload
}

func inBase64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// anyPadding decodes text that may be padded anywhere.
func anyPadding(t *testing.T, text string) string {
	t.Helper()
	b, err := decoded(text, []int{1 << 20}, 4096)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return string(b)
}

// grpcReply is an answer of gRPC as an upstream of HTTP/1.1 would give it.
func grpcReply(contentType, trailer string, messages ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n", contentType)
	for _, m := range messages {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(m), m)
	}
	b.WriteString("0\r\n" + trailer + "\r\n")
	return b.String()
}

func TestWebType(t *testing.T) {
	for _, row := range []struct {
		in     string
		kind   webKind
		suffix string
	}{
		{"application/grpc-web", webBinary, ""},
		{"application/grpc-web+proto", webBinary, "+proto"},
		{"application/grpc-web+json; charset=utf-8", webBinary, "+json"},
		{"Application/gRPC-Web-Text", webText, ""},
		{"application/grpc-web-text+proto", webText, "+proto"},
		{"application/grpc-web-text;x=y", webText, ""},
		{"application/grpc-webby", notWeb, ""},
		{"application/grpc-web-texts", notWeb, ""},
		{"application/grpc", notWeb, ""},
		{"application/grpc+proto", notWeb, ""},
		{"text/plain", notWeb, ""},
		{"", notWeb, ""},
	} {
		if kind, suffix := webType([]byte(row.in)); kind != row.kind || string(suffix) != row.suffix {
			t.Errorf("%q: got %d %q", row.in, kind, suffix)
		}
	}
}

// What a client of gRPC-Web says and hears, and what the service of gRPC sees of it.
func TestGRPCWeb(t *testing.T) {
	const trailer = "grpc-status: 0\r\ngrpc-message: \r\n"
	one, two := frame(0, "one"), frame(0, "number two")
	end := frame(0x80, "grpc-status: 0\r\ngrpc-message: \r\n")
	for _, row := range []struct {
		name, contentType, accept, body string
		sees, reply                     string // of the service
		answerType, answer              string
		text                            bool // the answer is base64
	}{
		{"binary", "application/grpc-web+proto", "", one, "application/grpc+proto", grpcReply("application/grpc+proto", trailer, one, two),
			"application/grpc-web+proto", one + two + end, false},
		{"binary without suffix", "application/grpc-web", "*/*", one, "application/grpc", grpcReply("application/grpc", trailer, two),
			"application/grpc-web", two + end, false},
		{"text", "application/grpc-web-text", "application/grpc-web-text", inBase64(one), "application/grpc", grpcReply("application/grpc+proto", trailer, one, two),
			"application/grpc-web-text+proto", one + two + end, true},
		{"text that asks for binary", "application/grpc-web-text+proto", "application/grpc-web", inBase64(one), "application/grpc+proto", grpcReply("application/grpc", trailer, one),
			"application/grpc-web", one + end, false},
		{"binary that asks for text", "application/grpc-web", "text/html, application/grpc-web-text;q=1", one, "application/grpc", grpcReply("application/grpc", trailer, one),
			"application/grpc-web-text", one + end, true},
		{"an error in the trailer", "application/grpc-web", "", one, "application/grpc", grpcReply("application/grpc", "grpc-status: 7\r\ngrpc-message: not you\r\n"),
			"application/grpc-web", frame(0x80, "grpc-status: 7\r\ngrpc-message: not you\r\n"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr, seen := seeing(t, row.reply)
			g := open(t, everyone+module(web)+mapping("x", "/x/", addr))
			header := []string{"Content-Type: " + row.contentType}
			if row.accept != "" {
				header = append(header, "Accept: "+row.accept)
			}
			a, rec := g.send(request("POST", "/x/", row.body, header...))
			r := <-seen
			if r.Header.Get("Content-Type") != row.sees || r.Header.Get("Te") != "trailers" || r.body != one {
				t.Errorf("the service saw %v, body %q", r.Header, r.body)
			}
			body := a.body
			if row.text {
				body = anyPadding(t, body)
			}
			if rec.verdict != served || a.Header.Get("Content-Type") != row.answerType || body != row.answer || len(a.Trailer) > 0 {
				t.Errorf("got %v, %v, body %q", rec.verdict, a.Header, body)
			}
		})
	}
}

// Frames and digits may be cut anywhere on their way up.
func TestGRPCWebBodiesInPieces(t *testing.T) {
	message := frame(0, strings.Repeat("a long message, ", 20_000))
	var text strings.Builder // as a client does that encodes what it has, and pads
	for i := 0; i < len(message); i += 1000 {
		text.WriteString(inBase64(message[i:min(i+1000, len(message))]))
	}
	addr, seen := seeing(t, grpcReply("application/grpc", "grpc-status: 0\r\n", frame(0, "ok")))
	g := open(t, everyone+module(web)+mapping("x", "/x/", addr))
	for _, row := range []struct{ contentType, body string }{
		{"application/grpc-web", message},
		{"application/grpc-web-text", text.String()},
	} {
		c := g.dial()
		c.say("POST /x/ HTTP/1.1\r\nHost: a\r\nContent-Type: " + row.contentType + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		for n, rest := 1, row.body; rest != ""; n = n*5%8191 + 1 {
			piece := rest[:min(n, len(rest))]
			rest = rest[len(piece):]
			c.say(fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece))
		}
		c.say("0\r\n\r\n")
		if a, rec := c.hear("POST"), g.next(); rec.verdict != served || a.StatusCode != 200 {
			t.Errorf("%s: got %v", row.contentType, rec.verdict)
		}
		if r := <-seen; r.body != message {
			t.Errorf("%s: the service saw %d bytes, want %d", row.contentType, len(r.body), len(message))
		}
	}
}

// A message that the service has sent reaches the client before the next one, whole.
func TestGRPCWebStreams(t *testing.T) {
	goOn := make(chan bool)
	addr := service(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
		for i := range 4 {
			m := frame(0, strings.Repeat("m", i))
			p.say(fmt.Sprintf("%x\r\n%s\r\n", len(m), m))
			<-goOn
		}
		p.say("0\r\ngrpc-status: 0\r\n\r\n")
	})
	g := open(t, everyone+module(web)+mapping("x", "/x/", addr))
	c := g.dial()
	c.say(request("POST", "/x/", inBase64(frame(0, "")), "Content-Type: application/grpc-web-text"))
	resp, err := http.ReadResponse(c.br, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		text := make([]byte, (5+i+2)/3*4)
		if _, err := io.ReadFull(resp.Body, text); err != nil {
			t.Fatal(err)
		}
		if got := anyPadding(t, string(text)); got != frame(0, strings.Repeat("m", i)) {
			t.Errorf("message %d: got %q", i, got)
		}
		goOn <- true
	}
	rest, err := io.ReadAll(resp.Body)
	if got := anyPadding(t, string(rest)); err != nil || got != frame(0x80, "grpc-status: 0\r\n") {
		t.Errorf("the end: got %q, %v", got, err)
	}
}

// What is not gRPC's, and what is answered here.
func TestGRPCWebWithoutAnswer(t *testing.T) {
	html := "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nhtml"
	only := "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: none\r\nContent-Length: 0\r\n\r\n"
	for _, row := range []struct {
		name, target, contentType, body, reply string
		want                                   verdict
		answerType, status, answer             string
	}{
		{"another proxy's words", "/x/", "application/grpc-web", frame(0, ""), html, verdict{"proxy", "", 502}, "text/html", "", "html"},
		{"only a head", "/x/", "application/grpc-web-text", inBase64(frame(0, "")), only, served, "application/grpc-web-text", "5", ""},
		{"no route", "/y/", "application/grpc-web-text+proto", inBase64(frame(0, "")), only, verdict{"match", "no_route", 200}, "application/grpc-web-text+proto", "12", ""},
		{"no answer", "/x/", "application/grpc-web+proto", frame(0, ""), "", verdict{"proxy", "upstream_reset_before_head", 200}, "application/grpc-web+proto", "14", ""},
		{"no base64", "/x/", "application/grpc-web-text", "@@@@", only, verdict{"proxy", "bad_request", 200}, "application/grpc-web-text", "13", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			addr := service(t, func(p *peer) { p.request(); p.say(row.reply) })
			g := open(t, everyone+module(web)+mapping("x", "/x/", addr))
			a, rec := g.send(request("POST", row.target, row.body, "Content-Type: "+row.contentType))
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.Header.Get("Content-Type") != row.answerType ||
				a.Header.Get("Grpc-Status") != row.status || a.body != row.answer {
				t.Errorf("got %v, %d %v, body %q", rec.verdict, a.StatusCode, a.Header, a.body)
			}
		})
	}
}

// Without the Module's word nothing is translated, and other requests never are.
func TestGRPCWebIsAsked(t *testing.T) {
	for _, row := range []struct {
		name, module, contentType string
	}{
		{"false is no", "enable_grpc_web: false", "application/grpc-web"},
		{"no word of it", "enable_http10: false", "application/grpc-web"},
		{"JSON", web, "application/json"},
		{"gRPC itself", web, "application/grpc"},
	} {
		addr, seen := seeing(t, plainOK)
		g := open(t, everyone+module(row.module)+mapping("x", "/x/", addr))
		a, rec := g.send(request("POST", "/x/", "body", "Content-Type: "+row.contentType))
		if r := <-seen; rec.verdict != served || a.body != "ok" || r.Header.Get("Content-Type") != row.contentType || r.body != "body" {
			t.Errorf("%s: got %v, body %q; the service saw %v, body %q", row.name, rec.verdict, a.body, r.Header, r.body)
		}
	}
}

func TestAllocsGRPCWeb(t *testing.T) {
	var h, trailer wire.Head
	h.BuildRequest("POST", "a", "/", "content-type", "application/grpc-web-text+proto", "accept", "application/grpc-web-text")
	trailer.BuildRequest("GET", "a", "/", "grpc-status", "0")
	var resp wire.Head
	resp.BuildRequest("GET", "a", "/", "content-type", "application/grpc")
	resp.NoBody = false
	s := &memoryStream{}
	link := struct{ wire.Link }{}
	x := &Exchange{Req: &h, Resp: resp, arena: make([]byte, 0, 1024), link: link}
	piece := bytes.Repeat([]byte("x"), 1000)
	n := testing.AllocsPerRun(100, func() {
		x.stream, x.arena = s, x.arena[:0]
		x.ToUp.Reset()
		x.ToClient.Reset()
		s.body.Reset()
		grpcWeb{}.Enter(x)
		grpcWeb{}.Respond(x)
		_, _ = x.stream.WriteBody(piece)
		_ = x.stream.Flush()
		_ = x.stream.End(&trailer)
		grpcWeb{}.Finish(x)
	})
	if n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
	if want := inBase64(string(piece)) + inBase64(frame(0x80, "grpc-status: 0\r\n")); s.body.String() != want {
		t.Errorf("wrote %q", s.body.String())
	}
}
