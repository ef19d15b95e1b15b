package gateway

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAllocsServeHTTP2 holds a request that comes over HTTP/2 and goes on over HTTP/1.1 to
// what x/net's Framer and hpack allocate of themselves.
func TestAllocsServeHTTP2(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 300\r\n\r\n"+strings.Repeat("x", 300))
	g := open(t, everyone+mapping("r", "/r/", up), deaf(t))
	c := g.dial()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := func() []byte {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "example.com"}, {":path", "/r/x?q=1"}, {"user-agent", "t"}} {
			if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		return bytes.Clone(block.Bytes())
	}
	var frames bytes.Buffer
	fr := http2.NewFramer(&frames, nil)
	head := func(id uint32, block []byte) []byte {
		frames.Reset()
		if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}); err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(frames.Bytes())
	}
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	c.say(http2.ClientPreface + settings + string(head(1, fields()))) // the block fills the table
	frame := head(3, fields())                                        // whose entries this one names
	window := []byte{0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0x4b, 0}        // of the connection: 64 answers
	b := make([]byte, 64<<10)
	hear := func() {
		for n := 0; bytes.Count(b[:n], ex) < 300; {
			m, err := c.Read(b[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
		}
	}
	hear()
	id := uint32(3)
	once := func() {
		binary.BigEndian.PutUint32(frame[5:], id)
		if id += 2; id%128 == 1 {
			if _, err := c.Write(window); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		hear()
	}
	for range 200 {
		once()
	}
	if n := testing.AllocsPerRun(500, once); n > 2 {
		t.Errorf("got %v allocations a request, want 2 at most", n)
	}
}

var ex = []byte("x")
