package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A Watched is a master with a replica, and the Sentinels that put one in the place of the
// other.
type Watched struct {
	Nodes     []*Server // the first begins as the master
	Sentinels []*Server
}

// MasterName is what the Sentinels of a Watched call it.
const MasterName = "mymaster"

// StartWatched starts three Sentinels that look after two nodes. They need about two
// seconds to see that the master is gone.
func StartWatched(t testing.TB) *Watched {
	t.Helper()
	w := &Watched{Nodes: []*Server{Start(t)}}
	host, port, _ := net.SplitHostPort(w.Nodes[0].Addr)
	w.Nodes = append(w.Nodes, Start(t, "--replicaof", host, port))
	for range 3 {
		w.Sentinels = append(w.Sentinels, start(t, &Server{program: "redis-sentinel", args: []string{
			"--sentinel", "monitor", MasterName, host, port, "2",
			"--sentinel", "down-after-milliseconds", MasterName, "1000",
			"--sentinel", "failover-timeout", MasterName, "3000",
		}}))
	}
	Eventually(t, "Sentinels know each other and the replica", func() bool {
		for _, s := range w.Sentinels {
			about := s.Do(t, "SENTINEL", "MASTER", MasterName)
			if !strings.Contains(about, "num-other-sentinels 2") && !strings.Contains(about, "num-other-sentinels:2") ||
				!strings.Contains(about, "num-slaves 1") && !strings.Contains(about, "num-slaves:1") {
				return false
			}
		}
		return strings.Contains(w.Nodes[1].Do(t, "INFO", "replication"), "master_link_status:up")
	})
	return w
}

// URL is where to ask, as REDIS_URL has it.
func (w *Watched) URL() string {
	list := []string{MasterName}
	for _, s := range w.Sentinels {
		list = append(list, s.Addr)
	}
	return strings.Join(list, ",")
}

// config makes the file in which a Sentinel notes what it learns.
func (s *Server) config(t testing.TB) string {
	t.Helper()
	path := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// slots is how many parts the keys of a cluster have.
const slots = 16384

// StartCluster starts n nodes that have all slots among them, in ranges.
func StartCluster(t testing.TB, n int) []*Server {
	t.Helper()
	nodes := make([]*Server, n)
	for i := range nodes {
		nodes[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
		nodes[i].Do(t, "CLUSTER", "SET-CONFIG-EPOCH", i+1) // nodes of one epoch quarrel, and whoever loses forgets a slot
		nodes[i].Do(t, "CLUSTER", "ADDSLOTSRANGE", i*slots/n, (i+1)*slots/n-1)
	}
	for _, other := range nodes[1:] {
		host, port, _ := net.SplitHostPort(other.Addr)
		nodes[0].Do(t, "CLUSTER", "MEET", host, port)
	}
	for i, node := range nodes {
		Eventually(t, fmt.Sprintf("node %d knows the cluster", i), func() bool {
			info := node.Do(t, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_slots_assigned:%d", slots))
		})
	}
	return nodes
}

// MoveSlot moves a slot with all its keys between two nodes of a cluster, as redis-cli does
// while the cluster serves, and returns when all nodes have heard of it.
func MoveSlot(t testing.TB, slot int, nodes []*Server, giver, taker int) {
	t.Helper()
	from, to := nodes[giver], nodes[taker]
	fromID, toID := from.Do(t, "CLUSTER", "MYID"), to.Do(t, "CLUSTER", "MYID")
	to.Do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	host, port, _ := net.SplitHostPort(to.Addr)
	for {
		keys := strings.Fields(strings.Trim(from.Do(t, "CLUSTER", "GETKEYSINSLOT", slot, 100), "[]"))
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			from.Do(t, "MIGRATE", host, port, key, 0, 5000)
		}
	}
	to.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	from.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	epoch := field(to.Do(t, "CLUSTER", "INFO"), "cluster_my_epoch")
	for i, node := range nodes {
		if node != from && node != to {
			node.Do(t, "CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
		Eventually(t, fmt.Sprintf("node %d knows of the move", i), func() bool {
			return field(node.Do(t, "CLUSTER", "INFO"), "cluster_current_epoch") >= epoch
		})
	}
}

// field returns a number of what INFO says.
func field(info, name string) int {
	_, rest, _ := strings.Cut(info, name+":")
	text, _, _ := strings.Cut(rest, "\r")
	n, _ := strconv.Atoi(text)
	return n
}
