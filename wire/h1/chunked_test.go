package h1

import (
	"io"
	"strings"
	"testing"

	"legate/wire"
)

// At hand is what can be read to its end without asking the connection, wherever a body is
// cut and however much of it was read before.
func TestChunksAtHand(t *testing.T) {
	for _, text := range []string{
		"0\r\n\r\n", "5\r\nshort\r\n0\r\n\r\n", "5\r\nshort\r\n3;a=b\r\nand\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
		"5\r\nshorter\r\n0\r\n\r\n", "5\nshort\r\n0\r\n\r\n", "x\r\n", "5\r\nshort0\r\n\r\n",
		strings.Repeat("1\r\nx\r\n", 62) + "0\r\n\r\n",
	} {
		for cut := range len(text) + 1 {
			for reads := range 3 {
				b := chunkedBody(text[:cut])
				for range reads {
					_, _ = b.read(make([]byte, 2))
				}
				got := b.done || b.chunksAtHand()
				if _, err := io.ReadAll(contentOf{b}); got != (err == nil) {
					t.Errorf("%q after %d reads: at hand %v, read with %v", text[:cut], reads, got, err)
				}
			}
		}
	}
}

// Who cuts a body very fine is not looked at ahead of what is read.
func TestChunksCutFineAreNotLookedAtAhead(t *testing.T) {
	b := chunkedBody(strings.Repeat("1\r\nx\r\n", maxChunksAhead) + "0\r\n\r\n")
	if b.chunksAtHand() {
		t.Errorf("%d chunks are looked at", maxChunksAhead+1)
	}
}

func TestAllocsChunksAtHand(t *testing.T) {
	b := chunkedBody("5\r\nshort\r\n3;a=b\r\nand\r\n0\r\nX: y\r\n\r\n")
	if n := testing.AllocsPerRun(100, func() { b.chunksAtHand() }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// chunkedBody is a chunked body of which nothing comes behind text.
func chunkedBody(text string) *body {
	rd := &reader{src: strings.NewReader("")}
	rd.acquire(wire.Small)
	rd.w = copy(rd.buf, text)
	return &body{rd: rd, mode: bodyChunked}
}

// A contentOf reads a body.
type contentOf struct{ *body }

func (c contentOf) Read(p []byte) (int, error) { return c.read(p) }
