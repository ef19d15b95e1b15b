package h1

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"legate/wire"
)

// next follows every row's bytes on the same connection: whoever reads a message's
// end elsewhere than the engine does will read this differently too.
const (
	next   = "GET /next HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n"
	nextUp = "GET /next HTTP/1.1\r\nhost: next\r\n\r\n"
)

// A requestRow is what a client sends and what becomes of it. With a status the
// engine refuses, after what it has forwarded, and closes; without one, what follows
// is served as a request of its own.
type requestRow struct {
	name   string
	in     string
	up     string // all that the endpoint receives
	status int
	kind   wire.Kind
	broken bool // the body turns out to be broken when the head is forwarded already
	alone  bool // nothing follows
	closes bool // the client asks for the connection's end, or knows no other: what follows is not served
}

const h = " HTTP/1.1\r\nHost: a\r\n" // the rest of an ordinary head's beginning

var requestRows = []requestRow{
	// Plain requests, so that the table proves that it can tell.
	{name: "GET", in: "GET /x?y=z" + h + "\r\n", up: "GET /x?y=z HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "POST with length", in: "POST /" + h + "Content-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "POST chunked", in: "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "POST without any length has no body", in: "POST /" + h + "\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"},
	{name: "HEAD", in: "HEAD /" + h + "\r\n", up: "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "two pipelined", in: "GET /1" + h + "\r\nGET /2" + h + "\r\n", up: "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "connection: close ends it, whatever follows", in: "GET /" + h + "Connection: close\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n", closes: true},
	{name: "unknown method", in: "BREW /pot" + h + "\r\n", up: "BREW /pot HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "lower-case method is another method", in: "get /" + h + "\r\n", up: "get / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "TRACE", in: "TRACE /" + h + "\r\n", up: "TRACE / HTTP/1.1\r\nhost: a\r\n\r\n"},

	// CL.TE and TE.CL: both lengths at once, RFC 9112 §6.1.
	{name: "CL.TE", in: "POST /" + h + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", status: 400, kind: wire.BadFraming},
	{name: "TE.CL", in: "POST /" + h + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "CL 0 and TE", in: "POST /" + h + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE in a GET with CL", in: "GET /" + h + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "CL and TE in HTTP/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE in HTTP/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE named in Connection with CL beside", in: "POST /" + h + "Connection: Transfer-Encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},

	// TE.TE: codings that one side knows and another does not.
	{name: "TE identity", in: "POST /" + h + "Transfer-Encoding: identity\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE xchunked", in: "POST /" + h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE chunkedx", in: "POST /" + h + "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE gzip, chunked", in: "POST /" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE chunked, gzip", in: "POST /" + h + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE chunked, identity", in: "POST /" + h + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE chunked, chunked", in: "POST /" + h + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE list with an empty element", in: "POST /" + h + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE twice", in: "POST /" + h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE chunked then identity", in: "POST /" + h + "Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE x then chunked", in: "POST /" + h + "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE empty", in: "POST /" + h + "Transfer-Encoding:\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE empty with CL", in: "POST /" + h + "Transfer-Encoding: \r\nContent-Length: 3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "TE quoted", in: "POST /" + h + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE single-quoted", in: "POST /" + h + "Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE with a parameter", in: "POST /" + h + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE with a semicolon", in: "POST /" + h + "Transfer-Encoding: chunked;\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE with vertical tab before", in: "POST /" + h + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with form feed behind", in: "POST /" + h + "Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with NUL behind", in: "POST /" + h + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with a no-break space", in: "POST /" + h + "Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "TE with bare CR before", in: "POST /" + h + "Transfer-Encoding: \rchunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE on a folded line", in: "POST /" + h + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE folded away", in: "POST /" + h + "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", status: 400, kind: wire.BadSyntax},
	{name: "TE behind a bare LF", in: "POST /" + h + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with space before the colon", in: "POST /" + h + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with tab before the colon", in: "POST /" + h + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE with NUL in its name", in: "POST /" + h + "Transfer-\x00Encoding: chunked\r\n\r\n0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "TE in other case", in: "POST /" + h + "tRANSFER-eNCODING: cHuNkEd\r\n\r\n3\r\nabc\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "TE with tabs around", in: "POST /" + h + "Transfer-Encoding:\t chunked \t\r\n\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "transfer_encoding is another field", in: "POST /" + h + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"},
	{name: "X-Transfer-Encoding is another field", in: "POST /" + h + "X-Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\nx-transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"},
	{name: "TE named in Connection stays in force", in: "POST /" + h + "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	{name: "chunked GET keeps its body", in: "GET /" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},

	// Content-Length, RFC 9110 §8.6.
	{name: "CL twice, differing", in: "POST /" + h + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", status: 400, kind: wire.BadFraming},
	{name: "CL twice, the same", in: "POST /" + h + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL list, the same", in: "POST /" + h + "Content-Length: 3, 3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL list, differing", in: "POST /" + h + "Content-Length: 3,5\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL with plus", in: "POST /" + h + "Content-Length: +3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL negative", in: "POST /" + h + "Content-Length: -3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL minus nought", in: "POST /" + h + "Content-Length: -0\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "CL hexadecimal", in: "POST /" + h + "Content-Length: 0x3\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL octal or decimal", in: "POST /" + h + "Content-Length: 010\r\n\r\nabcdefghij", status: 400, kind: wire.BadFraming},
	{name: "CL with a fraction", in: "POST /" + h + "Content-Length: 3.0\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL with an exponent", in: "POST /" + h + "Content-Length: 3e0\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL with underscore", in: "POST /" + h + "Content-Length: 1_0\r\n\r\nabcdefghij", status: 400, kind: wire.BadFraming},
	{name: "CL with space inside", in: "POST /" + h + "Content-Length: 1 0\r\n\r\nabcdefghij", status: 400, kind: wire.BadFraming},
	{name: "CL quoted", in: "POST /" + h + "Content-Length: \"3\"\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL empty", in: "POST /" + h + "Content-Length:\r\n\r\n", status: 400, kind: wire.BadFraming},
	{name: "CL a word", in: "POST /" + h + "Content-Length: three\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL with a semicolon", in: "POST /" + h + "Content-Length: 3;\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL over 2^63", in: "POST /" + h + "Content-Length: 9223372036854775808\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL that wraps to 3", in: "POST /" + h + "Content-Length: 18446744073709551619\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL that wraps to 3 in 32 bits has no such body", in: "POST /" + h + "Content-Length: 4294967299\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4294967299\r\n\r\nabc", broken: true, alone: true},
	{name: "CL in Arabic-Indic digits", in: "POST /" + h + "Content-Length: ٣\r\n\r\nabc", status: 400, kind: wire.BadFraming},
	{name: "CL with vertical tab", in: "POST /" + h + "Content-Length: \x0b3\r\n\r\nabc", status: 400, kind: wire.BadSyntax},
	{name: "CL with space before the colon", in: "POST /" + h + "Content-Length : 3\r\n\r\nabc", status: 400, kind: wire.BadSyntax},
	{name: "CL folded", in: "POST /" + h + "Content-Length: 1\r\n 0\r\n\r\nabcdefghij", status: 400, kind: wire.BadSyntax},
	{name: "CL with white space around", in: "POST /" + h + "Content-Length: \t3\t \r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "CL 0", in: "POST /" + h + "Content-Length: 0\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"},
	{name: "CL 0 in a GET", in: "GET /" + h + "Content-Length: 0\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"},
	{name: "content_length is another field", in: "POST /" + h + "Content_Length: 50\r\nContent-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent_length: 50\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "CL named in Connection stays in force", in: "POST /" + h + "Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "CL named in Connection, other case, in a list", in: "POST /" + h + "Connection: x, cONTENT-lENGTH ,keep-alive\r\nX: 1\r\nContent-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},

	// CL.0 and 0.CL: a body where one side expects none.
	{name: "CL.0: a GET's body is its body", in: "GET /" + h + "Content-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n"},
	{name: "CL.0: a HEAD's body is its body", in: "HEAD /" + h + "Content-Length: 3\r\n\r\nabc", up: "HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "CL.0: an OPTIONS' body is its body", in: "OPTIONS *" + h + "Content-Length: 3\r\n\r\nabc", up: "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "0.CL: bytes behind a GET are the next request", in: "GET /" + h + "\r\nGET /second" + h + "\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /second HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "0.CL: junk behind a POST is a bad request", in: "POST /" + h + "\r\nx=1&y=2\r\n\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "a body longer than its CL begins the next request", in: "POST /" + h + "Content-Length: 3\r\n\r\nabcX", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcXGET /next HTTP/1.1\r\nhost: next\r\n\r\n", closes: true},
	{name: "bytes behind the last chunk begin the next request", in: "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nXGET /next HTTP/1.1\r\nhost: next\r\n\r\n", closes: true},
	{name: "a body shorter than its CL goes no further", in: "POST /" + h + "Content-Length: 10\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc", broken: true, alone: true},
	{name: "a chunked body cut off in a chunk", in: "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", broken: true, alone: true},
	{name: "a chunked body cut off before the last chunk", in: "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", broken: true, alone: true},
	{name: "a chunked body without its last line", in: "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", broken: true, alone: true},
	{name: "CRLF behind a body is skipped once", in: "POST /" + h + "Content-Length: 3\r\n\r\nabc\r\n", up: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},

	// Chunks, RFC 9112 §7.1.
	chunked("size in capitals", "A\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n"),
	chunked("size with noughts before", "003\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
	chunked("last chunk with several noughts", "3\r\nabc\r\n000\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
	chunked("extension is dropped", "3;a=b\r\nabc\r\n0;c\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
	chunked("quoted extension is dropped", "3;a=\"x y\"\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
	chunked("white space before an extension is dropped", "3 \t;\ta=b\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"),
	chunked("CRLF in the data is data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "4\r\n\r\n\r\n\r\n0\r\n\r\n"),
	chunked("the last chunk's look in the data is data", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
	chunkedRefused("size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with plus", "+3\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size negative", "-3\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with underscore", "1_0\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size empty", "\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with space before", " 3\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with space behind", "3 \r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with tab behind", "3\t\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with NUL", "3\x00\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size that is no number", "xyz\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with 17 digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size that wraps to 3", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size over 2^63", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size with h behind", "3h\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size line with bare LF", "3\nabc\r\n0\r\n\r\n"),
	chunkedRefused("size line with bare CR", "3\rabc\r\n0\r\n\r\n"),
	chunkedRefused("size line with CR CR LF", "3\r\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("extension with bare CR", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("extension with bare LF: TERM.EXT", "3;\nabc\r\n0\r\n\r\n"),
	chunkedRefused("extension with NUL", "3;a\x00\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("extension without a name", "3;\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("extension over its limit", "3;a="+strings.Repeat("b", 2000)+"\r\nabc\r\n0\r\n\r\n"),
	chunkedRefused("first chunk with a comma", "3,a\r\nabc\r\n0\r\n\r\n"),
	brokenChunk("data longer than its size", "3\r\nabcd\r\n0\r\n\r\n"),
	brokenChunk("data shorter than its size: SPILL.TERM", "3\r\nabc0\r\n\r\n"),
	brokenChunk("data ending in bare LF", "3\r\nabc\n0\r\n\r\n"),
	brokenChunk("data ending in bare CR", "3\r\nabc\r0\r\n\r\n"),
	brokenChunk("data ending in LF CR", "3\r\nabc\n\r0\r\n\r\n"),
	brokenChunk("data without a line end", "3\r\nabc3\r\nabc\r\n0\r\n\r\n"),
	brokenChunk("negative last chunk", "3\r\nabc\r\n-0\r\n\r\n"),
	brokenChunk("last chunk with bare LF", "3\r\nabc\r\n0\n\r\n"),
	brokenChunk("trailer with bare LF", "3\r\nabc\r\n0\r\nA: b\n\r\n"),
	brokenChunk("trailer ended by bare LF", "3\r\nabc\r\n0\r\n\n"),
	brokenChunk("trailer without colon", "3\r\nabc\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
	brokenChunk("trailer with space before the colon", "3\r\nabc\r\n0\r\nA : b\r\n\r\n"),
	brokenChunk("trailer folded", "3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n"),
	brokenChunk("trailer with NUL", "3\r\nabc\r\n0\r\nA: \x00\r\n\r\n"),
	brokenChunk("trailer over its limit", "3\r\nabc\r\n0\r\nA: "+strings.Repeat("b", 9000)+"\r\n\r\n"),
	brokenChunk("trailer of too many lines", "3\r\nabc\r\n0\r\n"+strings.Repeat("A: b\r\n", 65)+"\r\n"),
	chunked("trailer is passed on", "3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "3\r\nabc\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\n"),
	chunked("trailer's framing, routing and identity are not", "3\r\nabc\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: b\r\nAuthorization: x\r\nCookie: c=d\r\nConnection: close\r\nUpgrade: x\r\nExpect: 100-continue\r\nX-Forwarded-For: 1.2.3.4\r\nTrailer: x\r\nTE: trailers\r\nX: y\r\n\r\n", "3\r\nabc\r\n0\r\nx: y\r\n\r\n"),
}

// chunked is a row of a chunked body that is passed on as up.
func chunked(name, body, up string) requestRow {
	return requestRow{
		name: "chunked: " + name,
		in:   "POST /" + h + "Transfer-Encoding: chunked\r\n\r\n" + body,
		up:   "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + up,
	}
}

// chunkedRefused is a row of a chunked body of which nothing is passed on.
func chunkedRefused(name, body string) requestRow {
	row := chunked(name, body, "")
	row.status, row.kind, row.broken = 400, wire.BadFraming, true
	return row
}

// brokenChunk is a row of a chunked body that breaks behind a chunk "abc".
func brokenChunk(name, body string) requestRow {
	row := chunkedRefused(name, body)
	row.up += "3\r\nabc\r\n"
	return row
}

var headRows = []requestRow{
	// Lines, RFC 9112 §2.2 and §5.
	{name: "bare LF everywhere", in: "GET / HTTP/1.1\nHost: a\n\n", status: 400, kind: wire.BadSyntax},
	{name: "bare LF behind the request line", in: "GET / HTTP/1.1\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "bare LF as the empty line", in: "GET /" + h + "\n", status: 400, kind: wire.BadSyntax},
	{name: "bare CR in the request line", in: "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "bare CR between fields", in: "GET /" + h + "X: a\rY: b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "bare CR in a name", in: "GET /" + h + "X\rY: b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "CR CR LF as the empty line", in: "GET /" + h + "\r\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "CR CR LF behind a value", in: "GET /" + h + "X: y\r\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "LF CR", in: "GET /" + h + "X: y\n\r\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "folded by a space", in: "GET /" + h + "X: a\r\n b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "folded by a tab", in: "GET /" + h + "X: a\r\n\tb\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "white space before the first field", in: "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "line of white space", in: "GET /" + h + " \r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "no colon", in: "GET /" + h + "X\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "no name", in: "GET /" + h + ": x\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "space in a name", in: "GET /" + h + "X Y: z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "space behind a name", in: "GET /" + h + "X : z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "NUL in a name", in: "GET /" + h + "X\x00: z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "DEL in a name", in: "GET /" + h + "X\x7f: z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "byte over 127 in a name", in: "GET /" + h + "X\xff: z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "separator in a name", in: "GET /" + h + "X(Y): z\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "NUL in a value", in: "GET /" + h + "X: a\x00b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "control character in a value", in: "GET /" + h + "X: a\x01b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "backspace in a value", in: "GET /" + h + "X: a\x08b\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "DEL in a value", in: "GET /" + h + "X: a\x7fb\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "two empty lines before", in: "\r\n\r\nGET /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "bare LF before", in: "\nGET /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "bare CR before", in: "\rGET /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "space before", in: " GET /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "NUL before", in: "\x00GET /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "one empty line before is skipped", in: "\r\nGET /" + h + "\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "tab in a value stays", in: "GET /" + h + "X: a\tb\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: a\tb\r\n\r\n"},
	{name: "obs-text in a value stays", in: "GET /" + h + "X: \xc3\xa9\xff\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: \xc3\xa9\xff\r\n\r\n"},
	{name: "white space around a value goes", in: "GET /" + h + "X:\t y \t\r\nY:z\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\ny: z\r\n\r\n"},
	{name: "empty value", in: "GET /" + h + "X:\r\nY: \r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: \r\ny: \r\n\r\n"},
	{name: "every mark of a token", in: "GET /" + h + "!#$%&'*+-.^_`|~0aZ: y\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n!#$%&'*+-.^_`|~0az: y\r\n\r\n"},
	{name: "colons in a value", in: "GET /" + h + "X: a:b: c\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: a:b: c\r\n\r\n"},
	{name: "a name twice keeps its order", in: "GET /" + h + "X: 1\r\nY: 2\r\nx: 3\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\ny: 2\r\nx: 3\r\n\r\n"},

	// The request line, RFC 9112 §3.
	{name: "empty method", in: " / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "method with a colon", in: "GET: /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "tab behind the method", in: "GET\t/" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "two spaces behind the method", in: "GET  /" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "two spaces behind the target", in: "GET / " + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "space behind the version", in: "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "space in the target", in: "GET /a b" + h + "\r\n", status: 400, kind: wire.BadSyntax},
	{name: "a second version", in: "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "no target", in: "GET HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "HTTP/0.9", in: "GET /\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "HTTP/0.9 written out", in: "GET / HTTP/0.9\r\nHost: a\r\n\r\n", status: 505, kind: wire.BadVersion},
	{name: "HTTP/2.0", in: "GET / HTTP/2.0\r\nHost: a\r\n\r\n", status: 505, kind: wire.BadVersion},
	{name: "HTTP/2's preface", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505, kind: wire.BadVersion},
	{name: "a PROXY header", in: "PROXY TCP4 198.51.100.7 10.0.0.1 56269 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.StrayProxy},
	{name: "a PROXY header of version 2", in: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\x0a\x00\x00\x01\xdb\xcd\x01\xbbGET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.StrayProxy},
	{name: "a PROXY header before a handshake", in: "PROXY UNKNOWN\r\n\x16\x03\x01\x00\x05hello", status: 400, kind: wire.StrayProxy},
	{name: "the method PROXY", in: "PROXY /T" + h + "\r\n", up: "PROXY /T HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "HTTP/3.0", in: "GET / HTTP/3.0\r\nHost: a\r\n\r\n", status: 505, kind: wire.BadVersion},
	{name: "version in lower case", in: "GET / http/1.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "version of two digits", in: "GET / HTTP/1.10\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "version with a nought before", in: "GET / HTTP/01.1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "version without minor", in: "GET / HTTP/1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "version with a comma", in: "GET / HTTP/1,1\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "another protocol", in: "GET / ICAP/1.0\r\nHost: a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "HTTP/1.9 is served as 1.1", in: "GET / HTTP/1.9\r\nHost: a\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "HTTP/1.0 closes", in: "GET / HTTP/1.0\r\nHost: a\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n", closes: true},
	{name: "HTTP/1.0 with keep-alive goes on", in: "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "HTTP/1.0 with keep-alive and close closes", in: "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n", closes: true},
	{name: "HTTP/1.0 without Host", in: "GET / HTTP/1.0\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "TLS on a cleartext port", in: "\x16\x03\x01\x00\x05hello\r\n\r\n", status: 400, kind: wire.BadSyntax},

	// Targets, RFC 9112 §3.2.
	{name: "relative target", in: "GET x" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "asterisk in a GET", in: "GET *" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "asterisk in OPTIONS", in: "OPTIONS *" + h + "\r\n", up: "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "asterisk and more in OPTIONS", in: "OPTIONS *x" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "OPTIONS of a path", in: "OPTIONS /x" + h + "\r\n", up: "OPTIONS /x HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "CONNECT", in: "CONNECT a:443" + h + "\r\n", status: 501, kind: wire.BadMethod},
	{name: "CONNECT to a path", in: "CONNECT /" + h + "\r\n", status: 501, kind: wire.BadMethod},
	{name: "authority form in a GET", in: "GET a:80" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "scheme that is not served", in: "GET ftp://a/" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "scheme without slashes", in: "GET http:/a/" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "control character in the target", in: "GET /a\x01b" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "NUL in the target", in: "GET /a\x00b" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "DEL in the target", in: "GET /a\x7f" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "byte over 127 in the target", in: "GET /\xc3\xa9" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "tab in the target", in: "GET /a\tb" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "fragment", in: "GET /a#b" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "broken escape", in: "GET /%zz" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "escape cut off", in: "GET /%4" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "escaped NUL", in: "GET /%00" + h + "\r\n", status: 400, kind: wire.BadTarget},
	{name: "dots are resolved", in: "GET /a/../b/./c/%2e%2e/d" + h + "\r\n", up: "GET /b/d HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "backslashes are slashes", in: `GET /a\..\b` + h + "\r\n", up: "GET /b HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "escaped CRLF stays escaped", in: "GET /a%0d%0aX:y" + h + "\r\n", up: "GET /a%0d%0aX:y HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "query is left alone", in: "GET /?a=%zz&../\\?" + h + "\r\n", up: "GET /?a=%zz&../\\? HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "double slash is a path", in: "GET //b/c" + h + "\r\n", up: "GET //b/c HTTP/1.1\r\nhost: a\r\n\r\n"},

	// Host and absolute form, RFC 9112 §3.2.
	{name: "no Host", in: "GET / HTTP/1.1\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "two Hosts", in: "GET /" + h + "Host: b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "two Hosts, the same", in: "GET /" + h + "hOST: a\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "empty Host", in: "GET / HTTP/1.1\r\nHost:\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "list of Hosts", in: "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a path", in: "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a query", in: "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a fragment", in: "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a user", in: "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a scheme", in: "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a space", in: "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a tab", in: "GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a backslash", in: "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with an escape", in: "GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a word for a port", in: "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a port too large", in: "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with a negative port", in: "GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with two ports", in: "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host of a port only", in: "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host of bare IPv6", in: "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host of IPv6 unclosed", in: "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host of IPv6 with text behind", in: "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host of IPv6 with a zone", in: "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with bytes over 127", in: "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "Host with space before the colon", in: "GET / HTTP/1.1\r\nHost : a\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "Host in a second line, folded", in: "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "Host of IPv6 and port", in: "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n"},
	{name: "Host last", in: "GET / HTTP/1.1\r\nX: y\r\nHost: A.b:80\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: A.b:80\r\nx: y\r\n\r\n"},
	{name: "X-Host is another field", in: "GET /" + h + "X-Host: b\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx-host: b\r\n\r\n"},
	{name: "absolute form", in: "GET http://a/x?y" + h + "\r\n", up: "GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "absolute form in capitals, default port", in: "GET HTTP://A:80/x" + h + "\r\n", up: "GET /x HTTP/1.1\r\nhost: A:80\r\n\r\n"},
	{name: "absolute form, no path", in: "GET http://a" + h + "\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "absolute form, query without path", in: "GET http://a?q" + h + "\r\n", up: "GET /?q HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "absolute form, https", in: "GET https://a:443/" + h + "\r\n", up: "GET / HTTP/1.1\r\nhost: a:443\r\n\r\n"},
	{name: "absolute form against Host", in: "GET http://b/" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form against Host's port", in: "GET http://a:81/" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form without Host", in: "GET http://a/ HTTP/1.1\r\n\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form with a user", in: "GET http://u@a/" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form with Host's name as the user", in: "GET http://a@b/" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form without authority", in: "GET http:///x" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form with a backslash", in: "GET http://a\\@b/" + h + "\r\n", status: 400, kind: wire.BadAuthority},
	{name: "absolute form with a fragment behind the authority", in: "GET http://a#@b/" + h + "\r\n", status: 400, kind: wire.BadAuthority},

	// Connection and what it names, RFC 9110 §7.6.1.
	{name: "Connection naming Host", in: "GET /" + h + "Connection: Host\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "Connection naming a field", in: "GET /" + h + "Connection: X-Y, close\r\nX-Y: 1\r\nx-y: 2\r\nZ: 3\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nz: 3\r\n\r\n", closes: true},
	{name: "Connection twice", in: "GET /" + h + "Connection: x\r\nX: 1\r\nConnection: y\r\nY: 2\r\nZ: 3\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nz: 3\r\n\r\n"},
	{name: "Connection naming Connection", in: "GET /" + h + "Connection: connection, x\r\nX: 1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "Connection with too many options", in: "GET /" + h + "Connection: " + strings.Repeat("x,", 65) + "\r\n\r\n", status: 400, kind: wire.BadSyntax},
	{name: "Connection of commas", in: "GET /" + h + "Connection: ,, ,\r\nX: 1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n"},
	{name: "Connection quoted names nothing", in: "GET /" + h + "Connection: \"x\"\r\nX: 1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n"},
	{name: "hop-by-hop fields go", in: "GET /" + h + "Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\nX: 1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: 1\r\n\r\n"},
	{name: "Upgrade asked for and not carried", in: "GET /" + h + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n"},
	{name: "Expect: 100-continue", in: "POST /" + h + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "Expect: of something else is the endpoint's to refuse", in: "POST /" + h + "Expect: 100-continuex, y\r\nContent-Length: 3\r\n\r\nabc", up: "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continuex, y\r\ncontent-length: 3\r\n\r\nabc"},
	{name: "Expect in a GET without a body", in: "GET /" + h + "Expect: 100-continue\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n"},
	{name: "a smuggled head in a value is a value", in: "GET /" + h + "X: GET /admin HTTP/1.1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\nx: GET /admin HTTP/1.1\r\n\r\n"},
	{name: "a refusal behind a good request", in: "GET /" + h + "\r\nGET / HTTP/1.1\r\n\r\n", up: "GET / HTTP/1.1\r\nhost: a\r\n\r\n", status: 400, kind: wire.BadAuthority},
}

func TestRequestsAreForwardedAsJudged(t *testing.T) {
	rows := slices.Concat(requestRows, headRows)
	names := map[string]bool{}
	for _, row := range rows {
		if names[row.name] {
			t.Errorf("%s: there twice", row.name)
		}
		names[row.name] = true
		t.Run(row.name, func(t *testing.T) {
			t.Run("at once", func(t *testing.T) { row.try(t, loopback, false) })
			t.Run("byte by byte", func(t *testing.T) { row.try(t, dripping(1), true) })
			t.Run("by threes", func(t *testing.T) { row.try(t, dripping(3), true) })
		})
	}
	t.Logf("%d rows", len(rows))
}

func (row *requestRow) try(t *testing.T, n network, gather bool) {
	t.Helper()
	rec := new(recorder)
	r := &relay{t: t, net: n, serve: rec.serve, gather: gather}
	in, up := row.in, row.up
	if !row.alone {
		in += next
	}
	switch {
	case row.broken && gather:
		up = ""
	case row.broken && row.up == "": // a head that was forwarded before its body was looked at
		up = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
	case !row.alone && row.status == 0 && !row.closes:
		up += nextUp
	}
	out := converse(t, r, DefaultLimits(), in)

	if string(rec.raw) != up {
		t.Errorf("the endpoint received\n%q, want\n%q", rec.raw, up)
	}
	if !slices.Equal(rec.seen, r.judged) {
		t.Errorf("the endpoint understood\n%q, the engine\n%q", rec.seen, r.judged)
	}
	row.checkAnswers(t, r, out)
}

// checkAnswers compares what came back with what was forwarded: one answer each, in
// order, and then perhaps a refusal.
func (row *requestRow) checkAnswers(t *testing.T, r *relay, out string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(out))
	answer := func(method string) *http.Response {
		t.Helper()
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("an answer is missing or malformed: %v, in %q", err, out)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("an answer is not whole: %v, in %q", err, out)
		}
		_ = resp.Body.Close()
		return resp
	}
	for _, j := range r.judged {
		if resp := answer(j.Method); resp.StatusCode != 200 {
			t.Errorf("%s %s was answered with %d", j.Method, j.Target, resp.StatusCode)
		}
	}
	if row.status != 0 {
		if resp := answer("GET"); resp.StatusCode != row.status || !resp.Close {
			t.Errorf("refused with %d, close %v; want %d and the connection closed", resp.StatusCode, resp.Close, row.status)
		}
		if len(r.refused) != 1 || r.refused[0].Kind != row.kind || r.refused[0].Text == "" {
			t.Errorf("refused for %v, want %v", r.refused, row.kind)
		}
	} else if len(r.refused) > 0 {
		t.Errorf("refused for %v", r.refused)
	}
	if rest, _ := br.Peek(1); len(rest) > 0 {
		t.Errorf("more was sent than asked for: %q", out)
	}
}
