// Package redis says how a Redis, or what speaks its protocol, is reached: from a URL and
// the variables that Edge Stack has for it. It does not know what is kept there.
package redis

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// A Topology is how the nodes of a Redis belong together.
type Topology int

// The topologies.
const (
	Single   Topology = iota // one node
	Sentinel                 // one node at a time, which Sentinels know
	Cluster                  // many nodes, each with a part of the keys
)

var topologies = [...]string{Single: "SINGLE", Sentinel: "SENTINEL", Cluster: "CLUSTER"}

// String returns t as REDIS_TYPE has it.
func (t Topology) String() string { return topologies[t] }

// Settings are how one Redis is reached.
type Settings struct {
	Topology Topology
	Network  string   // "tcp" or "unix"
	Addrs    []string // where it is, or its Sentinels, or some nodes of its cluster
	Master   string   // what Sentinels call it
	DB       int

	Username, Password string
	TLS, Insecure      bool // Insecure believes any certificate

	PoolSize       int           // connections to each node, at most
	PingInterval   time.Duration // between questions whether it is there
	Timeout        time.Duration // of dialling, writing and reading, where nobody is in more of a hurry; 0 for the default
	PipelineWindow time.Duration // that what is sent waits for more to be sent together
	PipelineLimit  int           // of what is sent together; 0 for the default
}

// String says for people where s leads. It does not know the password.
func (s *Settings) String() string {
	text := s.Topology.String() + " " + strings.Join(s.Addrs, ",")
	if s.Master != "" {
		text = fmt.Sprintf("%v %s at %s", s.Topology, s.Master, strings.Join(s.Addrs, ","))
	}
	if s.TLS {
		text += " over TLS"
	}
	return text
}

// LogValue keeps the password out of logs that are given s whole.
func (s *Settings) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Shared are the settings of all that replicas share.
type Shared struct {
	Settings
	PerSecond *Settings // of the Redis for limits of every second; nil for the same one

	LocalCache int           // bytes in which limits that were met are remembered; 0 remembers none
	Jitter     time.Duration // up to which counters are kept longer than their window
}
