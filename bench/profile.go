package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// recordProfile writes a CPU profile of Legate under the mix to opts.pgo, where
// the next build finds it.
func recordProfile(ctx context.Context, opts *options) error {
	legate := contestants(opts)[0]
	if err := install(ctx, needs([]contestant{legate})); err != nil {
		return err
	}
	a, err := newArena(opts)
	if err != nil {
		return err
	}
	defer a.close()
	p, err := legate.start(a)
	if err != nil {
		return err
	}
	defer p.stop()
	loads := mixed(opts)
	if len(loads) == 0 {
		return fmt.Errorf("-only %s leaves nothing of the mix", opts.only)
	}
	seconds := max(3*len(loads), 9)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loaded := make(chan error, 1)
	go func() { loaded <- a.keepLoaded(ctx, p, loads, time.Second) }()
	profile, err := fetchProfile(ctx, p.admin, seconds)
	cancel()
	if failed := <-loaded; failed != nil && err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(opts.pgo), 0o755); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d s of profile, %d bytes: %s\n", seconds, len(profile), opts.pgo)
	return os.WriteFile(opts.pgo, profile, 0o644)
}

// mixed returns the loads of the mix that are wanted.
func mixed(opts *options) (loads []load) {
	for _, r := range rows() {
		if slices.Contains(mix, r.name) && opts.wants(r.name, "legate") {
			loads = append(loads, *r.load)
		}
	}
	return loads
}

// keepLoaded makes each of loads for d, again and again, until ctx ends.
func (a *arena) keepLoaded(ctx context.Context, p *proxy, loads []load, d time.Duration) error {
	for {
		for _, l := range loads {
			_, err := l.run(ctx, a, p, d)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if err := p.emptyLog(); err != nil {
				return err
			}
		}
	}
}

func fetchProfile(ctx context.Context, admin string, seconds int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, seconds), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
