package gateway

import (
	"context"
	"fmt"

	"legate/telemetry"
)

// BeginDrain makes the gateway say that it is not ready; it still serves everything.
func (g *Gateway) BeginDrain() {
	g.enter(telemetry.Leaving)
}

// Drain stops accepting, lets what is in flight end, and returns when it has. When
// ctx ends first, what is left is cut and an error says how it came about.
func (g *Gateway) Drain(ctx context.Context) error {
	g.BeginDrain()
	g.applying.Lock()
	defer g.applying.Unlock()
	g.enter(telemetry.Draining)
	for _, p := range g.ports {
		g.retire(p)
	}
	done := make(chan struct{})
	go func() {
		g.left.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("drain: %w", context.Cause(ctx))
		g.enter(telemetry.Cut)
		g.cut.Store(true)
		g.leaving.Range(func(_, v any) bool {
			p := v.(*port) //nolint:forcetypeassert // nothing else is stored
			p.engine.Abort()
			p.tcp.Abort()
			p.listener.Abort()
			return true
		})
		<-done
	}
	g.shadows.wait(ctx)
	g.leavers.end(g.snap.Load(), g.log)
	if s := g.snap.Load(); s.upstreams != nil {
		s.upstreams.Retire(nil)
		s.authn.Retire(nil)
	}
	g.resolver.Close()
	g.admission.end()
	return err
}
