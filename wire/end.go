package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"time"
)

// An End is a connection as a side of a Tunnel.
type End struct {
	raw    *Conn
	secure *tls.Conn
	ahead  []byte
	ended  bool    // the other side has ended its direction
	one    [1]byte // takes the first byte of what comes over TLS while there is no buffer
}

// NewEnd makes a side of a socket, and of the TLS session on it if secure is not nil.
// ahead is what was read of the connection before; it must stay valid until it has
// been carried.
func NewEnd(raw *Conn, secure *tls.Conn, ahead []byte) *End {
	raw.OnTick(nil)
	return &End{raw: raw, secure: secure, ahead: ahead}
}

// ReadFirst reads what was read ahead, and then from the connection. A TLS session
// whose connection ends without close_notify has ended, as it has for the many
// clients that never send one.
func (e *End) ReadFirst(pool *Pool) (b []byte, n int, err error) {
	switch {
	case len(e.ahead) > 0:
		b = pool.Get()
		n = copy(b, e.ahead)
		e.ahead = e.ahead[n:]
		return b, n, nil
	case e.secure == nil:
		b, n, err = e.raw.ReadFirst(pool)
	default:
		b, n, err = e.readRecord(pool)
	}
	e.ended = e.ended || errors.Is(err, io.EOF)
	return b, n, err
}

// readRecord reads what a TLS record holds, and has a buffer only once there is one.
func (e *End) readRecord(pool *Pool) (b []byte, n int, err error) {
	for n == 0 && err == nil {
		n, err = e.secure.Read(e.one[:])
	}
	if n == 0 {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return nil, 0, err
	}
	b = pool.Get()
	b[0] = e.one[0]
	e.raw.Hold(true) // what the session has at hand, and no more
	m, _ := e.secure.Read(b[1:])
	e.raw.Hold(false)
	return b, 1 + m, nil
}

// move moves what comes to dst, if both are sockets without TLS and nothing was read
// ahead; see Conn.move.
func (e *End) move(dst Duplex) (n int, ok bool, readErr, writeErr error) {
	to := endOf(dst)
	if to == nil || e.secure != nil || to.secure != nil || len(e.ahead) > 0 {
		return 0, false, nil, nil
	}
	n, ok, readErr, writeErr = e.raw.move(to.raw)
	e.ended = e.ended || errors.Is(readErr, io.EOF)
	return n, ok, readErr, writeErr
}

// endOf returns the End that d is or is made of, nil for none.
func endOf(d Duplex) *End {
	if e, ok := d.(interface{ end() *End }); ok {
		return e.end()
	}
	return nil
}

func (e *End) end() *End { return e }

// ReadBy sets until when a ReadFirst waits.
func (e *End) ReadBy(by, now time.Time) { e.raw.ReadBy(by, now) }

// Write writes all of p.
func (e *End) Write(p []byte) (int, error) {
	if e.secure != nil {
		return e.secure.Write(p)
	}
	return e.raw.Write(p)
}

// WriteIdle sets how long a Write may rest.
func (e *End) WriteIdle(d time.Duration) { e.raw.WriteIdle(d) }

// CloseWrite tells the other side that nothing more is sent.
func (e *End) CloseWrite() error {
	if e.secure != nil {
		if err := e.secure.CloseWrite(); err != nil {
			return err
		}
	}
	return e.raw.CloseWrite()
}

// StopReading ends a ReadFirst that waits.
func (e *End) StopReading() { e.raw.StopReading() }

// lastWords is how long an End that closes in order waits for its other side, and for
// the socket to take the end of the TLS session.
const lastWords = time.Second

// Linger ends our direction and gives the other side, unless it has ended its own, a
// moment to see that: closing while bytes arrive would reset the connection and destroy
// what is on its way there. Nobody else may be reading. now is the current time.
func (e *End) Linger(now time.Time) {
	_ = e.raw.SetWriteDeadline(now.Add(lastWords)) // fails only on a closed connection, as what follows shows
	if e.CloseWrite() != nil || e.ended || !e.raw.Resume(lastWords) {
		return
	}
	b := Large.Get()
	defer Large.Put(b)
	for {
		if _, err := e.raw.Read(b); err != nil {
			return
		}
	}
}

// Close closes the connection.
func (e *End) Close() {
	_ = e.raw.Close() // whatever was to be told was told before
}

// Abort resets the connection.
func (e *End) Abort() { e.raw.Reset() }
