package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"legate/config"
	"legate/decision"
	"legate/telemetry"
	"legate/telemetry/relay"
	"legate/upstream"
	"legate/wire"
)

// A Node is how collectors know the gateway.
type Node struct {
	ID      string // which one it is
	Cluster string // by which all of them are known
	Version string
}

// A collector is a live part that tells a service elsewhere of requests. It is carried
// over as long as its settings and its service are the same.
type collector interface {
	Start()
	Close(ctx context.Context) error
}

const (
	// stragglers is how long a collector that nothing names any more takes what requests
	// that began before have to tell.
	stragglers = time.Minute
	// lastReport is how long it may take to tell the rest.
	lastReport = 5 * time.Second
)

// leavers are collectors that nothing names any more.
type leavers struct {
	waiting sync.WaitGroup
	stop    chan struct{} // closed when nobody has anything more to tell
	stopped sync.Once
}

// collectors lists what tells of requests in s.
func (s *Snapshot) collectors() []collector {
	var all []collector
	if s.tracing != nil {
		all = append(all, s.tracing)
	}
	for _, l := range s.logServices {
		all = append(all, l)
	}
	return all
}

// begin starts the collectors that are new.
func (s *Snapshot) begin() {
	for _, c := range s.collectors() {
		c.Start()
	}
}

// letGo lets go of the collectors of old that next does not have.
func (l *leavers) letGo(old, next *Snapshot, log *slog.Logger) {
	stay := next.collectors()
	for _, c := range old.collectors() {
		if !slices.Contains(stay, c) {
			l.waiting.Go(func() { l.leave(c, log) })
		}
	}
}

// leave waits for stragglers and ends c.
func (l *leavers) leave(c collector, log *slog.Logger) {
	timer := time.NewTimer(stragglers)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.stop:
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastReport)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		log.Warn("a collector was not told of the last requests", "error", err)
	}
}

// end ends those of s and all that left before, now that nobody has anything more to
// tell.
func (l *leavers) end(s *Snapshot, log *slog.Logger) {
	l.stopped.Do(func() {
		close(l.stop)
		for _, c := range s.collectors() {
			l.waiting.Go(func() { l.leave(c, log) })
		}
	})
	l.waiting.Wait()
}

// relayOptions are those of a collector that the object of m names.
func (c *compiler) relayOptions(m *config.Meta, what telemetry.Reported) relay.Options {
	count := func(outcome string) *telemetry.Counter { return c.g.metrics.Reported(what, m.FullName(), outcome) }
	log, ref := c.g.log, m.Ref()
	by := ref.String()
	return relay.Options{
		Counts: relay.Counts{Sent: count("sent"), Failed: count("failed"), Dropped: count("dropped")},
		Failed: func(err error) {
			if err != nil {
				log.Warn("a collector cannot be told of requests; what is meant for it is lost", "by", by, "error", err)
				return
			}
			log.Info("a collector is told of requests again", "by", by)
		},
	}
}

// collectorSpec returns where a collector is; false if it cannot be asked at all.
func (c *compiler) collectorSpec(m *config.Meta, service, statsName string, h2 bool) (spec upstream.Spec, ok bool) {
	spec, problems := c.reader.OfCollector(m, service, statsName, h2)
	c.problems = append(c.problems, problems...)
	return spec, !slices.ContainsFunc(problems, func(p config.Problem) bool { return p.Effect == config.ObjectDropped })
}

// An opener makes exchanges with an upstream that are none of a request's.
type opener struct {
	upstream *upstream.Upstream
	clock    func() time.Time
}

// Open returns a connection for one exchange.
func (o opener) Open() (wire.Link, error) {
	link, reason, err := o.upstream.Open(o.clock(), upstream.Choice{})
	if reason != decision.None {
		return nil, err //nolint:wrapcheck // because it says all there is to say
	}
	return link, nil
}
