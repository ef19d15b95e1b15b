package gateway

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAllocsServeHTTP2 holds a request that comes over HTTP/2 and goes on over HTTP/1.1 to
// what x/net's Framer and hpack allocate of themselves.
func TestAllocsServeHTTP2(t *testing.T) {
	up := echoing(t, "\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 300\r\n\r\n"+strings.Repeat("x", 300))
	allocsOverHTTP2(t, mapping("r", "/r/", up), 1)
}

// TestAllocsHTTP2BothWays holds a request that comes over HTTP/2 and goes on over HTTP/2
// to the same, once for each side.
func TestAllocsHTTP2BothWays(t *testing.T) {
	allocsOverHTTP2(t, mapping("r", "/r/", muxing(t), "grpc: true"), 3)
}

// muxing is a service that speaks just as much HTTP/2 as it needs to answer requests
// without a body, and allocates nothing.
func muxing(t *testing.T) (addr string) {
	t.Helper()
	const settings, acknowledged = "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x00\x04\x01\x00\x00\x00\x00"
	head := "\x88\x0f\x10\x0atext/plain" // :status 200, content-type
	answer := []byte("\x00\x00" + string(rune(len(head))) + "\x01\x04\x00\x00\x00\x00" + head + "\x00\x01\x2c\x00\x01\x00\x00\x00\x00" + strings.Repeat("x", 300))
	return service(t, func(p *peer) {
		reply, b := bytes.Clone(answer), make([]byte, 64<<10)
		if _, err := io.ReadFull(p.br, b[:len(http2.ClientPreface)]); err != nil {
			return
		}
		p.say(settings)
		for {
			if _, err := io.ReadFull(p.br, b[:9]); err != nil {
				return
			}
			n, kind, flags := int(b[0])<<16|int(b[1])<<8|int(b[2]), http2.FrameType(b[3]), b[4]
			id := binary.BigEndian.Uint32(b[5:9])
			if _, err := io.ReadFull(p.br, b[:n]); err != nil {
				return
			}
			switch {
			case kind == http2.FrameSettings && flags == 0:
				p.say(acknowledged)
			case kind == http2.FrameHeaders:
				binary.BigEndian.PutUint32(reply[5:], id)
				binary.BigEndian.PutUint32(reply[9+len(head)+5:], id)
				if _, err := p.Write(reply); err != nil {
					return
				}
			}
		}
	})
}

// allocsOverHTTP2 holds requests for /r/ that come over HTTP/2 to most allocations each.
func allocsOverHTTP2(t *testing.T, manifests string, most float64) {
	t.Helper()
	if raceEnabled {
		t.Skip("under the race detector pools forget at random")
	}
	g := open(t, everyone+manifests, deaf(t))
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
	if n := testing.AllocsPerRun(500, once); n > most {
		t.Errorf("got %v allocations a request, want %v at most", n, most)
	} else {
		t.Logf("%v allocations a request", n)
	}
}

var ex = []byte("x")
