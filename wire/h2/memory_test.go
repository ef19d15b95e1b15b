package h2

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// heap returns how much of the heap is in use when the pools are empty.
func heap() int64 {
	runtime.GC() // pools give up what they hold at the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A connection that rests holds no buffer.
func TestAllocsOfIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("measures memory")
	}
	s := serving(t, handling{serve: echoing}, nil)
	const connections = 100
	before := heap()
	peers := make([]*peer, connections)
	for i := range peers {
		p := s.speak(t)
		p.head(1, true, get()...)
		p.want("1 HEADERS :status=200 x-asked=GET example.com /a?b=c content-length=0 end")
		peers[i] = p
	}
	each := (heap() - before) / connections
	if each > 24<<10 { // most of it is the client's Framer and tables
		t.Errorf("an idle connection and its client hold %d bytes of heap", each)
	}
	t.Logf("an idle connection and its client hold %d bytes of heap", each)
}

// A request like the one before it costs next to nothing.
func TestAllocsServer(t *testing.T) {
	if raceEnabled {
		t.Skip("counts allocations")
	}
	var e wire.Edits
	e.AddName([]byte("x-new"), []byte("1"))
	body := make([]byte, 300)
	s := serving(t, handling{serve: func(s wire.Stream, _ *wire.Head) {
		_ = s.WriteHead(200, nil, &e, int64(len(body)))
		_, _ = s.WriteBody(body)
		_ = s.End(nil)
	}}, nil)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(nc, Preface)
	fr := http2.NewFramer(nc, nil)
	_ = fr.WriteSettings()
	block := pack(get()...)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
	_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
	block = []byte{indexed | indexMethod, indexed | indexScheme + 1, indexed | 63, indexed | 62} // what the table has now
	frame := append(appendFrame(nil, len(block), frameHeaders, flagEndHeaders|flagEndStream, 1), block...)
	var window [13]byte
	answer := make([]byte, 4096)
	id := uint32(3)
	ask := func() {
		frame[5], frame[6], frame[7], frame[8] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
		id += 2
		if _, err := nc.Write(frame); err != nil {
			t.Fatal(err)
		}
		if id%64 == 1 {
			_, _ = nc.Write(appendWindowUpdate(window[:0], 0, 64*300))
		}
		for got := 0; got < 300; { // the answer's head is short
			n, err := nc.Read(answer)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	for range 200 {
		ask()
	}
	if n := testing.AllocsPerRun(500, ask); n > 1 {
		t.Errorf("%v allocations a request", n)
	}
}
