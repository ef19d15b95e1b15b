package gateway

import (
	"errors"
	"math"
	"sync"
	"syscall"
	"time"

	"legate/decision"
	"legate/limiter"
	"legate/wire/listen"
)

// An admission lets requests in as long as the gateway itself can bear them. What it
// refuses costs a head and a short answer: it is asked before anything is decided, and
// nothing waits for it.
type admission struct {
	requests *limiter.Threshold // that are served at once
	memory   *memoryGuard       // nil where nobody says how much there may be

	congestion *limiter.Congestion // nil where requests may wait for ever
	stop       chan struct{}       // ends it
	done       sync.WaitGroup
}

// requestBytes is what a request that is being served is taken to need: two connections,
// their stacks, and buffers. Large bodies take more, but not all are large.
const requestBytes = 64 << 10

// newAdmission bounds requests by o, and by what memory there is room for where o says
// nothing of them.
func (g *Gateway) newAdmission(o *Options) *admission {
	a := &admission{}
	limit := int64(o.MaxRequests)
	if o.MemoryLimit > 0 && o.MemoryLimit < math.MaxInt64 {
		a.memory = watchMemory(o.MemoryLimit, g.log)
		if limit <= 0 {
			limit = max(o.MemoryLimit/requestBytes, 64)
		}
	}
	if limit <= 0 {
		limit = math.MaxInt64
	}
	a.requests = limiter.NewThreshold(limit)
	if o.MaxQueueing > 0 {
		a.congestion = limiter.NewCongestion(o.MaxQueueing, limit, g.clock, g.tellCongestion)
		a.stop = make(chan struct{})
		a.done.Go(func() { a.congestion.Run(a.stop) })
	}
	return a
}

// end ends what goes on for it.
func (a *admission) end() {
	a.memory.end()
	if a.congestion != nil {
		close(a.stop)
		a.done.Wait()
	}
}

// tellCongestion tells of congestion, of those that follow one another only the first.
func (g *Gateway) tellCongestion(congested bool) {
	if !congested {
		if g.congested {
			g.log.Info("requests are served in time again")
		}
		return
	}
	var others uint64
	if others, g.congested = g.congestions.pass(g.clock()); g.congested {
		g.log.Warn("requests wait too long: some are refused", "allowed", g.opts.MaxQueueing, "others", others)
	}
}

// admittedHere counts a request among those that are served, or refuses it. Health checks are
// always let in: who is taken for dead because he is busy leaves others busier.
// Budget: 0 allocs.
func (x *Exchange) admittedHere() Verdict {
	cause := x.overload(x.gateway.admission)
	switch {
	case cause == nil:
		return Continue
	case errors.Is(cause, errLeft):
		x.Client = x.peer.Remote.Addr()
		return x.stop(decision.Accept, x.gone(), "", cause)
	case x.probes():
		return Continue
	}
	x.Client = x.peer.Remote.Addr()
	x.Decision.RetryAfter = time.Second
	x.tellRetryAfter(1)
	if !x.Snap.edge.suppressEnvoy {
		x.ToClient.AddName(nameLocalOverloaded, valueTrue)
	}
	return x.stop(decision.Accept, decision.Overloaded, "", cause)
}

// overload counts a request among those that are served and returns nil, or why it cannot be.
func (x *Exchange) overload(a *admission) error {
	if a.memory != nil && a.memory.short.Load() {
		return errShortOfMemory
	}
	if a.congestion != nil {
		switch x.ruling(a.congestion) {
		case limiter.Refuse:
			return errLate
		case limiter.Forget:
			return errLeft
		case limiter.Serve, limiter.Hold:
		}
	}
	if x.inside = a.requests.Enter(); !x.inside {
		return errBusy
	}
	return nil
}

// ruling is what becomes of a request by how long it has waited. It may take a while to say so.
// Budget: 0 allocs, but where there is congestion.
func (x *Exchange) ruling(c *limiter.Congestion) limiter.Ruling {
	r := c.Judge(x.Req.Waited, x.Now)
	switch {
	case r == limiter.Refuse:
		x.belated = true
	case r == limiter.Hold && x.probes():
		return limiter.Serve
	case r == limiter.Hold:
		return c.Wait(x.Now, x.goneFunc)
	}
	return r
}

func (x *Exchange) probes() bool { return x.Snap.edge.probe(x.Req.Path()) != noProbe }

// leave makes room for another request. Budget: 0 allocs.
func (x *Exchange) leave() {
	if x.belated {
		x.gateway.admission.congestion.Cost(x.gateway.clock().Sub(x.Now))
	}
	if x.inside {
		x.inside = false
		x.gateway.admission.requests.Leave()
	}
}

// spareFiles are the file descriptors that are not the clients': manifests, the log, the
// admin port, DNS.
const spareFiles = 256

// maxConnections bounds the connections of all Listeners together. Every one may need another
// towards a service, so that clients get half of the descriptors that there may be: those
// beyond them are refused at once, where all would fail together, and the admin port too.
func (o *Options) maxConnections() *listen.Bound {
	if o.MaxConnections > 0 {
		return listen.NewBound(o.MaxConnections)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil // there is still what each Listener takes
	}
	return listen.NewBound(connectionsFor(files.Cur))
}

// connectionsFor is how many clients may be connected where there may be so many files.
func connectionsFor(files uint64) int {
	n := int(min(files, math.MaxInt32))
	return max((n-spareFiles)/2, n/4, 1)
}
