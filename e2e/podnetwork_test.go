package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A podNetwork is hosts on one machine: every pod has a network namespace of its own, joined
// to the others by a node, which translates Services' addresses and lets through what
// NetworkPolicies say, by nftables.
type podNetwork struct {
	t          *testing.T
	node       string
	pods       []*pod
	namespaces map[string]map[string]string // labels by name
	policies   []networkPolicy
	zone       map[string]string // names that its DNS knows
	nat        []string
}

// A pod has an address, and ports that policies may call by a name.
type pod struct {
	name      string
	netns     string // the host's
	namespace string // Kubernetes'; "" is outside of the cluster
	labels    map[string]string
	addr      string
	ports     map[string]int
}

// newPodNetwork needs to be root: a person who is not is told so.
func newPodNetwork(t *testing.T) *podNetwork {
	t.Helper()
	outside(t, "ip")
	outside(t, "nft")
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("hosts of a cluster are network namespaces, which need root")
		}
		t.Skip("hosts of a cluster are network namespaces, which need root")
	}
	c := &podNetwork{t: t, namespaces: map[string]map[string]string{}, zone: map[string]string{}}
	c.node = c.host("node")
	c.sh("ip", "netns", "exec", c.node, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return c
}

// host makes a network namespace.
func (c *podNetwork) host(name string) string {
	c.t.Helper()
	netns := fmt.Sprintf("legate-%d-%s", os.Getpid(), name)
	c.sh("ip", "netns", "add", netns)
	c.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", netns).Run() })
	c.sh("ip", "-n", netns, "link", "set", "lo", "up")
	return netns
}

func (c *podNetwork) sh(argv ...string) {
	c.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// add joins a pod, or a host outside, to the node. Its network is its address's /24, of
// which the node has the first.
func (c *podNetwork) add(p *pod) *pod {
	c.t.Helper()
	p.netns = c.host(p.name)
	ip := net.ParseIP(p.addr).To4()
	router := net.IPv4(ip[0], ip[1], ip[2], 1).String()
	link := fmt.Sprintf("v%d", len(c.pods))
	c.sh("ip", "link", "add", link, "netns", c.node, "type", "veth", "peer", "name", "eth0", "netns", p.netns)
	c.sh("ip", "-n", c.node, "addr", "add", router+"/24", "dev", link)
	c.sh("ip", "-n", c.node, "link", "set", link, "up")
	c.sh("ip", "-n", p.netns, "addr", "add", p.addr+"/24", "dev", "eth0")
	c.sh("ip", "-n", p.netns, "link", "set", "eth0", "up")
	c.sh("ip", "-n", p.netns, "route", "add", "default", "via", router)
	c.pods = append(c.pods, p)
	return p
}

// in returns a command that runs as a process of the pod.
func (p *pod) in(argv ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", p.netns}, argv...)...)
}

// load reads what of manifests makes a network: Namespaces' labels, Services, policies.
func (c *podNetwork) load(files ...string) {
	c.t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join("../k8s", file))
		must(c.t, err)
		d := yaml.NewDecoder(bytes.NewReader(text))
		for {
			var o yaml.Node
			err := d.Decode(&o)
			if errors.Is(err, io.EOF) {
				break
			}
			must(c.t, err)
			c.take(&o)
		}
	}
}

func (c *podNetwork) take(o *yaml.Node) {
	c.t.Helper()
	var head struct {
		Kind     string
		Metadata struct {
			Name, Namespace string
			Labels          map[string]string
		}
	}
	must(c.t, o.Decode(&head))
	switch head.Kind {
	case "Namespace":
		labels := map[string]string{"kubernetes.io/metadata.name": head.Metadata.Name}
		maps.Copy(labels, head.Metadata.Labels)
		c.namespaces[head.Metadata.Name] = labels
	case "Service":
		var s service4
		must(c.t, o.Decode(&s))
		c.service(head.Metadata.Name+"."+head.Metadata.Namespace, &s)
	case "NetworkPolicy":
		var p networkPolicy
		must(c.t, o.Decode(&p))
		p.Metadata.Namespace = or(p.Metadata.Namespace, "ambassador")
		c.policies = append(c.policies, p)
	}
}

// A service4 is what a Service says about its address.
type service4 struct {
	Metadata struct{ Namespace string }
	Spec     struct {
		Selector map[string]string
		Ports    []struct {
			Port       int
			TargetPort int `yaml:"targetPort"`
		}
	}
}

// service gives a Service an address and leads it to its pod, which has to be there.
func (c *podNetwork) service(name string, s *service4) {
	c.t.Helper()
	addr := fmt.Sprintf("10.96.0.%d", 20+len(c.nat))
	for _, p := range c.pods {
		if p.namespace != s.Metadata.Namespace || !fits(s.Spec.Selector, p.labels) {
			continue
		}
		c.zone[name+".svc.cluster.local"] = addr
		for _, port := range s.Spec.Ports {
			c.nat = append(c.nat, fmt.Sprintf("ip daddr %s tcp dport %d dnat to %s:%d", addr, port.Port, p.addr, port.TargetPort))
		}
		return
	}
	c.t.Fatalf("Service %s has no pod", name)
}

// fits reports whether labels have all that is selected.
func fits(selected, labels map[string]string) bool {
	for k, v := range selected {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// enforce puts addresses and policies into force at the node.
func (c *podNetwork) enforce() {
	c.t.Helper()
	var b strings.Builder
	b.WriteString("table ip cluster {\n chain addresses { type nat hook prerouting priority -100;\n")
	for _, rule := range c.nat {
		b.WriteString("  " + rule + "\n")
	}
	b.WriteString(" }\n")
	var jumps []string
	for i, p := range c.pods {
		for _, direction := range []string{"Egress", "Ingress"} {
			rules, isolated := c.rules(p, direction)
			if !isolated {
				continue
			}
			chain := fmt.Sprintf("%s%d", strings.ToLower(direction), i)
			fmt.Fprintf(&b, " chain %s {\n  %s\n  reject with icmp type admin-prohibited\n }\n", chain, strings.Join(append(rules, "counter"), "\n  "))
			side := map[string]string{"Egress": "saddr", "Ingress": "daddr"}[direction]
			jumps = append(jumps, fmt.Sprintf("ip %s %s jump %s", side, p.addr, chain))
		}
	}
	slices.Sort(jumps) // daddr before saddr; the order does not matter, as both have to agree
	fmt.Fprintf(&b, " chain policies { type filter hook forward priority 0;\n  ct state established,related accept\n  %s\n }\n}\n", strings.Join(jumps, "\n  "))
	cmd := exec.Command("ip", "netns", "exec", c.node, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(b.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("nft: %v\n%s\n%s", err, out, b.String())
	}
}

// A networkPolicy is Kubernetes', as far as the ones in k8s/ go.
type networkPolicy struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		PodSelector selector     `yaml:"podSelector"`
		PolicyTypes []string     `yaml:"policyTypes"`
		Ingress     []policyRule `yaml:"ingress"`
		Egress      []policyRule `yaml:"egress"`
	}
}

type policyRule struct {
	From, To []peer
	Ports    []struct {
		Protocol string
		Port     string
	}
}

type peer struct {
	Namespaces *selector              `yaml:"namespaceSelector"`
	Pods       *selector              `yaml:"podSelector"`
	Block      *struct{ CIDR string } `yaml:"ipBlock"`
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

// rules are what policies let through to or from a pod, as rules of nftables; isolated says
// whether any policy is about it at all.
func (c *podNetwork) rules(p *pod, direction string) (rules []string, isolated bool) {
	for i := range c.policies {
		policy := &c.policies[i]
		if policy.Metadata.Namespace != p.namespace || !fits(policy.Spec.PodSelector.MatchLabels, p.labels) || !slices.Contains(policy.Spec.PolicyTypes, direction) {
			continue
		}
		isolated = true
		side, list := "saddr", policy.Spec.Ingress
		if direction == "Egress" {
			side, list = "daddr", policy.Spec.Egress
		}
		for _, r := range list {
			peers := slices.Concat(r.From, r.To)
			addrs := c.addresses(peers, policy.Metadata.Namespace)
			if len(peers) > 0 && len(addrs) == 0 {
				continue // nobody whom it lets through is there
			}
			match := ""
			if len(addrs) > 0 {
				match = fmt.Sprintf("ip %s { %s } ", side, strings.Join(addrs, ", "))
			}
			if len(r.Ports) == 0 {
				rules = append(rules, match+"return")
			}
			for _, port := range r.Ports {
				number := port.Port
				if n, named := p.ports[port.Port]; named {
					number = fmt.Sprint(n)
				}
				rules = append(rules, fmt.Sprintf("%s%s dport %s return", match, strings.ToLower(port.Protocol), number))
			}
		}
	}
	return rules, isolated
}

// addresses are those of peers, seen from a namespace.
func (c *podNetwork) addresses(peers []peer, namespace string) (addrs []string) {
	for _, who := range peers {
		if who.Block != nil {
			if !strings.Contains(who.Block.CIDR, ":") {
				addrs = append(addrs, who.Block.CIDR)
			}
			continue
		}
		for _, p := range c.pods {
			inside := p.namespace == namespace
			if who.Namespaces != nil {
				inside = p.namespace != "" && fits(who.Namespaces.MatchLabels, c.namespaces[p.namespace])
			}
			if inside && (who.Pods == nil || fits(who.Pods.MatchLabels, p.labels)) {
				addrs = append(addrs, p.addr)
			}
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs)
}

// resolver writes what the cluster's DNS knows into a file for its pod.
func (c *podNetwork) resolver() string {
	c.t.Helper()
	text, err := json.Marshal(c.zone)
	must(c.t, err)
	file := filepath.Join(c.t.TempDir(), "zone.json")
	must(c.t, os.WriteFile(file, text, 0o600))
	return file
}
