package gateway

import (
	"net/netip"
	"sync"
	"time"
	"unique"

	"legate/authn"
	"legate/config"
	"legate/format"
	"legate/limiter"
	"legate/routes"
	"legate/script"
	"legate/telemetry"
	"legate/upstream"
	"legate/wire"
)

// A Snapshot is a World made ready. It is never changed once it serves, and is read
// without locks.
type Snapshot struct {
	Gen      uint64
	Problems []config.Problem
	TLS      *wire.TLSTable

	table     *routes.Table
	routes    []*Route // of the table's, in its order; each is its Ready
	none      Route    // stands in where no route matches
	edge      edge
	listeners []listenerView
	tcp       []tcpPort          // by the index in listeners
	tcpRoutes []*tcpRoute        // all of them
	slots     []int              // the index in listeners of each bound port; -1 for none
	unbound   []*config.Listener // whose port could not be had
	upstreams *upstream.Set
	accessLog *telemetry.AccessLog // nil for none
	logFormat *format.Format       // nil for the log's own
	logEarly  []*format.Command    // of logFormat
	certFacts sync.Map             // *wire.CertFacts by *tls.Config, as they are asked for
	grpcStats *grpcStats           // nil for none
	endpoints *authn.Endpoints     // the gateway's own paths; nil for none
	authn     *authn.Set           // who decides about who asks; nil before the first configuration
	script    *script.Program      // the Module's lua_scripts; nil for none
	limits    rateLimits
	world     config.World
	wish      config.World // world as it came, before anything of it was dropped or added

	thresholds *limiter.Set[unique.Handle[upstream.Spec], limiter.Thresholds] // by what shares them
	breakers   *limiter.Set[breakerKey, limiter.Breaker]
	base       base

	tracing     *tracing // nil for none
	logServices []*logService

	scriptText   string
	scriptBy     string           // the object that has the script
	scriptErrors [2]*scriptErrors // of the request's hook and the answer's
}

// A Route is one Mapping ready to serve.
type Route struct {
	*routes.Route
	chain           Chain
	name            string
	upstream        *upstream.Upstream
	upstreamName    string
	metrics         *telemetry.RouteMetrics
	upstreamMetrics *telemetry.UpstreamMetrics
	timeout         time.Duration       // of the whole answer; 0 for none
	idle            time.Duration       // without a byte moving; 0 for none
	timeoutMS       []byte              // what the upstream is told of it, rendered; nil for none
	hostRewrite     []byte              // nil keeps the client's
	linkerd         []byte              // host and port of the service, for a Linkerd proxy; nil for none
	thresholds      *limiter.Thresholds // of the upstream
	breaker         *limiter.Breaker    // of the upstream; nil for none
	retry           *retry              // nil for none
	overrides       []override          // of the bodies of failures
	service         *authn.Service      // what who decides is told of the route
	affinity        *affinity           // nil where requests have nothing in common

	pools      []pool           // that it uses
	breakerKey breakerKey       // of its breaker
	limit      *limit           // nil for none
	problems   []config.Problem // that came up when it was made
}

// openLog opens the access log that the Module asks for.
func (s *Snapshot) openLog(open func(format, path string) *telemetry.AccessLog) {
	if open == nil {
		return
	}
	var format, path string
	if len(s.world.Modules) > 0 {
		format, path = s.world.Modules[0].LogType, s.world.Modules[0].LogPath
	}
	s.accessLog = open(format, path)
}

// A listenerView is what requests need to know of a Listener.
type listenerView struct {
	security config.SecurityModel
	l7Depth  int
	internal []netip.Prefix // internal_address_config; nil for private networks
	metrics  *telemetry.ListenerMetrics
	port     *telemetry.PortMetrics // once bound
	served   bool                   // bound, and not disabled
}

// portOf returns the counters of a bound port, nil for none.
func (s *Snapshot) portOf(slot int) *telemetry.PortMetrics {
	if i := s.listener(slot); i >= 0 {
		return s.listeners[i].port
	}
	return nil
}

// listener returns the index of the Listener behind a bound port, -1 for none.
func (s *Snapshot) listener(slot int) int {
	if slot >= len(s.slots) {
		return -1
	}
	return s.slots[slot]
}
