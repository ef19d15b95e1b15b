package gateway

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"legate/authn"
	"legate/decision"
	"legate/limiter"
	"legate/routes"
	"legate/telemetry"
	"legate/telemetry/als"
	"legate/telemetry/trace"
	"legate/upstream"
	"legate/wire"
)

// An Exchange is one request and its answer: the only per-request object, pooled,
// shared by all stages.
type Exchange struct {
	Req      *wire.Head // what the client sent; never edited
	ToUp     wire.Edits // what we change on the way in
	Resp     wire.Head  // the upstream's answer
	ToClient wire.Edits // what we change on the way out
	Snap     *Snapshot  // pinned at the start: one generation per request
	Route    *Route     // never nil
	front    *Route     // that was found first, where Route is another one; nil else
	Decision decision.Record
	Now      time.Time // read once
	Client   netip.Addr
	External bool // not from a private network
	Secure   bool // came over a secure connection, by the Listener's model
	Dry      bool // only asked about: decide everything, do nothing

	gateway   *Gateway
	stream    wire.Stream
	peer      *wire.Peer
	match     routes.Request
	roll      *int           // decides by weight where somebody chose it; nil else
	call      authn.Call     // the request, for who decides about it
	metadata  authn.Metadata // of who decided, for the access log; nil for none
	requestID []byte
	path      []byte // as the client sent it, before normalisation
	arena     []byte // backs what is made for this exchange only
	text      []byte // backs what a format makes, as its commands may use the arena meanwhile
	entry     telemetry.Entry
	entered   int  // stages of the chain that were entered
	ended     int  // of those, the ones whose Finish was called
	asked     int  // the one whose Respond is called
	answering bool // the answer's head was written, or tried to be

	// The upstream's part.
	link      wire.Link
	upstream  *upstream.Upstream
	choice    upstream.Choice // of the endpoint
	setCookie []byte          // that keeps the client at its endpoint; nil for none
	sent      time.Time       // when the request was on its way
	headAfter time.Duration
	endpoint  string
	retries   int
	inside    bool // among those that the gateway serves at once
	belated   bool // it came when requests wait too long, and is refused at once
	admitted  bool // among those that the upstream has to bear
	passed    bool // by the breaker, which has not been told the outcome
	pass      limiter.Pass
	called    int // the status of HTTP that stands for the end of a call of gRPC; 0 for none
	tries     int // beside the first, by the retry_policy
	retrying  *limiter.Threshold
	timer     *time.Timer
	reply     localReply

	// Shared with the goroutine that carries a long request body.
	pumping   bool
	pumpDone  sync.WaitGroup
	pumpErr   error
	moved     atomic.Int64 // when a byte last moved, as time since Now
	finished  atomic.Int64 // when the request was complete, as time since Now; 0 before
	ending    atomic.Bool  // the last of the request has been read
	carried   atomic.Bool  // the connection has taken all of the request from the carrier
	pumpFunc  func()
	tickFunc  wire.Tick
	goneFunc  func() bool // see upstream.Choice
	body      []byte      // lent; a short request body kept for a second try, or the beginning of a longer one
	bodyBytes int
	bodyWhole bool
	mirrors   bool // the request is copied to a shadow, so its body is kept
	mirrored  bool // the copy was made
	buffered  bool // the body was read whole before anything else

	// A long body that is kept as it is carried, for another try. The carrier writes
	// them; they may be read once finished is set or the carrier has come to rest.
	saved        []byte
	savedWhole   bool
	savedTooMuch bool
	location     []byte // backs a redirect's Location

	worn      []byte     // the body in place of the upstream's; nil for none
	kept      []byte     // the answer's body, where it was read whole; nil else
	status    int        // what the client is told instead of the upstream's status; 0 for nothing else
	bridges   bool       // what trails the kept body is told in the head
	scripting *scripting // what the Module's script has of the exchange; nil without one

	judged      limiter.Judgement // what rate limits say
	limitAnswer *limiter.Answer   // what a RateLimitService says; nil for nothing
	values      [][]byte          // of formats, while headers are edited
	early       [][]byte          // what the access log wants of the answer, by slot
	keptEarly   bool              // early and noted hold it
	noted       noted             // what collectors are told of the answer
	trace       trace.Context     // the request's place in a trace; zero for none
	tellID      bool              // the client is told the request's id
	span        *trace.Span       // room for what a collector is told; nil until it is
	logged      *als.Entry        // the same
	relayed     bool              // the answer is the upstream's
	recording   bool              // the request is over and its record is written
	took        time.Duration     // once recording

	zip      *gzipStream    // the stream, where the client takes answers compressed
	web      *webStream     // the stream, where it is one of gRPC-Web's
	counted  *countedStream // the stream, where its messages are counted
	wsAccept [28]byte       // the Sec-WebSocket-Accept that our key must bring; zero where the client made the key
}

// maxArena is the largest arena kept for the next exchange.
const maxArena = 16 << 10

var exchanges = sync.Pool{New: func() any {
	x := &Exchange{arena: make([]byte, 0, 1024)}
	x.pumpFunc = x.pump
	x.tickFunc = x.tick
	x.goneFunc = func() bool { return x.stream.Gone() }
	return x
}}

// begin prepares a pooled Exchange for one request. Budget: 0 allocs.
func begin(g *Gateway, s wire.Stream, req *wire.Head) *Exchange {
	x := exchanges.Get().(*Exchange) //nolint:forcetypeassert // nothing else is put in
	x.gateway, x.stream, x.Req = g, s, req
	x.peer = s.Peer()
	x.Snap = g.current(x.peer.Listener)
	x.Now = s.Start()
	x.Decision = decision.Record{}
	x.Route, x.front = &x.Snap.none, nil
	x.path = req.Path()
	x.requestID = nil
	x.endpoint, x.retries, x.headAfter = "", 0, 0
	x.inside, x.belated, x.admitted, x.passed, x.tries, x.retrying = false, false, false, false, 0, nil
	x.choice, x.setCookie, x.pass = upstream.Choice{Gone: x.goneFunc}, nil, limiter.Pass{}
	x.sent = time.Time{}
	x.entered, x.ended, x.answering = 0, 0, false
	x.relayed, x.recording, x.keptEarly = false, false, false
	x.trace, x.tellID = trace.Context{}, false
	x.ToUp.Casing = x.Snap.edge.casing
	x.moved.Store(0)
	x.finished.Store(0)
	x.ending.Store(false)
	x.pumpErr = nil
	return x
}

// free gives the Exchange back. Nothing may hold it afterwards.
func (x *Exchange) free() {
	x.ToUp.Reset()
	x.ToClient.Reset()
	x.reply = localReply{}
	if cap(x.arena) > maxArena {
		x.arena = make([]byte, 0, 1024)
	}
	x.arena = x.arena[:0]
	if cap(x.text) > maxArena {
		x.text = nil
	}
	x.Req, x.Snap, x.Route, x.stream, x.peer, x.link, x.upstream, x.gateway = nil, nil, nil, nil, nil, nil, nil, nil
	x.match = routes.Request{}
	x.judged.Reset()
	x.limitAnswer = nil
	x.call = authn.Call{}
	x.metadata = nil
	x.entry = telemetry.Entry{}
	x.returnBody()
	x.saved, x.savedWhole, x.savedTooMuch = nil, false, false
	x.path, x.requestID = nil, nil
	x.Dry, x.roll = false, nil
	x.wsAccept[0] = 0
	x.worn = nil
	x.unkeep()
	if x.scripting != nil {
		x.endScripting()
	}
	exchanges.Put(x)
}

// returnBody gives back the buffer of a short request body.
func (x *Exchange) returnBody() {
	if x.body == nil {
		return
	}
	bodyPool(int64(cap(x.body))).Put(x.body)
	x.body, x.bodyWhole, x.buffered = nil, false, false
}
