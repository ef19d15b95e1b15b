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
	Index   int // in Table.Routes; the lowest that matches wins
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

	key     sortKey // of the whole group, as are the labels
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
	nodes     []node  // of all trees
	branches  []byte  // first bytes of the nodes' kids
	entries   []entry // the nodes' and lists' routes
	stripPort bool    // Module strip_matching_host_port
	trustXFP  bool    // Module use_remote_address is false
	implicit  bool    // the only Host is assumed and takes every Mapping
	loose     bool    // see Options.LooseSelectors
}

// Build makes the table of w. Listeners are known by their index in w.Listeners.
// What cannot serve as written is left out, named in the Problems, and hinders
// nothing else. Build starts nothing; the Table keeps pointers into w.
func Build(w *config.World, opts Options) (*Table, []config.Problem) {
	opts.Namespace = cmp.Or(opts.Namespace, "default")
	b := builder{
		world: w, opts: opts, table: &Table{implicit: len(w.Hosts) == 0 && !opts.NoImplicitHost, loose: opts.LooseSelectors},
		regexps:      map[regexKey]*regexp.Regexp{},
		hasSecret:    map[config.SecretRef]bool{},
		selectorByID: map[string]*selector{},
		module:       &config.Module{},
	}
	for i := range w.Secrets {
		b.hasSecret[config.SecretRef{Name: w.Secrets[i].Name, Namespace: w.Secrets[i].Namespace}] = true
	}
	if len(w.Modules) > 0 {
		m := &w.Modules[0]
		b.table.stripPort = m.StripMatchingHostPort
		b.table.trustXFP = m.UseRemoteAddress != nil && !*m.UseRemoteAddress
		b.module = m
		b.moduleCORS = b.cors(&m.Meta, "config.cors", m.CORS)
	}
	b.hosts()
	b.routes()
	b.views()
	b.listeners()
	b.guards()
	return b.table, b.problems
}

// A builder holds what is needed while a table is made.
type builder struct {
	world    *config.World
	opts     Options
	table    *Table
	problems []config.Problem
	regexps  map[regexKey]*regexp.Regexp

	module       *config.Module // never nil
	moduleCORS   *CORS
	hasSecret    map[config.SecretRef]bool
	selectors    []*selector // the distinct mappingSelectors of all Hosts
	selectorByID map[string]*selector
}

func (b *builder) problem(p config.Problem) { b.problems = append(b.problems, p) }

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
