package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A grpcAnswer is what a service of gRPC, played by net/http, says to every call.
type grpcAnswer struct {
	body            string
	status, message string
	early           bool // in a head that is the whole answer
}

func (a grpcAnswer) serve(t testing.TB) (addr string) {
	t.Helper()
	return h2service(t, http.HTTP2Config{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		prefix := http.TrailerPrefix
		if a.early {
			prefix = ""
		}
		w.Header().Set("Content-Type", "application/grpc")
		if !a.early {
			_, _ = io.WriteString(w, a.body)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(prefix+"Grpc-Status", a.status)
		if a.message != "" {
			w.Header().Set(prefix+"Grpc-Message", a.message)
		}
	})
}

// What is held back of an answer of gRPC, and how it is told to a client of HTTP/1.1.
func TestGRPCBridge(t *testing.T) {
	message := frame(0, "reply")
	for _, row := range []struct {
		name, contentType string
		answer            grpcAnswer
		want              verdict
		status, message   string
		body              string
	}{
		{"a call that works", "application/grpc", grpcAnswer{body: message, status: "0"}, served, "0", "", message},
		{"with a suffix", "application/grpc+proto", grpcAnswer{body: message, status: "0"}, served, "0", "", message},
		{"one that fails at its end", "application/grpc", grpcAnswer{body: message, status: "7", message: "not you"}, verdict{"proxy", "", 503}, "7", "not you", message},
		{"one that fails at once", "application/grpc", grpcAnswer{status: "5", message: "none", early: true}, verdict{"proxy", "", 503}, "5", "none", ""},
		{"a long answer", "application/grpc", grpcAnswer{body: strings.Repeat(message, 90_000), status: "0"}, served, "0", "", strings.Repeat(message, 90_000)},
		{"one that is too long", "application/grpc", grpcAnswer{body: strings.Repeat(message, 200_000), status: "0"}, verdict{"proxy", "answer_too_large", 200}, "14", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := open(t, everyone+module("enable_grpc_http11_bridge: true")+mapping("x", "/x/", row.answer.serve(t), "grpc: true"))
			a, rec := g.send(request("POST", "/x/", frame(0, "ask"), "Content-Type: "+row.contentType))
			if rec.verdict != row.want || a.StatusCode != row.want.Status || a.Header.Get("Grpc-Status") != row.status ||
				a.Header.Get("Grpc-Message") != row.message || a.body != row.body || a.ContentLength != int64(len(row.body)) || len(a.Trailer) > 0 {
				t.Errorf("got %v, %d %v, %d bytes, trailer %v", rec.verdict, a.StatusCode, a.Header, len(a.body), a.Trailer)
			}
		})
	}
}

// Nobody else's answer is held back.
func TestGRPCBridgeIsAsked(t *testing.T) {
	for _, row := range []struct{ name, module, contentType string }{
		{"false is no", "enable_grpc_http11_bridge: false", "application/grpc"},
		{"JSON", "enable_grpc_http11_bridge: true", "application/json"},
	} {
		answer := grpcAnswer{body: frame(0, "reply"), status: "9"}
		g := open(t, everyone+module(row.module)+mapping("x", "/x/", answer.serve(t), "grpc: true"))
		a, rec := g.send(request("POST", "/x/", frame(0, "ask"), "Content-Type: "+row.contentType))
		if rec.verdict != served || a.Header.Get("Grpc-Status") != "" || a.Trailer.Get("Grpc-Status") != "9" {
			t.Errorf("%s: got %v, %v, trailer %v", row.name, rec.verdict, a.Header, a.Trailer)
		}
	}
}

// Where the answer turns out to be too long, the one in its place is told to pages of
// other origins as well, and nobody compresses what is not there.
func TestGRPCBridgeAnswersAnew(t *testing.T) {
	answer := grpcAnswer{body: strings.Repeat(frame(0, "reply"), 200_000), status: "0"}
	g := open(t, everyone+module("enable_grpc_http11_bridge: true", "gzip: {content_type: [application/grpc]}")+
		mapping("x", "/x/", answer.serve(t), "grpc: true", fullCORS))
	a, rec := g.send(request("POST", "/x/", frame(0, "ask"), "Content-Type: application/grpc", "Origin: https://a.example", "Accept-Encoding: gzip"))
	if want := (verdict{"proxy", "answer_too_large", 200}); rec.verdict != want || a.Header.Get("Grpc-Status") != "14" {
		t.Errorf("got %v, %v", rec.verdict, a.Header)
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "https://a.example" || a.Header.Get("Content-Encoding") != "" || a.body != "" {
		t.Errorf("got %v, body %q", a.Header, a.body)
	}
}
