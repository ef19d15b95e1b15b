package listen

import (
	"io"
	"testing"
	"time"

	"legate/wire"
)

// A connection knows how long what it reads has been there, where that is asked for.
func TestStamped(t *testing.T) {
	for _, stamped := range []bool{true, false} {
		l := listenFor(t, &greeter{}, Options{Stamped: stamped})
		client := dial(t, l)
		nc, err := l.ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := wire.NewConn(nc)
		if stamped {
			c.Stamped()
		}
		for n := range 3 {
			sent := time.Now()
			if _, err := io.WriteString(client, "x"); err != nil {
				t.Fatal(err)
			}
			b, got, err := c.ReadFirst(wire.Small)
			if err != nil || got != 1 || b[0] != 'x' {
				t.Fatalf("read %d bytes, %v", got, err)
			}
			wire.Small.Put(b)
			const later = time.Minute
			now := time.Now()
			waited := c.Waited(now.Add(later))
			if stamped && (waited <= later || waited > later+now.Sub(sent)) && !(n == 0 && waited == 0) { // the kernel may take a moment to begin
				t.Errorf("read %d: a minute later it had waited %v, sent %v before", n, waited, now.Sub(sent))
			}
			if !stamped && waited != 0 {
				t.Errorf("nobody has asked, and it waited %v", waited)
			}
			if d := c.Waited(now.Add(-later)); d != 0 {
				t.Errorf("waited %v by a clock that was set back", d)
			}
		}
	}
}
