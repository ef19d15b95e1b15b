package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"legate/upstream/consul"
)

var errNoInstance = errors.New("Consul lists no healthy instance")

// instances are those of one service in Consul that is in use. One goroutine follows
// it, however many upstreams share it. Those that were listed last stay while Consul
// cannot be asked, for however long.
type instances struct {
	consul.Query
	resolver *Resolver
	ctx      context.Context
	stop     context.CancelFunc

	mu    sync.Mutex
	users []*Upstream
	list  []netip.AddrPort
	err   error // why the list is old or empty
	asked bool
}

// follow has u told about the instances of a service, now and from now on.
func (r *Resolver) follow(u *Upstream, q consul.Query) *instances {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.followed[q]
	if in == nil {
		in = &instances{Query: q, resolver: r}
		in.ctx, in.stop = context.WithCancel(r.ctx)
		r.followed[q] = in
		r.wg.Go(func() { r.consul.Watch(in.ctx, q, in.take) })
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.users = append(in.users, u)
	if in.asked {
		u.place(in.list, in.err)
	}
	return in
}

// unfollow ends what follow began.
func (r *Resolver) unfollow(u *Upstream, in *instances) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.users = slices.DeleteFunc(in.users, func(v *Upstream) bool { return v == u })
	if len(in.users) == 0 {
		in.stop()
		delete(r.followed, in.Query)
	}
}

// take adopts what Consul said and tells the users.
func (in *instances) take(list []netip.AddrPort, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case err != nil && (in.err == nil || !in.asked):
		in.resolver.log.Warn("Consul not asked", "service", in.Service, "datacenter", in.Datacenter, "kept", len(in.list), "error", err)
	case err == nil && in.asked && in.err != nil && !errors.Is(in.err, errNoInstance):
		in.resolver.log.Info("Consul asked again", "service", in.Service, "datacenter", in.Datacenter, "instances", len(list))
	}
	if err == nil {
		in.list = list
		if len(list) == 0 {
			err = errNoInstance
		}
	}
	in.err, in.asked = err, true
	for _, u := range in.users {
		u.place(in.list, in.err)
	}
}
