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
		const later = time.Minute
		waited := func() (d, most time.Duration) {
			sent := time.Now()
			if _, err := io.WriteString(client, "x"); err != nil {
				t.Fatal(err)
			}
			b, n, err := c.ReadFirst(wire.Small)
			if err != nil || n != 1 || b[0] != 'x' {
				t.Fatalf("read %d bytes, %v", n, err)
			}
			wire.Small.Put(b)
			now := time.Now()
			if d := c.Waited(now.Add(-later)); d != 0 {
				t.Errorf("waited %v by a clock that was set back", d)
			}
			return c.Waited(now.Add(later)), later + now.Sub(sent)
		}
		for began, d := time.Now(), time.Duration(0); stamped && d == 0; d, _ = waited() { // the kernel begins with it some time after it is asked
			if time.Since(began) > 10*time.Second {
				t.Fatal("nothing is stamped")
			}
		}
		for range 3 {
			switch d, most := waited(); {
			case stamped && (d <= later || d > most):
				t.Errorf("a minute later it had waited %v, want at most %v", d, most)
			case !stamped && d != 0:
				t.Errorf("nobody has asked, and it waited %v", d)
			}
		}
	}
}
