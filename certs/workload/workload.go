// Package workload asks a SPIFFE Workload API, such as SPIRE's agent, who the gateway is in
// the mesh and whom the mesh vouches for, and follows it as that changes. An API that is not
// there is tried for as long as the gateway runs, and what it said last counts until it expires.
package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// A Source says who the gateway is, as its Workload API said last. It is a spiffe.Workload.
type Source struct {
	client *workloadapi.Client
	addr   string
	log    *slog.Logger
	now    func() time.Time
	told   func(Word)

	last  atomic.Pointer[state]
	first sync.Once
	heard chan struct{} // closed with the first word
}

// A state is what the API said last. It is never changed.
type state struct {
	svid    *x509svid.SVID  // nil for none yet
	bundles *x509bundle.Set // nil for none yet
	trouble error           // why nothing newer is known; nil where all is well
}

// Options are what a Source is made with.
type Options struct {
	Address string // as Address returns it
	Log     *slog.Logger
	Now     func() time.Time // nil for the system's clock
	Told    func(w Word)     // called whenever the API said something, and when it could not be asked; nil for nobody
}

// A Word is what the API said, or why it said nothing.
type Word struct {
	SVID *x509svid.SVID // that counts from now on; nil for none yet
	Err  error          // nil where all is well
}

// Address returns the URL of the Workload API that text means: a URL of SPIFFE's, with the
// scheme unix or tcp, or the path of a socket.
func Address(text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		text = "unix://" + text
	}
	if err := workloadapi.ValidateAddress(text); err != nil {
		return "", fmt.Errorf("must be unix:///PATH, tcp://IP:PORT or the path of a socket, got %q: %w", text, err)
	}
	return text, nil
}

// New makes a Source that knows nothing before Run.
func New(opts Options) (*Source, error) {
	s := &Source{addr: opts.Address, log: opts.Log, now: opts.Now, told: opts.Told, heard: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.told == nil {
		s.told = func(Word) {}
	}
	s.last.Store(&state{trouble: errNotAsked})
	retry := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: pauses[0], Multiplier: 1.6, Jitter: 0.2, MaxDelay: pauses[len(pauses)-1]},
		MinConnectTimeout: 5 * time.Second,
	}
	client, err := workloadapi.New(context.Background(), workloadapi.WithAddr(opts.Address),
		workloadapi.WithBackoffStrategy(patience{}), workloadapi.WithDialOptions(grpc.WithConnectParams(retry)))
	if err != nil {
		return nil, fmt.Errorf("reach the Workload API at %s: %w", opts.Address, err)
	}
	s.client = client
	return s, nil
}

// Run follows the API until ctx is done, and then closes the connection to it. It is called
// once.
func (s *Source) Run(ctx context.Context) {
	defer func() { _ = s.client.Close() }() // nobody asks it any more
	for ctx.Err() == nil {
		// It comes back only for what it takes for final. Nothing is: an agent is replaced, or
		// told who we are only later.
		_ = s.client.WatchX509Context(ctx, watcher{s, ctx}) // the watcher was told of its error
		select {
		case <-ctx.Done():
		case <-time.After(pauses[len(pauses)-1]):
		}
	}
}

// Ready waits until the API has said something or could not be asked, or for the end of ctx.
func (s *Source) Ready(ctx context.Context) {
	select {
	case <-s.heard:
	case <-ctx.Done():
	}
}

// GetX509SVID implements x509svid.Source. An SVID that has expired is none.
func (s *Source) GetX509SVID() (*x509svid.SVID, error) {
	last := s.last.Load()
	if last.svid == nil {
		return nil, fmt.Errorf("no SVID from %s: %w", s.addr, last.trouble)
	}
	if end := last.svid.Certificates[0].NotAfter; s.now().After(end) {
		return nil, fmt.Errorf("the SVID from %s expired on %s: %w", s.addr, end.UTC().Format(time.RFC3339), cmp.Or(last.trouble, errNotRenewed))
	}
	return last.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (s *Source) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	last := s.last.Load()
	if last.bundles == nil {
		return nil, fmt.Errorf("no authorities from %s: %w", s.addr, last.trouble)
	}
	return last.bundles.GetX509BundleForTrustDomain(domain)
}

var (
	errNotAsked   = errors.New("it was not asked yet")
	errNotRenewed = errors.New("it was not renewed")
)

// A watcher is told of what the API says.
type watcher struct {
	source *Source
	ctx    context.Context // of who runs the source
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher. Authorities count at once,
// as some may be believed no more; an SVID that has expired already takes no other's place.
func (w watcher) OnX509ContextUpdate(said *workloadapi.X509Context) {
	s := w.source
	old := s.last.Load()
	next := &state{svid: said.DefaultSVID(), bundles: said.Bundles}
	if s.now().After(next.svid.Certificates[0].NotAfter) && old.svid != nil {
		next.svid, next.trouble = old.svid, errStale
	}
	s.last.Store(next)
	if next.trouble != nil {
		s.log.Warn("Workload API gave an SVID that has expired; the one before it is kept", "api", s.addr, "spiffe_id", next.svid.ID.String())
	} else {
		leaf := next.svid.Certificates[0]
		s.log.Info("SVID", "spiffe_id", next.svid.ID.String(), "serial", leaf.SerialNumber.Text(16), "not_after", leaf.NotAfter)
	}
	s.tell(next)
}

// tell passes on what counts from now on.
func (s *Source) tell(next *state) {
	s.told(Word{next.svid, next.trouble})
	s.first.Do(func() { close(s.heard) })
}

var errStale = errors.New("the API gave one that has expired")

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher. What is known stays.
func (w watcher) OnX509ContextWatchError(err error) {
	if w.ctx.Err() != nil {
		return // we ended it
	}
	s := w.source
	old := s.last.Load()
	next := &state{svid: old.svid, bundles: old.bundles, trouble: err}
	s.last.Store(next)
	if old.svid == nil {
		s.log.Warn("Workload API gives no SVID; it is tried again, and upstreams that need one are not reached", "api", s.addr, "error", err)
	} else {
		s.log.Warn("Workload API cannot be followed; it is tried again, and the SVID it gave is kept", "api", s.addr, "error", err,
			"not_after", old.svid.Certificates[0].NotAfter)
	}
	s.tell(next)
}

// pauses are how long is waited after one failure and the next, the last one from there on:
// the API is on the same machine, and its agent is back soon when it is updated.
var pauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second}

// patience makes the pauses between tries. It implements workloadapi.BackoffStrategy.
type patience struct{}

// NewBackoff implements workloadapi.BackoffStrategy.
func (patience) NewBackoff() workloadapi.Backoff { return new(pause) }

// A pause counts failures one after another.
type pause int

// Next implements workloadapi.Backoff.
func (p *pause) Next() time.Duration {
	d := pauses[min(int(*p), len(pauses)-1)]
	*p++
	return d
}

// Reset implements workloadapi.Backoff.
func (p *pause) Reset() { *p = 0 }
