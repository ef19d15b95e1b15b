package h1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"legate/wire"
)

// tight are limits that a test can meet in no time.
func tight(change func(*Limits)) Limits {
	l := DefaultLimits()
	change(&l)
	return l
}

// request returns a request whose line and whose head have these lengths; 0 for any.
func request(line, head int) string {
	start := "GET / HTTP/1.1\r\n"
	if line > 0 {
		start = "GET /" + strings.Repeat("x", line-len(start)) + " HTTP/1.1\r\n"
	}
	rest := "Host: a\r\n\r\n"
	if pad := head - len(start) - len(rest); pad > len("X: \r\n") {
		rest = "X: " + strings.Repeat("y", pad-len("X: \r\n")) + "\r\n" + rest
	}
	return start + rest
}

func TestLimitsOfHead(t *testing.T) {
	small := tight(func(l *Limits) { l.MaxHeadBytes = 1000; l.MaxFields = 10 })
	for _, row := range []struct {
		name, in string
		lim      Limits
		status   int
		kind     wire.Kind
	}{
		{"line and head at the limit", request(989, 1000), small, 200, 0},
		{"line over the limit", request(1001, 0), small, 414, wire.LineTooLong},
		{"line without end over the limit", "GET /" + strings.Repeat("x", 2000), small, 414, wire.LineTooLong},
		{"head at the limit", request(0, 1000), small, 200, 0},
		{"head over the limit", request(0, 1001), small, 431, wire.HeadTooLarge},
		{"head without end over the limit", "GET / HTTP/1.1\r\nHost: " + strings.Repeat("x", 2000), small, 431, wire.HeadTooLarge},
		{"fields at the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 9) + "\r\n", small, 200, 0},
		{"fields over the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 10) + "\r\n", small, 431, wire.TooManyLines},
		{"default head at the limit", request(0, 60<<10), DefaultLimits(), 200, 0},
		{"default head over the limit", request(0, 60<<10+1), DefaultLimits(), 431, wire.HeadTooLarge},
		{"default fields at the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 99) + "\r\n", DefaultLimits(), 200, 0},
		{"default fields over the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n", DefaultLimits(), 431, wire.TooManyLines},
		{"more fields than a head can hold", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 250) + "\r\n", tight(func(l *Limits) { l.MaxFields = 1000 }), 431, wire.TooManyLines},
	} {
		t.Run(row.name, func(t *testing.T) {
			for name, n := range map[string]network{"at once": loopback, "byte by byte": dripping(1)} {
				rec := new(recorder)
				r := &relay{t: t, net: n, serve: rec.serve}
				out := converse(t, r, row.lim, row.in)
				resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
				if err != nil {
					t.Fatalf("%s: %v in %q", name, err, out)
				}
				_ = resp.Body.Close()
				if resp.StatusCode != row.status {
					t.Errorf("%s: got %d, want %d", name, resp.StatusCode, row.status)
				}
				if row.status != 200 && (len(r.refused) != 1 || r.refused[0].Kind != row.kind || !resp.Close || len(rec.raw) > 0) {
					t.Errorf("%s: refused %v, close %v, sent %q", name, r.refused, resp.Close, rec.raw)
				}
			}
		})
	}
}

// reading reads every body and keeps what that ended with.
type reading struct {
	echo
	ended chan error
}

func (r reading) Serve(s wire.Stream, req *wire.Head) {
	b := make([]byte, 1000)
	for {
		_, err := s.ReadBody(b)
		if err == nil {
			continue
		}
		r.ended <- err
		if perr, ok := errors.AsType[*wire.ProtocolError](err); ok {
			r.Refuse(s, req, perr)
			return
		}
		s.Abort()
		return
	}
}

func TestLimitsOfTime(t *testing.T) {
	const short = 40 * time.Millisecond
	for _, row := range []struct {
		name, in string
		change   func(*Limits)
		status   int   // 0: the connection ends without an answer
		body     error // what reading the body ended with
	}{
		{"nothing is sent", "", func(l *Limits) { l.IdleTimeout = short }, 0, nil},
		{"half a request line", "GET / HT", func(l *Limits) { l.HeadTimeout = short }, 408, nil},
		{"half a head", "GET / HTTP/1.1\r\nHost: a\r\nX: ", func(l *Limits) { l.HeadTimeout = short }, 408, nil},
		{"an empty line and no more", "\r\n", func(l *Limits) { l.HeadTimeout = short }, 408, nil},
		{"a body that rests", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", func(l *Limits) { l.StreamIdle = short }, 0, os.ErrDeadlineExceeded},
		{"a chunk that rests", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc", func(l *Limits) { l.StreamIdle = short }, 0, os.ErrDeadlineExceeded},
		{"a body under the minimum rate", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", func(l *Limits) { l.BodyGrace = short }, 408, errBodyTooSlow},
		{"chunks under the minimum rate", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", func(l *Limits) { l.BodyGrace = short }, 408, errBodyTooSlow},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := reading{ended: make(chan error, 1)}
			_, addr := startServer(t, h, tight(row.change))
			c := dial(t, addr)
			began := time.Now()
			_, _ = io.WriteString(c, row.in)
			br := bufio.NewReader(c)
			if row.status == 0 {
				if b, err := br.ReadByte(); err == nil {
					t.Errorf("got %q, want the end", b)
				}
			} else if resp, err := http.ReadResponse(br, nil); err != nil {
				t.Error(err)
			} else if _ = resp.Body.Close(); resp.StatusCode != row.status || !resp.Close {
				t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
			}
			if took := time.Since(began); took < short*9/10 {
				t.Errorf("it took %v only", took)
			}
			if row.body != nil {
				if err := <-h.ended; !errors.Is(err, row.body) {
					t.Errorf("reading ended with %v, want %v", err, row.body)
				}
			}
		})
	}
}

// A sender that keeps up the minimum rate is never too slow, however long it takes.
func TestMinimumRateIsOfTheWholeBody(t *testing.T) {
	c := &conn{session: &session{lim: &Limits{MinBodyRate: 100, BodyGrace: time.Second}}}
	now := time.Now()
	for _, row := range []struct {
		total  int64
		waited time.Duration
		left   time.Duration
	}{
		{0, 0, time.Second},
		{0, 2 * time.Second, 0},
		{100, 0, 2 * time.Second},
		{1000, 5 * time.Second, 6 * time.Second},
		{1 << 62, time.Hour, 1<<32*time.Second - time.Hour + time.Second},
	} {
		c.body.total, c.waited = row.total, row.waited
		by, slow := c.bodyDeadline(now)
		if by.Sub(now) != row.left || !slow {
			t.Errorf("%d bytes in %v: waits %v more, slow %v; want %v", row.total, row.waited, by.Sub(now), slow, row.left)
		}
	}
	c.idleLimit = 10 * time.Millisecond
	if by, slow := c.bodyDeadline(now); by.Sub(now) != c.idleLimit || slow {
		t.Errorf("the idle limit comes first: got %v, slow %v", by.Sub(now), slow)
	}
}

// flooding answers with more than a client takes that does not read.
type flooding struct {
	echo
	ended chan error
}

func (f flooding) Serve(s wire.Stream, _ *wire.Head) {
	_ = s.WriteHead(200, nil, nil, wire.LengthUnknown)
	b := make([]byte, 1<<20)
	for {
		if _, err := s.WriteBody(b); err != nil {
			f.ended <- err
			s.Abort()
			return
		}
	}
}

func TestLimitOfAnAnswerThatIsNotTaken(t *testing.T) {
	h := flooding{ended: make(chan error, 1)}
	_, addr := startServer(t, h, tight(func(l *Limits) { l.StreamIdle = 40 * time.Millisecond }))
	c := dial(t, addr)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err := <-h.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing ended with %v", err)
	}
}

// A connection that rests holds neither a read buffer nor what an exchange needs.
func TestAllocsOfIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("looks into connections that other goroutines own")
	}
	srv, addr := startServer(t, echo{}, DefaultLimits())
	const connections = 100
	before := heap()
	clients := make([]net.Conn, connections)
	answer := make([]byte, len("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-path: /\r\ncontent-length: 3\r\n\r\nabc"))
	for i := range clients {
		clients[i] = dial(t, addr)
		if _, err := io.WriteString(clients[i], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(clients[i], answer); err != nil {
			t.Fatal(err)
		}
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if len(srv.conns) != connections {
		t.Fatalf("%d connections, want %d", len(srv.conns), connections)
	}
	for c := range srv.conns {
		for c.state.Load() != stateIdle {
			runtime.Gosched()
		}
		if c.rd.buf != nil || c.session != nil {
			t.Fatal("an idle connection holds a buffer or a session")
		}
	}
	each := (heap() - before) / connections
	if each > 4<<10 {
		t.Errorf("an idle connection and its client hold %d bytes of heap", each)
	}
	t.Logf("an idle connection and its client hold %d bytes of heap", each)
}

// heap returns how much of the heap is in use when the pools are empty.
func heap() int64 {
	runtime.GC() // pools give up what they hold at the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
