package h1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"legate/wire"
)

// An answerRow is what an endpoint answers and what the client gets of it.
type answerRow struct {
	name   string
	head   bool   // the request is a HEAD
	raw    string // the endpoint's answer, in one write
	closes bool   // the endpoint closes behind it
	get    string // what the client gets; "" for a 502 of our own
	cut    bool   // the client sees that its answer is not whole
	reused bool   // the connection carries the next request
}

const bad502 = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"

var answerRows = []answerRow{
	// Plain answers.
	{name: "length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", reused: true},
	{name: "chunked", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", reused: true},
	{name: "empty", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "close-delimited becomes chunked", raw: "HTTP/1.1 200 OK\r\n\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "close-delimited and empty", raw: "HTTP/1.1 200 OK\r\n\r\n", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "Connection: close with length", raw: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "hop-by-hop fields and those they name go", raw: "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTrailer: x\r\nX: y\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "several cookies keep their order", raw: "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nx: y\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n", reused: true},

	// The status line, RFC 9112 §4.
	{name: "no reason, with its space", raw: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "no reason, without its space", raw: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "reason of its own", raw: "HTTP/1.1 404 \xc3\xa9 Nope\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "unknown status", raw: "HTTP/1.1 299 x\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "status 099", raw: "HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n"},
	{name: "status 000", raw: "HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"},
	{name: "status 600", raw: "HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n"},
	{name: "status 1000", raw: "HTTP/1.1 1000 x\r\nContent-Length: 0\r\n\r\n"},
	{name: "status of two digits", raw: "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "status negative", raw: "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "status of letters", raw: "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "no status", raw: "HTTP/1.1 \r\nContent-Length: 0\r\n\r\n"},
	{name: "two spaces before the status", raw: "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "NUL in the reason", raw: "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n"},
	{name: "bare CR in the reason", raw: "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"},
	{name: "HTTP/2.0", raw: "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "HTTP/0.9", raw: "<html>hello</html>\r\n\r\n"},
	{name: "version in lower case", raw: "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "another protocol", raw: "SSH-2.0-OpenSSH_9.9\r\n\r\n"},
	{name: "empty line before", raw: "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "garbage before", raw: "x\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "space before", raw: " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{name: "nothing", raw: "", closes: true},
	{name: "half a head", raw: "HTTP/1.1 200 OK\r\nContent-Le", closes: true},

	// Lines and fields, RFC 9112 §5.
	{name: "bare LF everywhere", raw: "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
	{name: "bare LF in a field", raw: "HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 0\r\n\r\n"},
	{name: "bare CR in a value", raw: "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"},
	{name: "NUL in a value", raw: "HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 0\r\n\r\n"},
	{name: "folded field", raw: "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"},
	{name: "space before the colon", raw: "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"},
	{name: "no colon", raw: "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"},
	{name: "head over the limit", raw: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 130<<10) + "\r\nContent-Length: 0\r\n\r\n"},
	{name: "head that never ends", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: yyyyyyyyyyyyyyyy\r\n", 8<<10)},
	{name: "too many fields", raw: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 201) + "Content-Length: 0\r\n\r\n"},
	{name: "head just within the limits", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + strings.Repeat("x", 13<<10) + "\r\n\r\n", get: "HTTP/1.1 200 OK\r\nx: " + strings.Repeat("x", 13<<10) + "\r\ncontent-length: 0\r\n\r\n", reused: true},

	// Lengths, RFC 9112 §6.3.
	{name: "CL and TE", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "CL twice, differing", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"},
	{name: "CL twice, the same", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
	{name: "CL list", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc"},
	{name: "CL with plus", raw: "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc"},
	{name: "CL negative", raw: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"},
	{name: "CL that overflows", raw: "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nabc"},
	{name: "CL empty", raw: "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n"},
	{name: "TE gzip, chunked", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{name: "TE identity", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc"},
	{name: "TE twice", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "TE in HTTP/1.0", raw: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "CL and TE in answer to HEAD", head: true, raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},

	// Answers without a body.
	{name: "HEAD with length", head: true, raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", reused: true},
	{name: "HEAD without length", head: true, raw: "HTTP/1.1 200 OK\r\n\r\n", get: "HTTP/1.1 200 OK\r\n\r\n", reused: true},
	{name: "HEAD chunked", head: true, raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get: "HTTP/1.1 200 OK\r\n\r\n", reused: true},
	{name: "HEAD with a body all the same", head: true, raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
	{name: "204", raw: "HTTP/1.1 204 No Content\r\n\r\n", get: "HTTP/1.1 204 No Content\r\n\r\n", reused: true},
	{name: "204 with a length", raw: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 204 No Content\r\n\r\n", reused: true},
	{name: "204 with a body", raw: "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 204 No Content\r\n\r\n"},
	{name: "204 chunked", raw: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", get: "HTTP/1.1 204 No Content\r\n\r\n"},
	{name: "304", raw: "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", get: "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", reused: true},
	{name: "304 with the length of what there is", raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", get: "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", reused: true},
	{name: "304 with a body", raw: "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"},
	{name: "205 with length 0", raw: "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", reused: true},

	// Interim answers, RFC 9110 §15.2.
	{name: "100 before", raw: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "a series before", raw: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "100 with a length has no body", raw: "HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", reused: true},
	{name: "too many before", raw: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 17) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", get: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 16) + bad502},
	{name: "100 and then the end", raw: "HTTP/1.1 100 Continue\r\n\r\n", closes: true, get: "HTTP/1.1 100 Continue\r\n\r\n" + bad502},
	{name: "101 unasked", raw: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},

	// HTTP/1.0 answers.
	{name: "HTTP/1.0 with length", raw: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "HTTP/1.0 to its end", raw: "HTTP/1.0 200 OK\r\n\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "HTTP/1.0 with keep-alive", raw: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", reused: true},
	{name: "HTTP/1.0 with keep-alive but no length", raw: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},

	// What comes behind an answer is nobody's.
	{name: "bytes behind", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcX", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "a whole answer behind", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "a whole answer behind an empty one", raw: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned", get: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
	{name: "a whole answer behind the last chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "CRLF behind", raw: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\r\n", get: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"},

	// Bodies that break.
	{name: "shorter than its length", raw: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", cut: true},
	{name: "cut off in a chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", cut: true},
	{name: "cut off before the last chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", cut: true},
	{name: "cut off in the last chunk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", closes: true, get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", cut: true},
	{name: "chunk size is junk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", cut: true},
	{name: "chunk longer than its size", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", cut: true},
	{name: "chunk size overflows", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", cut: true},
	{name: "chunk line of bare LF", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", cut: true},
	{name: "chunk extension without end", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("x", 2000), get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", cut: true},
	{name: "trailer is junk", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", cut: true},
	{name: "trailer without end", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("X: y\r\n", 2000), get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", cut: true},
	{name: "trailer", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: 1\r\n\r\n", reused: true},
	{name: "trailer with what must not come late", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nConnection: close\r\nX: 1\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: 1\r\n\r\n", reused: true},
	{name: "extensions are dropped", raw: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n00;z\r\n\r\n", get: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", reused: true},
}

func TestAnswersAreForwardedAsJudged(t *testing.T) {
	names := map[string]bool{}
	for _, row := range answerRows {
		if names[row.name] {
			t.Errorf("%s: there twice", row.name)
		}
		names[row.name] = true
		t.Run(row.name, func(t *testing.T) {
			t.Run("sockets", func(t *testing.T) { row.try(t, loopback) })
			t.Run("memory", func(t *testing.T) { row.try(t, dripping(1<<20)) })
		})
	}
	t.Logf("%d rows", len(answerRows))
}

// second is what every connection answers to a request that is not its first, or that
// follows the row's own.
const second = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"

func (row *answerRow) try(t *testing.T, n network) {
	t.Helper()
	asked := 0
	r := &relay{t: t, net: n, serve: func(nc duplex) {
		for br := bufio.NewReader(nc); ; {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			if asked++; asked > 1 {
				_, _ = io.WriteString(nc, second)
				continue
			}
			if _, _ = io.WriteString(nc, row.raw); row.closes {
				return
			}
		}
	}}
	method := "GET"
	if row.head {
		method = "HEAD"
	}
	out := converse(t, r, DefaultLimits(), method+" /first HTTP/1.1\r\nHost: a\r\n\r\n"+next)

	want := row.get
	if want == "" {
		want = bad502
	}
	if !row.cut {
		want += "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecond"
	}
	if strings.TrimSuffix(out, "[reset]") != want {
		t.Errorf("the client received\n%.300q, want\n%.300q", out, want)
	}
	if dialled := 2; !row.cut && (r.dialled == dialled) == row.reused {
		t.Errorf("%d connections were made, want the first reused: %v", r.dialled, row.reused)
	}
	row.checkFailure(t, r.failed)
}

// checkFailure holds what is said of the endpoint to how it failed.
func (row *answerRow) checkFailure(t *testing.T, failed []error) {
	t.Helper()
	if refused := row.cut || row.get == "" || strings.HasSuffix(row.get, bad502); refused != (len(failed) == 1) {
		t.Fatalf("the link failed with %v", failed)
	}
	for _, err := range failed {
		perr, mangled := errors.AsType[*wire.ProtocolError](err)
		if mangled == row.closes {
			t.Errorf("the link failed with %v, closed by its endpoint %v", err, row.closes)
		}
		if mangled && perr.Text == "" {
			t.Error("the error says nothing")
		}
	}
}

// An answer that its connection's end completes is not whole when a TLS session ends
// within a record. An end between records without close_notify is as good as one with
// it, as to crypto/tls, because many servers end so.
func TestAnswerCutShortOverTLSIsNotWhole(t *testing.T) {
	for _, whole := range []bool{true, false} {
		client, server := tlsPair(t)
		l := NewLink(client.raw, client.secure, "x", keeper{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := http.ReadRequest(bufio.NewReader(server.secure)); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(server.secure, "HTTP/1.1 200 OK\r\n\r\nabc")
			if !whole {
				_, _ = io.WriteString(server.raw, "\x17\x03\x03\x00\x20half of a record")
			}
			_ = server.raw.CloseWrite()
		}()
		var req, resp wire.Head
		req.BuildRequest("GET", "example.com", "/")
		if err := errors.Join(l.WriteHead(&req, nil, 0), l.EndRequest(nil), l.ReadHead(&resp, time.Time{}, nil)); err != nil {
			t.Fatal(err)
		}
		var body []byte
		var err error
		for err == nil {
			b := make([]byte, 10)
			var n int
			n, err = l.ReadBody(b, time.Time{}, nil)
			body = append(body, b[:n]...)
		}
		if string(body) != "abc" || errors.Is(err, io.EOF) != whole {
			t.Errorf("whole %v: got %q and %v", whole, body, err)
		}
		<-done
		l.Release()
	}
}
