package wire

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// A Meter lags behind by less than 64 KiB, and by nothing once the connection has ended.
func TestMeter(t *testing.T) {
	near, far := net.Pipe()
	var m Meter
	c := NewConn(near)
	c.MeterBy(&m)
	go func() {
		_, _ = io.CopyN(io.Discard, far, 100<<10)
		_, _ = far.Write(make([]byte, 10))
	}()
	for _, n := range []int{10 << 10, 90 << 10} {
		if _, err := c.Write(bytes.Repeat([]byte("x"), n)); err != nil {
			t.Fatal(err)
		}
	}
	if out := c.BytesWritten() - m.Out.Load(); out < 0 || out >= meterEvery {
		t.Errorf("%d bytes are not metered", out)
	}
	if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if in, out := m.In.Load(), m.Out.Load(); in != 10 || out != 100<<10 {
		t.Errorf("metered %d and %d", in, out)
	}
}
