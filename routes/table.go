// Package routes turns Hosts and Mappings into an immutable match table: which
// route serves a request, where it redirects to, and how path and headers change
// on the way. It follows Ambassador's rules on order, groups, weights and Hosts.
// It knows no token, no limit and no socket, and starts nothing.
package routes

import (
	"cmp"
	"regexp"

	"legate/config"
	"legate/wire"
)

// Options are what the table needs to know of the gateway it serves.
type Options struct {
	Namespace      string // the gateway's own (AMBASSADOR_NAMESPACE); "" for "default"
	LooseSelectors bool   // DISABLE_STRICT_LABEL_SELECTORS
	// NoImplicitHost says that a World without Hosts has lost them: none may be assumed.
	NoImplicitHost bool
}

// A Kind says how a route answers.
type Kind uint8

// The kinds of route.
const (
	Forward  Kind = iota // an upstream answers
	Redirect             // the gateway answers: Mapping.host_redirect
)

// A Route is one Mapping as it serves: what it matches, and what it changes.
// Settings that Ambassador shares among the Mappings of a group are merged already.
type Route struct {
	Mapping *config.Mapping
	Name    string // "name.namespace", the metric label
	By      string // "Mapping ns/name"
	Kind    Kind
	Status  int   // of a Redirect
	Share   uint8 // the route is chosen if the request's Roll is below; 100 always, 0 never
	// CaseSensitive is false if prefix and path are compared regardless of case.
	CaseSensitive bool
	// ClosedBy names the object that protects the route and cannot be enforced, ""
	// for none. Such a route answers policy_invalid.
	ClosedBy          string
	LoadBalancer      *config.LoadBalancer // nil for the Module's
	Retry             *config.RetryPolicy  // nil for the Module's
	Priority          config.Priority
	Request, Response HeaderEdits
	CORS              *CORS // nil for none
	Limits            []config.LabelGroup
	Shadow            *Route   // that gets copies, as many per cent as its Mapping's weight says; nil for none
	Upgrades          []string // protocols that a request may ask to switch to, in lower case

	// Ready is what whoever serves by the table has made of the route. The table only keeps
	// it, also in tables that are made of this one.
	Ready any

	rank    uint64   // of the routes that match the lowest serves; those of one table ascend
	taken   bool     // by some Host
	key     *sortKey // of the whole group, as are the labels
	labels  map[string]string
	host    hostCond
	conds   []cond
	acme    bool // answers ACME challenges, which never need a secure connection
	path    pathKind
	pathRE  *regexp.Regexp
	rewrite rewrite
	target  redirect
}

// A pathKind says how a Mapping's prefix is compared with the path.
type pathKind uint8

const (
	pathPrefix pathKind = iota
	pathExact
	pathRegex
)

// acmePrefix is the prefix of Mappings that are routed even where a Host redirects
// or rejects insecure requests: certificate issuers come without TLS.
const acmePrefix = "/.well-known/acme-challenge/"

// A Table says which route serves which request. It is never changed once built
// and read without locks.
type Table struct {
	Routes []*Route // in match order
	Hosts  []*Host  // that serve, in load order

	listeners []listener
	views     []*view
	looks     []HeaderName
	stripPort bool // Module strip_matching_host_port
	trustXFP  bool // Module use_remote_address is false
	implicit  bool // the only Host is assumed and takes every Mapping
	loose     bool // see Options.LooseSelectors

	// What other Mappings are added to, see Rebuild.
	wishes   wishes
	problems []config.Problem // of everything but Mappings
	mappings []*config.Mapping
	groups   []*group // of each of the mappings
	byID     []*group // sorted; but for those of Mappings that cannot serve
	order    []*group // of the routes
	first    uint64   // rank of those that were numbered last, and
	last     uint64   // of the last of them
}

// Build makes the table of w. Listeners are known by their index in w.Listeners.
// What cannot serve as written is left out, named in the Problems, and hinders
// nothing else. Build starts nothing; the Table keeps pointers into w.
func Build(w *config.World, opts Options) (*Table, []config.Problem) {
	opts.Namespace = cmp.Or(opts.Namespace, "default")
	t := &Table{implicit: len(w.Hosts) == 0 && !opts.NoImplicitHost, loose: opts.LooseSelectors}
	b := newBuilder(t, wishes{opts: opts, module: &config.Module{}, covers: newCovers(w.Guards)})
	b.sink = &t.problems
	if len(w.Modules) > 0 {
		m := &w.Modules[0]
		t.stripPort = m.StripMatchingHostPort
		t.trustXFP = m.UseRemoteAddress != nil && !*m.UseRemoteAddress
		b.module = m
		b.moduleCORS = b.cors(&m.Meta, "config.cors", m.CORS)
	}
	b.hosts(w)
	b.listeners(w.Listeners)
	t.mappings, t.groups = w.Mappings, make([]*group, len(w.Mappings))
	drafts := make([]*draft, len(w.Mappings))
	for i, m := range w.Mappings {
		drafts[i] = b.draft(i, m)
	}
	b.order(nil, b.grouped(drafts))
	t.rank()               // there is room for more routes than memory has
	t.first, t.last = 0, 0 // all at once tell nothing of how others will come
	t.look()
	b.views()
	t.wishes = b.wishes
	return t, t.found()
}

// A builder holds what is needed while a table is made.
type builder struct {
	wishes
	table        *Table
	sink         *[]config.Problem // where problems go
	regexps      map[regexKey]*regexp.Regexp
	selectorByID map[string]*selector
}

// wishes are what a World says of all its Mappings.
type wishes struct {
	opts       Options
	module     *config.Module // never nil
	moduleCORS *CORS
	covers     []cover
	selectors  []*selector // the distinct mappingSelectors of all Hosts
}

func newBuilder(t *Table, w wishes) *builder {
	return &builder{wishes: w, table: t, regexps: map[regexKey]*regexp.Regexp{}, selectorByID: map[string]*selector{}}
}

func (b *builder) problem(p config.Problem) { *b.sink = append(*b.sink, p) }

// A Request is what matching needs to know. The gateway fills it; the table keeps
// nothing of it.
type Request struct {
	Head     *wire.Head // its path normalised
	Listener int        // index in World.Listeners
	TLS      bool       // the connection is encrypted by us
	SNI      string     // the server name asked for in the handshake
	Secure   bool       // by the Listener's securityModel
	Roll     uint8      // 0 to 99, drawn once per request: decides by weight
}
