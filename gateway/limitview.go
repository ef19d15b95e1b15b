package gateway

import (
	"cmp"
	"slices"

	"legate/limiter"
)

// A LimitsView is what limits how often requests may come, as operators see it. Counts are
// those of this process since it began.
type LimitsView struct {
	Domain  string            `json:"domain"`            // whose labels count
	Service *LimitServiceView `json:"service,omitempty"` // that is asked instead of all that follows
	Store   string            `json:"store,omitempty"`   // "memory", of every replica by itself, or "redis", of all together
	Keys    int               `json:"keys,omitempty"`    // counters in a store of this process
	Denies  bool              `json:"denies"`            // requests do not pass where nobody can be asked
	Failed  uint64            `json:"failed"`            // requests about which nobody could be
	Limits  []LimitView       `json:"limits"`
	Routes  []LimitedRoute    `json:"routes"` // whose requests carry labels
}

// A LimitServiceView is the RateLimitService that is asked.
type LimitServiceView struct {
	By      string `json:"by"`
	Address string `json:"address"`
	Down    bool   `json:"down"` // by what came of the last question
	Allowed uint64 `json:"allowed"`
	Limited uint64 `json:"limited"`
}

// A LimitView is one limit.
type LimitView struct {
	Name    string `json:"name"`
	By      string `json:"by"`
	Written string `json:"written,omitempty"` // file and line
	Pattern string `json:"pattern"`
	Rate    int64  `json:"rate"`
	Unit    string `json:"unit"`
	Burst   int64  `json:"burst_factor,omitempty"`
	LogOnly bool   `json:"log_only,omitempty"`
	Reached bool   `json:"reached"` // some request's labels lead to it
	Allowed uint64 `json:"allowed"`
	Limited uint64 `json:"limited"`
	Logged  uint64 `json:"logged"`
}

// A LimitedRoute is a route whose requests carry labels, and what they may lead to.
type LimitedRoute struct {
	Route  string   `json:"route"`
	Labels []string `json:"labels"` // one for each descriptor
	Limits []string `json:"limits"` // by their names
}

// Limits returns what limits how often requests may come.
func (g *Gateway) Limits() LimitsView {
	s := g.snap.Load()
	l := &s.limits
	v := LimitsView{Limits: []LimitView{}, Routes: []LimitedRoute{}, Denies: l.deny, Failed: g.metrics.LimitStoreFailures()}
	if l.table == nil {
		return v
	}
	v.Domain = l.table.Domain
	reached := map[*limiter.Limit]bool{}
	for _, r := range s.routes {
		if limited := r.limited(l.table, reached); limited != nil {
			v.Routes = append(v.Routes, *limited)
		}
	}
	if a := l.service; a != nil {
		v.Service = &LimitServiceView{a.by, a.address, a.outage.lasts.Load(), a.metrics.Allowed.Value(), a.metrics.Limited.Value()}
		return v
	}
	v.Store = "redis"
	if memory, ok := g.opts.Limits.Store.(interface{ Counters() int }); ok {
		v.Store, v.Keys = "memory", memory.Counters()
	}
	for i, each := range l.table.Limits {
		m, w := l.metrics[i], &each.Window
		v.Limits = append(v.Limits, LimitView{
			Name: each.Name, By: each.By, Written: written(each.Written()), Pattern: each.Pattern(), Rate: w.Rate, Unit: each.UnitName(), Burst: w.Burst,
			LogOnly: each.LogOnly, Reached: reached[each], Allowed: m.Allowed.Value(), Limited: m.Limited.Value(), Logged: m.Logged.Value(),
		})
	}
	slices.SortStableFunc(v.Limits, func(a, b LimitView) int { return cmp.Or(cmp.Compare(a.By, b.By), cmp.Compare(a.Name, b.Name)) })
	return v
}

// limited tells what r's requests carry, nil for nothing, and notes which limits that may
// lead to.
func (r *Route) limited(t *limiter.Table, reached map[*limiter.Limit]bool) *LimitedRoute {
	var descriptors []limiter.Descriptor
	for i := range r.chain.steps {
		switch stage := r.chain.steps[i].stage.(type) {
		case *limit:
			descriptors = stage.rules.Descriptors
		case *limitService:
			descriptors = stage.descriptors
		}
	}
	if descriptors == nil {
		return nil
	}
	v := &LimitedRoute{Route: r.name, Labels: []string{}, Limits: []string{}}
	own := map[*limiter.Limit]bool{}
	for i := range descriptors {
		v.Labels = append(v.Labels, descriptors[i].String())
		t.Matches(&descriptors[i], own)
	}
	for l := range own {
		reached[l] = true
		v.Limits = append(v.Limits, l.Name)
	}
	slices.Sort(v.Limits)
	return v
}
