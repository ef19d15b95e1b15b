package gateway

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // it names, and protects nothing
	"encoding/hex"
	"slices"
	"strings"

	"legate/config"
	"legate/limiter"
)

// rateLimits makes the rate limits ready that count in this process.
func (c *compiler) rateLimits() {
	domain := cmp.Or(c.defaults().DefaultLabelDomain, config.DefaultLabelDomain)
	l, counted := &c.next.limits, c.world.RateLimits
	if s, none := c.chosenRateLimitService(); s != nil {
		domain = cmp.Or(s.Domain, domain)
		l.deny, l.patience, l.exhausted = s.FailureModeDeny, s.Timeout, s.ResourceExhausted
		switch {
		case none, s.Broken != "":
			counted = nil
		case !s.BuiltIn:
			c.asked, counted = s, nil
			c.uncounted()
		}
	}
	var problems []config.Problem
	l.table, problems = limiter.NewTable(counted, limiter.TableOptions{Domain: domain, ExactDepth: c.g.opts.Limits.ExactDepth})
	c.problems = append(c.problems, problems...)
	for _, each := range l.table.Limits {
		l.metrics = append(l.metrics, c.g.metrics.Limit(each.Name))
	}
	c.reviveDefault()
}

// descriptors are those of a route's requests, in the domain that counts: its groups, each
// behind the Module's defaults, or the defaults alone where the route has no labels at all.
func (c *compiler) descriptors(r *Route) []limiter.Descriptor {
	if r.Mapping.HostRedirect {
		return nil
	}
	domain := c.next.limits.table.Domain
	defaultDomain := cmp.Or(c.defaults().DefaultLabelDomain, config.DefaultLabelDomain)
	defaults := c.defaultLabels(domain)
	fixed := func(kind config.LabelKind) string {
		if kind == config.SourceCluster {
			return c.g.opts.Limits.Cluster
		}
		return clusterName(r.Mapping.Service, r.Mapping.Namespace)
	}
	var list []limiter.Descriptor
	for _, g := range r.Limits {
		if cmp.Or(g.Domain, defaultDomain) != domain {
			continue
		}
		labels := g.Labels
		if !g.Bare {
			labels = append(slices.Clone(defaults), labels...)
		}
		list = append(list, limiter.NewDescriptor(labels, fixed))
	}
	switch {
	case len(r.Limits) == 0 && domain == defaultDomain && len(defaults) > 0:
		list = append(list, limiter.NewDescriptor(defaults, fixed))
	case len(list) == 0 && c.next.limits.revived:
		list = append(list, limiter.NewDescriptor(revivedLabels, fixed))
	}
	return list
}

func (c *compiler) defaultLabels(domain string) []config.Label {
	for _, d := range c.defaults().DefaultLabels {
		if d.Domain == domain {
			return d.Labels
		}
	}
	return nil
}

// revivedLabels are those of requests that carry none, for a limit that waits for them.
var revivedLabels = []config.Label{{Kind: config.GenericKey, Key: "generic_key", Value: "default"}}

// reviveDefault looks for a limit for requests with generic_key: default while nothing
// gives a request that label: its author means requests without labels.
func (c *compiler) reviveDefault() {
	t := c.next.limits.table
	i := slices.IndexFunc(t.Limits, func(l *limiter.Limit) bool { return l.Waits(revivedLabels[0]) })
	if i < 0 || c.labelled(t.Domain) {
		return
	}
	c.next.limits.revived = true
	c.problems = append(c.problems, t.Limits[i].Problem("no Mapping and no default_labels give a request the label generic_key: default",
		"it counts all requests of Mappings without labels together"))
}

// labelled reports whether something gives requests the label generic_key: default.
func (c *compiler) labelled(domain string) bool {
	defaultDomain := cmp.Or(c.defaults().DefaultLabelDomain, config.DefaultLabelDomain)
	if slices.Contains(c.defaultLabels(domain), revivedLabels[0]) {
		return true
	}
	for i := range c.world.Mappings {
		for _, g := range c.world.Mappings[i].LimitLabels {
			if cmp.Or(g.Domain, defaultDomain) == domain && slices.Contains(g.Labels, revivedLabels[0]) {
				return true
			}
		}
	}
	return false
}

// unlimited notes that nothing limits what a route's labels say.
func (c *compiler) unlimited(r *Route, d *limiter.Descriptor) {
	p := r.Mapping.Problem("labels", "no RateLimit counts requests with the labels "+d.String(), config.Notice)
	p.Instead = "they are not limited by them"
	c.problems = append(c.problems, p)
}

// limitsReached notes which limits no request can reach.
func (c *compiler) limitsReached() {
	c.problems = append(c.problems, c.next.limits.table.Unmatched(c.reached)...)
}

// longCluster is from which length on Ambassador shortens the name of a cluster.
const longCluster = 60

// clusterName is Ambassador's name for the cluster of a service.
func clusterName(service, namespace string) string {
	name := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, "cluster_"+service+"_"+namespace)
	if len(name) <= longCluster {
		return name
	}
	sum := sha1.Sum([]byte(name)) //nolint:gosec // it names, and protects nothing
	return name[:40] + "-" + strings.ToUpper(hex.EncodeToString(sum[:8])) + "-0"
}
