package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

// StapleOptions are what Staples are made with. Log must be given.
type StapleOptions struct {
	Log    *slog.Logger
	Client *http.Client     // asks responders; nil for one of its own
	Now    func() time.Time // nil for time.Now

	// Changed is called when a certificate that clients will refuse for what its authority says,
	// or does not say, becomes one that they take, or the other way round; nil for nobody.
	Changed func()
}

// Staples keeps what authorities say about certificates that name somebody to ask (RFC 6960),
// so that handshakes show it (RFC 6066 §8). It asks in the background, well before an answer
// ends; handshakes wait for nothing. Its methods may be called by several goroutines at once.
type Staples struct {
	opts   StapleOptions
	asking chan struct{}   // how many are asked at once
	ctx    context.Context //nolint:containedctx // because it is that of goroutines which outlive whoever starts them
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	kept   map[stapleKey]*Staple
	chains map[stapleKey]*Staple // by the digest of a whole chain, whose signatures are good
}

// A stapleKey is the digest of certificates: of one and its issuer's, unless it says otherwise.
type stapleKey [sha256.Size]byte

// maxAsking is how many responders are asked at the same time.
const maxAsking = 8

// NewStaples returns Staples that ask nobody yet. Close ends them.
func NewStaples(opts StapleOptions) *Staples {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Changed == nil {
		opts.Changed = func() {}
	}
	if opts.Client == nil {
		opts.Client = &http.Client{Timeout: 10 * time.Second}
	}
	s := &Staples{opts: opts, asking: make(chan struct{}, maxAsking), kept: map[stapleKey]*Staple{}, chains: map[stapleKey]*Staple{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends what is under way.
func (s *Staples) Close() {
	s.cancel()
	s.tasks.Wait()
}

// of returns the staple of c, nil where nobody is to be asked about it. Nobody is yet.
func (s *Staples) of(c *tls.Certificate) *Staple {
	if s == nil || len(c.Leaf.OCSPServer) == 0 {
		return nil
	}
	chain := stapleKey(sha256.Sum256(slices.Concat(c.Certificate...)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.chains[chain]; st != nil {
		return st
	}
	issuer := issuerOf(c)
	if issuer == nil {
		return nil
	}
	key := stapleKey(sha256.Sum256(slices.Concat(c.Leaf.Raw, issuer.Raw)))
	st := s.kept[key]
	if st == nil {
		st = &Staple{of: s, key: key, leaf: c.Leaf, issuer: issuer, Must: mustStaple(c.Leaf)}
		s.kept[key] = st
	}
	s.chains[chain] = st
	return st
}

// issuerOf finds the certificate that signed c's among those that are shown with it, nil for
// none.
func issuerOf(c *tls.Certificate) *x509.Certificate {
	for _, der := range c.Certificate[1:] {
		issuer, err := x509.ParseCertificate(der)
		if err == nil && bytes.Equal(issuer.RawSubject, c.Leaf.RawIssuer) && c.Leaf.CheckSignatureFrom(issuer) == nil {
			return issuer
		}
	}
	return nil
}

// tlsFeature is the extension that says what servers must show (RFC 7633); 5 stands for an
// answer about the certificate.
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// mustStaple reports whether clients refuse leaf where no answer about it is shown.
func mustStaple(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		var features []int
		if !e.Id.Equal(tlsFeature) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, 5) {
			return true
		}
	}
	return false
}

// Want has answers kept for the certificates of b, and for no others any more.
func (s *Staples) Want(b *Built) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[stapleKey]bool{}
	for i := range b.Certificates {
		if st := b.Certificates[i].Staple; st != nil {
			wanted[st.key] = true
		}
	}
	for key, st := range s.kept {
		if wanted[key] {
			continue
		}
		if st.stop != nil {
			st.stop()
			st.shown.Store(nil) // nobody sees to it that the answer ends
		}
		delete(s.kept, key)
	}
	maps.DeleteFunc(s.chains, func(_ stapleKey, st *Staple) bool { return !wanted[st.key] })
	for key := range wanted {
		st := s.kept[key]
		if st == nil || st.stop != nil || s.ctx.Err() != nil {
			continue
		}
		var ctx context.Context
		ctx, st.stop = context.WithCancel(s.ctx)
		s.tasks.Go(func() { st.run(ctx) })
	}
}

// A Staple is what an authority says about one certificate.
type Staple struct {
	Must bool // clients refuse the certificate without it

	of           *Staples
	key          stapleKey
	leaf, issuer *x509.Certificate
	stop         context.CancelFunc     // nil before anybody is asked; guarded by Staples.mu
	shown        atomic.Pointer[[]byte] // nil for no answer

	failures int // one after the other; of whoever runs it

	mu    sync.Mutex
	state StapleState
}

// A StapleState says how it stands with a Staple.
type StapleState struct {
	Status  string    // good, revoked or unknown; "" as long as there is no answer
	Made    time.Time // when the answer was
	Ends    time.Time // until when it is shown
	Refresh time.Time // when the authority is asked again
	Error   string    // why the last time brought nothing; "" for none
}

// State returns how it stands with s.
func (s *Staple) State() StapleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// beside returns tls.Config's GetCertificate, which shows c with the answer there is. Chains may
// differ that begin with the same certificate.
func (s *Staple) beside(c *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		answer := s.shown.Load()
		if answer == nil {
			return c, nil
		}
		shown := *c
		shown.OCSPStaple = *answer
		return &shown, nil
	}
}

// run asks again and again until ctx ends.
func (s *Staple) run(ctx context.Context) {
	for {
		timer := time.NewTimer(s.step(ctx))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// An answer that says nothing about its end is shown for a day. One is asked for again in the
// middle of what is left of its life, as responders may give the same one until its end, and
// where that brings nothing after longer and longer waits.
const (
	answerLife = 24 * time.Hour
	answerSkew = 5 * time.Minute // by which clocks may differ
	retryFirst = 30 * time.Second
	retryLast  = time.Hour
	askSeldom  = 7 * 24 * time.Hour
	maxAnswer  = 64 << 10
)

// step does what is to be done now and returns how long nothing is. The clock may be set
// meanwhile, so it is never more than an hour.
func (s *Staple) step(ctx context.Context) time.Duration {
	now := s.of.opts.Now()
	if state := s.State(); !state.Ends.IsZero() && !now.Before(state.Ends) {
		s.note(func(state *StapleState) {
			*state = StapleState{Refresh: state.Refresh, Error: cmp.Or(state.Error, "the last answer has ended")}
		})
	}
	if state := s.State(); !now.Before(state.Refresh) || state.Refresh.Sub(now) > askSeldom {
		s.ask(ctx)
	}
	state := s.State()
	next := state.Refresh
	if !state.Ends.IsZero() && state.Ends.Before(next) {
		next = state.Ends
	}
	return min(max(next.Sub(s.of.opts.Now()), time.Second), time.Hour)
}

// ask asks the responder and shows what it says if that is good.
func (s *Staple) ask(ctx context.Context) {
	select {
	case s.of.asking <- struct{}{}:
		defer func() { <-s.of.asking }()
	case <-ctx.Done():
		return
	}
	answer, err := s.fetch(ctx)
	now := s.of.opts.Now()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		retry := now.Add(min(retryFirst<<min(s.failures, 10), retryLast))
		s.failures++
		s.of.opts.Log.Warn("no answer about a certificate", "names", namesOf(s.leaf), "responder", s.leaf.OCSPServer[0], "error", err, "retry", retry)
		s.note(func(state *StapleState) { state.Error, state.Refresh = err.Error(), retry }) // what is shown stays as long as it is good for
	default:
		s.failures = 0
		s.show(answer, now)
	}
}

// show shows an answer if it is good, and none if it is not.
func (s *Staple) show(answer *ocsp.Response, now time.Time) {
	next := StapleState{Status: statuses[answer.Status], Made: answer.ThisUpdate, Ends: answer.NextUpdate}
	if next.Ends.IsZero() {
		next.Ends = now.Add(answerLife)
	}
	next.Refresh = now.Add(next.Ends.Sub(now) / 2)
	switch earliest, latest := now.Add(retryFirst), now.Add(askSeldom); {
	case next.Refresh.Before(earliest):
		next.Refresh = earliest
	case next.Refresh.After(latest):
		next.Refresh = latest
	}
	if answer.Status == ocsp.Good {
		s.shown.Store(&answer.Raw)
	} else {
		next.Ends = time.Time{}
		s.of.opts.Log.Warn("an authority does not say that a certificate is good", "says", next.Status, "names", namesOf(s.leaf), "responder", s.leaf.OCSPServer[0])
	}
	s.note(func(state *StapleState) { *state = next })
}

// note changes the state, shows no answer where that says of none, and tells if clients come to
// refuse the certificate or to take it again.
func (s *Staple) note(change func(*StapleState)) {
	s.mu.Lock()
	before := s.refused()
	change(&s.state)
	after, none := s.refused(), s.state.Ends.IsZero()
	s.mu.Unlock()
	if none {
		s.shown.Store(nil)
	}
	if (before == "") != (after == "") {
		s.of.opts.Changed()
	}
}

// Refused says why clients refuse the certificate, "" where they do not.
func (s *Staple) Refused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused()
}

func (s *Staple) refused() string {
	switch {
	case s.state.Status == "revoked":
		return "is revoked, as its authority says"
	case s.Must && s.state.Ends.IsZero() && s.state.Status != "":
		return "must be shown with its authority's answer, which is that it is " + s.state.Status
	case s.Must && s.state.Ends.IsZero() && s.state.Error != "":
		return "must be shown with its authority's answer, and there is none: " + s.state.Error
	}
	return ""
}

var statuses = map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}

var errResponder = errors.New("it is signed by somebody who may not")

// fetch asks the responder. Only an answer that clients would take is returned.
func (s *Staple) fetch(ctx context.Context) (*ocsp.Response, error) {
	question, err := ocsp.CreateRequest(s.leaf, s.issuer, nil)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.leaf.OCSPServer[0], bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := s.of.opts.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %s", resp.Status)
	case len(text) > maxAnswer:
		return nil, errors.New("its answer is too long")
	}
	answer, err := ocsp.ParseResponseForCert(text, s.leaf, s.issuer)
	if err != nil {
		return nil, err
	}
	now := s.of.opts.Now()
	switch signer := answer.Certificate; {
	case signer != nil && !bytes.Equal(signer.Raw, s.issuer.Raw) && (!slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) || now.After(signer.NotAfter)):
		return nil, errResponder // RFC 6960 §4.2.2.2
	case answer.ThisUpdate.After(now.Add(answerSkew)):
		return nil, errors.New("its answer is of " + answer.ThisUpdate.UTC().Format(time.RFC3339) + ", which is to come")
	case !answer.NextUpdate.IsZero() && !answer.NextUpdate.After(now):
		return nil, errors.New("its answer has ended at " + answer.NextUpdate.UTC().Format(time.RFC3339))
	}
	return answer, nil
}
