package config

import "time"

// A RateLimit is Edge Stack's RateLimit: how often what carries certain labels may be
// asked. What its Limits say concerns requests whatever object they are written in.
type RateLimit struct {
	Meta
	Domain string
	Limits []Limit
}

// A Limit is one item of a RateLimit's limits.
type Limit struct {
	Index   int    // in the list, as written
	Name    string // or the object's name and namespace with the index
	LogOnly bool   // it counts and refuses nothing
	// Pattern is matched with the entries of a descriptor from the first one on; each item
	// by any of its alternatives. "" and "*" stand for any value, each with a counter of its
	// own.
	Pattern        [][]LabelMatch
	Rate           int64 // in every Unit
	Unit           time.Duration
	Burst          int // units whose requests may come at once; 0 for windows by the calendar
	InjectRequest  []HeaderTemplate
	InjectResponse []HeaderTemplate
	Error          ErrorResponse
}

// A LabelMatch is one entry that a descriptor must have.
type LabelMatch struct{ Key, Value string }

// A LabelKind says where the value of a label comes from.
type LabelKind uint8

// The kinds, which are those of Envoy's rate limit actions.
const (
	GenericKey         LabelKind = iota // it is written down
	RemoteAddress                       // the client's address
	RequestHeader                       // a header of the request
	SourceCluster                       // the gateway
	DestinationCluster                  // the upstream
)

// A Label makes one entry of a descriptor.
type Label struct {
	Kind   LabelKind
	Key    string // of the entry
	Value  string // of a GenericKey
	Header string // of a RequestHeader, in lower case; may be a pseudo-header
}

// A LabelGroup makes one descriptor for the domain it is written under.
type LabelGroup struct {
	Domain string
	Labels []Label
	Bare   bool // the Module's defaults are not put before it
}

// DefaultLabels are what a Module puts before every group of a domain.
type DefaultLabels struct {
	Domain string
	Labels []Label
}

// DefaultLabelDomain is the domain of limits where nothing else is said.
const DefaultLabelDomain = "ambassador"
