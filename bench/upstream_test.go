package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func startUpstream(t *testing.T) string {
	t.Helper()
	return peer(t, serveUpstream)
}

func TestUpstreamAnswers(t *testing.T) {
	addr := startUpstream(t)
	large := strings.Repeat("0123456789", 10_000)
	for _, tc := range []struct {
		method, target, body string
		status, length       int
	}{
		{"GET", "/300", "", 200, 300},
		{"GET", "/10k", "", 200, 10 << 10},
		{"GET", "/1m", "", 200, 1 << 20},
		{"POST", "/echo", "hello", 200, 5},
		{"POST", "/echo", large, 200, len(large)},
		{"POST", "/300", large, 200, 300}, // a body nobody asked for is read past
		{"GET", "/nowhere", "", 404, 0},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+addr+tc.target, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", tc.method, tc.target, err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != tc.status || len(got) != tc.length {
			t.Errorf("%s %s: status %d, %d bytes, %v; want %d, %d bytes", tc.method, tc.target, resp.StatusCode, len(got), err, tc.status, tc.length)
		}
		if tc.target == "/echo" && string(got) != tc.body {
			t.Errorf("%s %s: the body came back changed", tc.method, tc.target)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// However a stream of pipelined requests is cut into reads, the answers are the same.
func TestUpstreamReadsAnyPieces(t *testing.T) {
	addr := startUpstream(t)
	stream := []byte("GET /300 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /echo HTTP/1.1\r\nHost: a\r\nCONTENT-length:  11 \r\n\r\nhello world" +
		"POST /echo HTTP/1.1\r\ncontent-length: 0\r\n\r\n" +
		"GET /10k HTTP/1.1\r\n\r\n")
	for _, piece := range []int{1, 7, len(stream)} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for piece := range slices.Chunk(stream, piece) {
				_, _ = c.Write(piece)
			}
		}()
		br := bufio.NewReader(c)
		for i, want := range []int{300, 11, 0, 10 << 10} {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("pieces of %d, answer %d: %v", piece, i, err)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || len(got) != want {
				t.Errorf("pieces of %d, answer %d: %d bytes, %v; want %d", piece, i, len(got), err, want)
			}
		}
		c.Close()
	}
}

func TestParseRequest(t *testing.T) {
	for _, tc := range []struct {
		head, target string
		length       int
		ok           bool
	}{
		{"GET / HTTP/1.1\r\n\r\n", "/", 0, true},
		{"POST /echo HTTP/1.1\r\nContent-Length: 12\r\n\r\n", "/echo", 12, true},
		{"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "", 0, false},
		{"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "", 0, false},
		{"nonsense\r\n\r\n", "", 0, false},
	} {
		target, length, err := parseRequest([]byte(tc.head))
		if (err == nil) != tc.ok || string(target) != tc.target && tc.ok || length != tc.length {
			t.Errorf("%q: %q, %d, %v", tc.head, target, length, err)
		}
	}
}
