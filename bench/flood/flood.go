// Package flood asks an HTTP/1.1 server more than it may be able to answer, over many
// connections and by one thread, and tells what became of it. One system call sends a
// request and one takes its answer, so that a core can ask more than the core of the server
// answers, with a service beside it.
package flood

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Load is what is asked.
type Load struct {
	Addr        string
	Request     []byte        // whole, without a body; its answer has a Content-Length
	Connections int           // that requests are sent on, one at a time on each
	Rate        int           // requests a second, however many are answered; 0 asks each connection again once it has its answer
	Warm        time.Duration // before what is counted
	Duration    time.Duration
}

// A Result is what became of it. Times begin when a request was due and end with its whole
// answer.
type Result struct {
	Served  int // answered with 200
	Refused int // answered with 503
	Unsent  int // were due while every connection waited for an answer
	Elapsed time.Duration

	ServedIn, RefusedIn Times
}

// Times are how long answers took.
type Times struct{ P50, P99, P999, Max time.Duration }

// PerSecond is how many requests were served each second.
func (r *Result) PerSecond() float64 { return float64(r.Served) / r.Elapsed.Seconds() }

func (r *Result) String() string {
	return fmt.Sprintf("%.0f served a second, p50 %v, p99 %v; %.0f refused, p50 %v, p99 %v; %.0f found no connection",
		r.PerSecond(), r.ServedIn.P50, r.ServedIn.P99, float64(r.Refused)/r.Elapsed.Seconds(), r.RefusedIn.P50, r.RefusedIn.P99, float64(r.Unsent)/r.Elapsed.Seconds())
}

// beat is how often requests are sent, as many as have become due: seldom enough for the
// service beside it to run, and often enough to be no burst.
const beat = 250 * time.Microsecond

// A flood is one Load under way.
type flood struct {
	load          *Load
	addr          unix.SockaddrInet4
	epoll, clock  int
	lanes         []*lane
	idle          []*lane
	start, counts time.Time // of all, and of what is counted
	due           int       // requests so far
	result        Result
	served        []time.Duration
	refused       []time.Duration
}

// A lane is one connection.
type lane struct {
	fd  int
	due time.Time // of the request under way; zero for none
	buf [4 << 10]byte
	n   int
}

// Run puts a load on a server, with a thread of its own. Whatever is neither 200 nor 503, and a connection
// that ends without saying so, is an error.
func Run(l Load) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f := &flood{load: &l}
	defer f.close()
	if err := f.open(); err != nil {
		return Result{}, err
	}
	if err := f.run(); err != nil {
		return Result{}, err
	}
	f.result.ServedIn, f.result.RefusedIn = times(f.served), times(f.refused)
	return f.result, nil
}

func (f *flood) open() (err error) {
	addr, err := net.ResolveTCPAddr("tcp4", f.load.Addr)
	if err != nil {
		return err
	}
	f.addr = unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	if f.epoll, err = unix.EpollCreate1(0); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if f.clock, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	f.lanes = make([]*lane, f.load.Connections)
	for i := range f.lanes {
		f.lanes[i] = &lane{fd: -1}
		if err := f.connect(i); err != nil {
			return err
		}
	}
	f.idle = slices.Clone(f.lanes)
	every := unix.NsecToTimespec(beat.Nanoseconds())
	if err := unix.TimerfdSettime(f.clock, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	return f.watch(f.clock, -1)
}

// connect gives a lane a connection.
func (f *flood) connect(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	f.lanes[i].fd, f.lanes[i].n = fd, 0
	if err := unix.Connect(fd, &f.addr); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.SetNonblock(fd, true)); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	return f.watch(fd, i)
}

func (f *flood) watch(fd, lane int) error {
	return unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(lane)})
}

func (f *flood) close() {
	for _, l := range f.lanes {
		if l != nil && l.fd >= 0 {
			_ = unix.Close(l.fd)
		}
	}
	_ = unix.Close(f.clock)
	_ = unix.Close(f.epoll)
}

func (f *flood) run() error {
	f.start = time.Now()
	f.counts = f.start.Add(f.load.Warm)
	events := make([]unix.EpollEvent, 256)
	for now := f.start; now.Sub(f.counts) < f.load.Duration; now = time.Now() {
		if err := f.send(now); err != nil {
			return err
		}
		n, err := unix.EpollWait(f.epoll, events, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd < 0 {
				_, _ = unix.Read(f.clock, make([]byte, 8)) // only that it went off is of interest
				continue
			}
			if err := f.receive(int(e.Fd)); err != nil {
				return err
			}
		}
	}
	f.result.Elapsed = time.Since(f.counts)
	return nil
}

// send sends what has become due.
func (f *flood) send(now time.Time) error {
	if f.load.Rate == 0 {
		for len(f.idle) > 0 {
			if err := f.ask(now); err != nil {
				return err
			}
		}
		return nil
	}
	at := now.Sub(f.start).Truncate(beat)
	for due := int(at.Seconds() * float64(f.load.Rate)); f.due < due; f.due++ {
		if len(f.idle) == 0 {
			if now.After(f.counts) {
				f.result.Unsent++
			}
			continue
		}
		if err := f.ask(f.start.Add(at)); err != nil {
			return err
		}
	}
	return nil
}

// ask sends one request, on the connection that has rested longest.
func (f *flood) ask(due time.Time) error {
	l := f.idle[0]
	f.idle = f.idle[1:]
	l.due = due
	if n, err := unix.Write(l.fd, f.load.Request); err != nil || n < len(f.load.Request) {
		return fmt.Errorf("send: %d bytes, %w", n, err)
	}
	return nil
}

// receive takes what came on a connection.
func (f *flood) receive(i int) error {
	l := f.lanes[i]
	n, err := unix.Read(l.fd, l.buf[l.n:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil
	case err != nil:
		return fmt.Errorf("receive: %w", err)
	case n == 0:
		return fmt.Errorf("a connection ended behind %q", l.buf[:l.n])
	}
	l.n += n
	a, whole, err := parse(l.buf[:l.n])
	if err != nil || !whole {
		return err
	}
	f.note(l, a.status)
	l.n, l.due = 0, time.Time{}
	f.idle = append(f.idle, l)
	if !a.closes {
		return nil
	}
	_ = unix.Close(l.fd)
	return f.connect(i)
}

func (f *flood) note(l *lane, status int) {
	now := time.Now()
	if l.due.Before(f.counts) {
		return
	}
	if status == 200 {
		f.result.Served++
		f.served = append(f.served, now.Sub(l.due))
		return
	}
	f.result.Refused++
	f.refused = append(f.refused, now.Sub(l.due))
}

func times(all []time.Duration) Times {
	if len(all) == 0 {
		return Times{}
	}
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[int(share*float64(len(all)-1))] }
	return Times{P50: at(0.5), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
