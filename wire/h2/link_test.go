package h2

import (
	"io"
	"net"
	"testing"
	"time"

	"legate/wire"
)

// ready answers every request with the same bytes, and allocates nothing for it.
func ready(nc net.Conn) {
	answer := []byte("\x00\x00\x01\x01\x04\x00\x00\x00\x00\x88" + "\x00\x00\x02\x00\x01\x00\x00\x00\x00ok")
	buf := make([]byte, 64<<10)
	if _, err := io.ReadFull(nc, buf[:len(Preface)]); err != nil {
		return
	}
	_, _ = nc.Write(buf[:copy(buf, "\x00\x00\x00\x04\x00\x00\x00\x00\x00")])
	for {
		if _, err := io.ReadFull(nc, buf[:frameHeader]); err != nil {
			return
		}
		length, kind := int(buf[1])<<8|int(buf[2]), buf[3]
		copy(answer[5:], buf[5:frameHeader])
		copy(answer[frameHeader+1+5:], buf[5:frameHeader])
		if _, err := io.ReadFull(nc, buf[:length]); err != nil {
			return
		}
		if kind == frameHeaders {
			if _, err := nc.Write(answer); err != nil {
				return
			}
		}
	}
}

func TestAllocsLink(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	c, _ := connect(t, listen(t, ready), ClientOptions{})
	var req, resp wire.Head
	req.BuildRequest("POST", "example.com", "/grpc.testing.TestService/UnaryCall", "content-type", "application/grpc", "user-agent", "test")
	body := []byte("12345")
	tick := func(by time.Time) (time.Time, bool) { return by, true }
	exchange := func() {
		l := c.Open()
		if err := l.WriteHead(&req, nil, wire.LengthUnknown); err != nil {
			t.Fatal(err)
		}
		if _, err := l.WriteBody(body); err != nil {
			t.Fatal(err)
		}
		if err := l.EndRequest(nil); err != nil {
			t.Fatal(err)
		}
		if err := l.ReadHead(&resp, time.Now().Add(patience), tick); err != nil {
			t.Fatal(err)
		}
		var answer [2]byte
		if n, err := l.ReadBody(answer[:], time.Now().Add(patience), tick); n != 2 || err != nil || string(answer[:]) != "ok" {
			t.Fatal(n, err)
		}
		l.Release()
	}
	for range 100 {
		exchange()
	}
	if n := testing.AllocsPerRun(1000, exchange); n > 1 {
		t.Errorf("an exchange allocates %v times, want at most 1", n)
	}
}
