package main

import (
	"context"
	"fmt"
	"os"
)

// compare measures every wanted row for every wanted contestant, prints the
// table and writes the raw figures.
func compare(ctx context.Context, opts *options) error {
	wanted := wantedContestants(opts)
	if len(wanted) == 0 {
		return fmt.Errorf("-only %s leaves nothing to measure", opts.only)
	}
	if err := install(ctx, needs(wanted)); err != nil {
		return err
	}
	a, err := newArena(opts)
	if err != nil {
		return err
	}
	defer a.close()
	results := newResults(opts, wanted)
	if err := a.rounds(ctx, wanted, results); err != nil {
		return err
	}
	results.print(os.Stdout)
	return results.write(opts.out)
}

func wantedContestants(opts *options) []contestant {
	var wanted []contestant
	for _, c := range contestants(opts) {
		if c.asked && opts.only == nil {
			continue
		}
		for _, r := range rows() {
			if r.wanted(opts, c.name) {
				wanted = append(wanted, c)
				break
			}
		}
	}
	return wanted
}

// rounds starts all contestants once and lets each do each row in turn. The
// first of a round is the second of the next: whoever follows whom changes.
func (a *arena) rounds(ctx context.Context, wanted []contestant, results *results) error {
	running := map[string]*proxy{}
	for _, c := range wanted {
		p, err := c.start(a)
		if err != nil {
			return err
		}
		defer p.stop()
		running[c.name] = p
	}
	for round := range a.opts.rounds {
		for _, r := range rows() {
			for i := range wanted {
				c := wanted[(i+round)%len(wanted)]
				if !r.wanted(a.opts, c.name) {
					continue
				}
				figures, err := a.measure(ctx, r, c, running[c.name])
				if err != nil {
					return fmt.Errorf("%s/%s: %w", r.name, c.name, err)
				}
				results.add(r.name, c.name, figures)
				fmt.Fprintf(os.Stderr, "round %d/%d %s/%s:%s\n", round+1, a.opts.rounds, r.name, c.name, inWords(figures))
			}
		}
	}
	return nil
}

// measure lets p, or where the row wants one a fresh process, do row r.
func (a *arena) measure(ctx context.Context, r row, c contestant, p *proxy) ([]figure, error) {
	if c.known = r.load != nil && r.load.known; r.fresh || c.known {
		c.name += "-fresh" // its files lie beside those of the one that runs
		var err error
		if p, err = c.start(a); err != nil {
			return nil, err
		}
		defer p.stop()
	}
	figures, err := r.measure(ctx, a, p)
	select {
	case <-p.ended:
		return nil, p.failure()
	default:
		return figures, err
	}
}
