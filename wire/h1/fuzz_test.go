package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"legate/wire"
)

// A message is what is understood of the first message in some bytes.
type message struct {
	judgement
	Status int
	rest   string // where the next message begins
}

// A stepper hands out a few bytes at a time.
type stepper struct {
	r    *bytes.Reader
	step int
}

func (s stepper) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

// engineReads reads the first message of data with the engine's parts, step bytes at
// a time. answer tells an answer, to a GET, from a request.
func engineReads(data []byte, step int, answer bool) (m message, err error) {
	lim := DefaultLimits()
	src := stepper{bytes.NewReader(data), step}
	rd := &reader{src: src}
	rd.acquire(wire.Small)
	defer rd.release()
	var s scanner
	n, err := rd.readHead(&s, &lim)
	if err != nil {
		return m, err
	}
	raw := slices.Clone(rd.buf[:n])
	rd.r = n
	var head wire.Head
	var perr *wire.ProtocolError
	if answer {
		perr = parseResponse(&head, raw, false, &lim)
	} else if perr = parseRequest(&head, raw, &lim); perr == nil {
		m.judgement = judge(&head)
		m.Target = string(head.Target())
		perr = head.NormalizePath(wire.PathRules{})
	}
	if perr != nil {
		return m, perr
	}
	m.Status, m.Fields = head.Status, lines(&head, engineOwned)
	var b body
	b.begin(rd, &head)
	for err == nil {
		p := make([]byte, 100)
		n, err = b.read(p)
		m.Body += string(p[:n])
	}
	if !errors.Is(err, io.EOF) {
		return m, err
	}
	if b.hasTrailer {
		m.Trailer = lines(&b.trailer, 0)
	}
	left, _ := io.ReadAll(src.r)
	m.rest = string(rd.buf[rd.r:rd.w]) + string(left)
	return m, nil
}

// engineOwned are the fields that net/http takes away or that the engine deals with.
const engineOwned = wire.HopByHop | 1<<wire.FieldHost

// oracleReads reads the first message of data with net/http.
func oracleReads(data []byte, answer bool) (m message, err error) {
	src := bytes.NewReader(data)
	br := bufio.NewReaderSize(src, 64<<10)
	var header, trailer http.Header
	var body io.Reader
	if answer {
		resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
		if err != nil {
			return m, err
		}
		defer resp.Body.Close()
		m.Status, header, body = resp.StatusCode, resp.Header, resp.Body
		content, err := io.ReadAll(body)
		if err != nil {
			return m, err
		}
		m.Body, trailer = string(content), resp.Trailer
	} else {
		req, err := http.ReadRequest(br)
		if err != nil {
			return m, err
		}
		defer req.Body.Close()
		content, err := io.ReadAll(req.Body)
		if err != nil {
			return m, err
		}
		m.judgement = judgement{Method: req.Method, Target: req.RequestURI, Host: req.Host, Body: string(content)}
		header, trailer = req.Header, req.Trailer
	}
	m.Fields, m.Trailer = sorted(withoutOwned(header)), sorted(trailer)
	buffered, _ := br.Peek(br.Buffered())
	left, _ := io.ReadAll(src)
	m.rest = string(buffered) + string(left)
	return m, nil
}

// withoutOwned removes what the engine removes: its own fields and those that
// Connection names.
func withoutOwned(header http.Header) http.Header {
	h := header.Clone()
	for _, list := range header["Connection"] {
		for option := range strings.SplitSeq(list, ",") {
			option = strings.Trim(option, " \t")
			if nominatable([]byte(option)) && option != "close" {
				h.Del(option)
			}
		}
	}
	for f := wire.FieldOther + 1; f < wire.NumFields; f++ {
		if engineOwned.Has(f) {
			h.Del(f.String())
		}
	}
	return h
}

// lenient says why the engine may accept what net/http refuses; "" if it may not.
// None of it concerns where a message ends.
func lenient(head []byte, err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "bad trailer key"):
		return "Trailer only announces, and is not passed on"
	case strings.Contains(text, "invalid byte in chunk length") && (bytes.Contains(head, []byte(" ;")) || bytes.Contains(head, []byte("\t;"))):
		return "white space before an extension is in the grammar, RFC 9112 §7.1.1"
	case strings.Contains(text, "parse ") && bytes.Contains(head, []byte("://")):
		return "an absolute target's host is checked by the engine's own rules"
	}
	return ""
}

// agree fails unless the engine refuses data or understands it as net/http does.
func agree(t *testing.T, data []byte, step int, answer bool) {
	t.Helper()
	got, err := engineReads(data, step, answer)
	if err != nil {
		return
	}
	want, err := oracleReads(data, answer)
	if err != nil {
		if lenient(data, err) == "" {
			t.Errorf("the engine accepts what net/http refuses: %v\n%+v", err, got)
		}
		return
	}
	if got != want {
		t.Errorf("the engine understands\n%+v\nnet/http\n%+v", got, want)
	}
}

// FuzzHead compares messages with net/http: heads, bodies, trailers, ends.
func FuzzHead(f *testing.F) {
	for _, row := range slices.Concat(requestRows, headRows) {
		f.Add([]byte(row.in+next), uint8(0))
	}
	for _, row := range answerRows {
		f.Add([]byte(row.raw), uint8(5))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		agree(t, data, int(step)+1, bytes.HasPrefix(data, []byte("HTTP")))
	})
}

// FuzzChunked compares chunked bodies with net/http, whichever side sends them.
func FuzzChunked(f *testing.F) {
	for _, row := range requestRows {
		if _, body, ok := strings.Cut(row.in, "chunked\r\n\r\n"); ok {
			f.Add([]byte(body+next), uint8(0))
		}
	}
	for _, row := range answerRows {
		if _, body, ok := strings.Cut(row.raw, "chunked\r\n\r\n"); ok {
			f.Add([]byte(body), uint8(7))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		for _, head := range []string{"POST / HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200 OK\r\n"} {
			whole := append([]byte(head+"Transfer-Encoding: chunked\r\n\r\n"), data...)
			agree(t, whole, int(step)+1, head[0] == 'H')
		}
	})
}

// FuzzExchange sends any bytes through the server engine and a link to an endpoint
// that is net/http: it must find the very requests that the engine judged, no more and
// no fewer, and the client an answer to each.
func FuzzExchange(f *testing.F) {
	for i, row := range slices.Concat(requestRows, headRows) {
		f.Add([]byte(row.in+next), uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		rec := new(recorder)
		r := &relay{t: t, net: dripping(int(how>>1) + 1), serve: rec.serve, gather: how&1 == 1}
		out := converse(t, r, DefaultLimits(), string(data))
		if !slices.Equal(rec.seen, r.judged) {
			t.Errorf("the endpoint understood\n%q, the engine\n%q", rec.seen, r.judged)
		}
		if len(r.failed) > 0 {
			t.Errorf("the endpoint would not answer: %v", r.failed)
		}
		answered := strings.Count(out, "HTTP/1.1 200 OK\r\n")
		if answered != len(r.judged) || len(r.refused) > 1 {
			t.Errorf("%d requests were judged, %d answered, and refused %v", len(r.judged), answered, r.refused)
		}
	})
}
