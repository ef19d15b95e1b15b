package gateway

import (
	"math"
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
}

// requestBytes is what a request that is being served is taken to need: two connections,
// their stacks, and buffers. Large bodies take more, but not all are large.
const requestBytes = 64 << 10

// newAdmission bounds requests by o, and by what memory there is room for where o says
// nothing of them.
func (g *Gateway) newAdmission(o *Options) admission {
	a := admission{}
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
	return a
}

// admittedHere counts a request among those that are served, or refuses it. Health checks are
// always let in: who is taken for dead because he is busy leaves others busier.
// Budget: 0 allocs.
func (x *Exchange) admittedHere() Verdict {
	a := &x.gateway.admission
	short := a.memory != nil && a.memory.short.Load()
	if !short && a.requests.Enter() {
		x.inside = true
		return Continue
	}
	if x.Snap.edge.probe(x.Req.Path()) != noProbe {
		return Continue
	}
	x.Client = x.peer.Remote.Addr()
	x.Decision.RetryAfter = time.Second
	x.tellRetryAfter(1)
	if !x.Snap.edge.suppressEnvoy {
		x.ToClient.AddName(nameLocalOverloaded, valueTrue)
	}
	cause := errBusy
	if short {
		cause = errShortOfMemory
	}
	return x.stop(decision.Accept, decision.Overloaded, "", cause)
}

// leave makes room for another request. Budget: 0 allocs.
func (x *Exchange) leave() {
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
