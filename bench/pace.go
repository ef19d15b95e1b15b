package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// paceMain sends requests at a fixed rate, evenly spaced, whether or not earlier
// ones were answered, and measures each from the moment it was due: a stall of
// the proxy is paid by every request it delays. h2load's own --rps fires all its
// connections at once and starts its clock when it gets to send.
func paceMain(args []string) error {
	fs := flag.NewFlagSet("pace", flag.ExitOnError)
	addr, target := fs.String("addr", "", "address"), fs.String("target", "", "request target")
	secure := fs.Bool("tls", false, "over TLS")
	n := fs.Int("connections", 64, "connections, used in turn")
	rate := fs.Int("rate", 1000, "requests a second")
	duration := fs.Duration("duration", time.Second, "how long")
	_ = fs.Parse(args)
	runtime.GOMAXPROCS(2) // the pacemaker sleeps in the kernel and must not keep the others from running
	var conf *tls.Config
	if *secure {
		conf = tlsConfig(nil)
	}
	lanes := make([]*lane, *n)
	for i := range lanes {
		c, err := dialClient(*addr, conf, getRequest(*target, "keep-alive"))
		if err != nil {
			return err
		}
		lanes[i] = &lane{c: c, due: make(chan time.Time, 1024), done: make(chan struct{})}
		go lanes[i].run()
	}
	keepPace(lanes, time.Second/time.Duration(*rate), *duration)
	return reportLanes(lanes)
}

// A lane is one connection and the requests that are due on it.
type lane struct {
	c         *client
	due       chan time.Time
	done      chan struct{}
	latencies []float64 // microseconds
	err       error
}

func (l *lane) run() {
	defer close(l.done)
	for due := range l.due {
		if l.err == nil {
			l.err = l.c.exchange()
			l.latencies = append(l.latencies, float64(time.Since(due).Nanoseconds())/1000)
		}
	}
}

// keepPace gives each lane its turn. It owns its thread, without the 50 µs that
// the kernel may add to a sleep to wake several sleepers together.
func keepPace(lanes []*lane, interval, duration time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	start := time.Now()
	for i := 0; time.Duration(i)*interval < duration; i++ {
		due := start.Add(time.Duration(i) * interval)
		if wait := time.Until(due); wait > 0 {
			ts := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
		lanes[i%len(lanes)].due <- due
	}
	for _, l := range lanes {
		close(l.due)
	}
}

func reportLanes(lanes []*lane) error {
	var all []float64
	var errs []error
	for _, l := range lanes {
		<-l.done
		all = append(all, l.latencies...)
		errs = append(errs, l.err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(latency{
		Requests: len(all), P50: percentile(all, 50), P99: percentile(all, 99), P999: percentile(all, 99.9),
	})
}

// latency is what paceMain prints; times in microseconds.
type latency struct {
	Requests       int
	P50, P99, P999 float64
}
