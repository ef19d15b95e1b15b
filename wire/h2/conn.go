package h2

import (
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/net/http2"

	"legate/wire"
)

// A conn is one connection of the server.
type conn struct {
	*mux
	srv   *Server
	peer  wire.Peer
	lim   *Limits
	onEnd func()

	// Of the goroutine that reads.
	next    *exchange   // whose head is being read; nil for one that is refused
	trails  bool        // a trailer is being read
	late    *wire.Head  // takes trailers
	refusal ending      // why there is neither
	pending []*exchange // whose heads are there; they start when what was read is used up
	asked   time.Time   // when the client was last asked whether it is there; zero if it answered
	began   time.Time   // when the connection did
	rested  bool        // this goroutine is fresh
	old     time.Time   // when the connection has lived long enough; zero for never

	tunnels tunnels // its own lock guards them

	// Guarded by the mux's lock.
	active  int       // streams with a handler
	orphans int       // streams that are answered, whose requests still come
	resting time.Time // when the last of them ended
	leaving leaving
	last    uint32 // the last stream that is served, once leaving is parted
}

// How far a connection is on its way to its end.
type leaving uint8

const (
	staying   leaving = iota
	announced         // the client was told to open no more streams
	parted            // it must know by now
)

// drainPing marks the PING whose answer says that the client knows of the GOAWAY before it.
var drainPing = [8]byte{'l', 'e', 'a', 'v', 'i', 'n', 'g'}

// keepPing asks whether the client is there.
var keepPing = [8]byte{'t', 'h', 'e', 'r', 'e', '?'}

func (s *Server) conn(raw *wire.Conn, secure *tls.Conn, peer wire.Peer, ended func()) *conn {
	c := &conn{srv: s, peer: peer, lim: s.limits.Load(), onEnd: ended}
	if secure != nil {
		c.peer.TLS = wire.NewTLSInfo(secure)
	}
	c.mux = newMux(raw, secure, s.now, c, newDecoder(c.lim.MaxHeadBytes, c.lim.MaxFields))
	now := s.now()
	c.heard, c.resting, c.began = now, now, now
	if age := c.lim.MaxAge; age > 0 {
		c.old = now.Add(age - age/10 + rand.N(max(age/5, 1))) //nolint:gosec // because spreading needs no secret
	}
	raw.WriteIdle(c.lim.StreamIdle)
	return c
}

// run serves the connection. One that rests goes on in a new goroutine: the stack that
// its streams' frames grew is not worth keeping.
func (c *conn) run() {
	err := c.greetClient()
	if err == nil {
		err = c.serve()
	}
	c.end(err)
}

// errRests ends a goroutine, not the connection.
var errRests = errors.New("connection rests")

func (c *conn) goOn() { c.end(c.serve()) }

func (c *conn) end(err error) {
	if errors.Is(err, errRests) {
		go c.goOn()
		return
	}
	c.part(err)
	if c.secure != nil {
		_ = c.secure.SetWriteDeadline(c.now().Add(lingerTime)) // close_notify is a courtesy
		_ = c.secure.Close()
	}
	_ = c.raw.Close() // nothing is left to be told
	c.await()
	c.rd.release()
	c.srv.untrack(c)
	c.onEnd()
}

// greetClient sends our SETTINGS and reads the preface.
func (c *conn) greetClient() error {
	c.greet(
		setting{uint16(http2.SettingMaxConcurrentStreams), uint32(c.lim.MaxStreams)}, //nolint:gosec // a small number
		setting{uint16(http2.SettingInitialWindowSize), streamWindow},
		setting{uint16(http2.SettingMaxHeaderListSize), uint32(c.lim.MaxHeadBytes)}, //nolint:gosec // below 2^32
		setting{uint16(http2.SettingEnableConnectProtocol), 1},
	)
	if err := c.flush(); err != nil {
		return err
	}
	c.raw.ReadBy(c.began.Add(c.lim.HeadTimeout), c.began)
	for c.rd.buffered() < len(Preface) {
		if err := c.rd.fill(); err != nil {
			return err
		}
	}
	if string(c.rd.take(len(Preface))) != Preface {
		return &ConnError{http2.ErrCodeProtocol, "no preface"}
	}
	if c.srv.draining.Load() {
		c.leave()
	}
	return nil
}

// serve reads frames until the connection ends or rests.
func (c *conn) serve() error {
	for {
		if err := c.take(); err != nil {
			return err
		}
		c.startPending()
		if err := c.flushOwn(); err != nil {
			return err
		}
		if err := c.more(); err != nil {
			return err
		}
		c.heard, c.asked, c.rested = c.now(), time.Time{}, false
		c.calm.refill(c.heard)
	}
}

// flushOwn sends what reading has called forth.
func (c *conn) flushOwn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushUnlessSoon()
	return c.dead
}

// crowded reports whether other requests are in hand.
func (c *conn) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active > 1
}

// more waits for something to read, holding no buffer unless a frame has begun.
func (c *conn) more() error {
	for {
		c.rd.rest()
		now := c.now()
		by, err := c.due(now)
		if err != nil {
			return err
		}
		c.raw.ReadBy(by, now)
		err = c.rd.wait(c.raw, c.secure)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, wire.ErrAbandoned):
			c.rested = true
			return errRests
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
	}
}

// due does what is to be done by now and returns when it is to be looked at again.
func (c *conn) due(now time.Time) (by time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.old.IsZero() && !now.Before(c.old) {
		c.old = time.Time{}
		c.leaveLocked()
		c.flushLocked()
	}
	if c.dead != nil {
		return by, c.dead
	}
	if c.finished() {
		return by, wire.ErrStopped
	}
	c.raw.OnTick(nil)
	if c.active == 0 && !c.rested {
		c.raw.OnTick(restAfterTick)
	}
	switch {
	case c.frames > 0:
		by, err = c.headAt.Add(c.lim.HeadTimeout), &ConnError{http2.ErrCodeEnhanceYourCalm, "head not complete in time"}
	case c.active == 0:
		by, err = c.resting.Add(c.patience()), &ConnError{http2.ErrCodeNo, "idle"}
	case c.asked.IsZero():
		by = c.heard.Add(c.lim.PingAfter)
		if !now.Before(by) {
			c.asked = now
			c.out = appendPing(c.buffer(), 0, keepPing)
			c.flushLocked()
			by = now.Add(c.lim.PingTimeout)
		}
	default:
		by, err = c.asked.Add(c.lim.PingTimeout), &ConnError{http2.ErrCodeNo, "no answer to PING"}
	}
	if err != nil && now.Before(by) {
		err = nil
	}
	if !c.old.IsZero() && c.old.Before(by) {
		by = c.old
	}
	return by, err
}

// patience is how long the connection may rest.
func (c *conn) patience() time.Duration {
	if idle := c.srv.limits.Load().IdleTimeout; idle > 0 {
		return idle
	}
	return 365 * 24 * time.Hour // 0 is for ever
}

// part tells the client that the connection ends, and why, if that is for us to say.
func (c *conn) part(err error) {
	lost, ours := errors.AsType[*ConnError](err)
	c.mu.Lock()
	if ours && c.dead == nil {
		last := c.highest
		if c.leaving == parted {
			last = c.last
		}
		c.out = appendGoAway(c.buffer(), last, uint32(lost.Code))
	}
	for waited := false; c.sending && c.dead == nil && !waited; {
		c.piled = true
		c.mu.Unlock()
		waited = !c.drained.wait(lingerTime)
		c.mu.Lock()
	}
	c.flushLocked()
	c.failLocked(err)
	c.mu.Unlock()
	if ours || errors.Is(err, wire.ErrStopped) {
		c.linger()
	}
}

// lingerTime bounds how long a connection is read from after our last word, so that it
// is not lost to a reset.
const lingerTime = time.Second

func (c *conn) linger() {
	if c.secure != nil {
		_ = c.secure.CloseWrite() // the peer may be gone already
	}
	if c.raw.CloseWrite() != nil {
		return
	}
	b := wire.Medium.Get()
	defer wire.Medium.Put(b)
	now := c.now()
	c.raw.OnTick(nil)
	c.raw.Resume(lingerTime)
	c.raw.ReadBy(now.Add(lingerTime), now)
	for {
		if _, err := c.raw.Read(b); err != nil {
			return
		}
	}
}

// await returns when no handler uses the connection any more.
func (c *conn) await() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.active > 0 {
		c.piled = true
		c.mu.Unlock()
		c.drained.wait(0)
		c.mu.Lock()
	}
}

// leave tells the client to open no more streams (RFC 9113 §6.8): first in a way that
// loses none that is under way, then, when it must know, for good.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaveLocked()
	c.flushLocked()
}

func (c *conn) leaveLocked() {
	if c.leaving != staying || c.dead != nil {
		return
	}
	c.leaving = announced
	c.out = appendGoAway(c.buffer(), maxWindow, uint32(http2.ErrCodeNo))
	c.out = appendPing(c.out, 0, drainPing)
	time.AfterFunc(leaveTime, c.leaveForGood)
}

// leaveTime is how long a client may take to answer that it knows.
const leaveTime = time.Second

func (c *conn) leaveForGood() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partLocked()
	c.flushLocked()
	c.finishLocked()
}

func (c *conn) partLocked() {
	if c.leaving == parted || c.dead != nil {
		return
	}
	c.leaving, c.last = parted, c.highest
	c.dropOrphans(0)
	c.out = appendGoAway(c.buffer(), c.last, uint32(http2.ErrCodeNo))
}

// finished reports whether a connection has parted from its client and has nothing left
// in hand.
func (c *conn) finished() bool { return c.leaving == parted && c.active == 0 && c.table.len() == 0 }

// finishLocked ends the reading of a finished connection.
func (c *conn) finishLocked() {
	if c.finished() {
		c.raw.StopReading()
	}
}

// ponged notes that the client answered a PING.
func (c *conn) ponged(data [8]byte) {
	if data == drainPing && c.leaving == announced {
		c.partLocked()
	}
}

func (c *conn) goAway(uint32, http2.ErrCode) {} // a client that leaves will close

func (c *conn) abused(a Abuse) { c.srv.watcher.Abused(a) }

// closed frees what nobody serves any more.
func (c *conn) closed(s *stream) {
	x := s.x
	if x.orphan {
		c.orphans--
		x.free()
	}
}

// restAfterTick ends a wait after its first tick.
func restAfterTick(by time.Time) (time.Time, bool) { return by, false }
