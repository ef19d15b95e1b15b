package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
)

// The phases of an order, in the words of a Host's status.
const (
	phaseDefaults   = "DefaultsFilled"
	phaseKey        = "ACMEUserPrivateKeyCreated"
	phaseRegistered = "ACMEUserRegistered"
	phaseChallenge  = "ACMECertificateChallenge"
)

// An order keeps one certificate there: it is made for a name, and renewed.
type order struct {
	client  *Client
	subject subject
	account account
	issuer  *certmagic.ACMEIssuer
	config  *certmagic.Config
	ctx     context.Context //nolint:containedctx // because it is that of the goroutine which run is
	cancel  context.CancelFunc
	wake    chan struct{}

	mu      sync.Mutex
	runs    bool
	cert    *held
	broken  broken
	own     *x509.Certificate // that the Host's own Secret has; nil for none
	status  State
	hint    hint
	giveUp  context.CancelFunc // of the attempt under way
	failure error              // of it, as certmagic told
}

// A held certificate is one that is in the storage.
type held struct {
	certPEM, keyPEM []byte
	leaf            *x509.Certificate
}

// A broken certificate is one in the storage that its key there does not belong to.
type broken struct {
	cert  []byte // nil for none
	since time.Time
}

// A hint is what the authority says about when to renew (RFC 9773).
type hint struct {
	of         *held
	start, end time.Time
	at         time.Time // chosen within; zero for no hint
	next       time.Time // not to be asked before
}

func newOrder(c *Client, s subject, a account) *order {
	o := &order{client: c, subject: s, account: a, wake: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancel(c.ctx)
	o.issuer = c.issuer(s.authority, a)
	o.config = c.config(keeping{c.opts.Storage, o.lost}, o.event, o.issuer)
	o.status = State{Phase: "Pending", Done: phaseDefaults, Next: phaseKey}
	return o
}

// after has o go on where old, nil for none, is not wanted any more: what serves does so meanwhile.
func (o *order) after(old *order) *order {
	if old != nil {
		old.cancel()
		o.cert = old.held()
	}
	return o
}

// start has the certificate kept there, from the first time on that it is called.
func (o *order) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.runs {
		o.runs = true
		o.client.tasks.Go(o.run)
	}
}

// first returns the certificate there is, which is looked for if nothing else looks.
func (o *order) first() *held {
	o.mu.Lock()
	look := !o.runs && o.cert == nil
	o.mu.Unlock()
	if look {
		ctx, cancel := context.WithTimeout(o.ctx, loadWait)
		defer cancel()
		_ = o.load(ctx) // if it failed, run will say why
	}
	return o.held()
}

func (o *order) now() time.Time { return o.client.opts.Now() }

func (o *order) held() *held {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cert
}

func (o *order) state() State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.status
}

// serves tells which certificate the Host's own Secret has, nil for none.
func (o *order) serves(own *x509.Certificate) {
	o.mu.Lock()
	changed := !o.own.Equal(own)
	o.own = own
	o.mu.Unlock()
	if changed {
		o.rouse()
	}
}

// recheck asks the authority anew.
func (o *order) recheck() {
	o.mu.Lock()
	o.hint.next = time.Time{}
	o.mu.Unlock()
	o.rouse()
}

func (o *order) rouse() {
	select {
	case o.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run keeps the certificate there until the order is cancelled.
func (o *order) run() {
	defer o.cancel()
	for {
		timer := time.NewTimer(o.step())
		select {
		case <-timer.C:
		case <-o.wake:
		case <-o.ctx.Done():
		}
		timer.Stop()
		if o.ctx.Err() != nil {
			return
		}
	}
}

// storageWait is how long a storage that fails is left alone.
const storageWait = 30 * time.Second

// step does what is to be done now and returns how long nothing is.
func (o *order) step() time.Duration {
	if err := o.load(o.ctx); err != nil {
		o.failed(err, o.now().Add(storageWait))
		return storageWait
	}
	o.ask()
	now := o.now()
	due := o.due()
	if now.Before(due) {
		o.ready(due)
		return min(due.Sub(now), o.patience())
	}
	if o.account.fault != "" {
		o.failed(errors.New(o.account.fault), time.Time{})
		return time.Hour // another Secret makes another order
	}
	if wait := o.unreadable(now); wait > 0 {
		return wait
	}
	err := o.client.early(o.ctx, o.subject) // and nobody is kept from the lock meanwhile
	if err == nil {
		err = o.order()
	}
	var wait *waitError
	switch {
	case o.ctx.Err() != nil:
		return 0
	case err == nil, errors.Is(err, errRenewed):
		return 0
	case errors.As(err, &wait):
		o.failed(wait, wait.until)
		return min(wait.until.Sub(now), o.patience())
	}
	retry := o.client.lastAttempt(o.ctx, o.subject)
	if !retry.After(now) {
		retry = now.Add(backoff(1))
	}
	o.failed(err, retry)
	return min(retry.Sub(now), o.patience())
}

// patience is how long a certificate that another replica renews may go unnoticed: a small
// part of its life. The clock may be set meanwhile, too.
func (o *order) patience() time.Duration {
	c := o.held()
	if c == nil {
		return time.Minute
	}
	return min(max(c.leaf.NotAfter.Sub(c.leaf.NotBefore)/20, time.Second), time.Hour)
}

// renewalOf is when a certificate is to be renewed whose authority says nothing about it:
// when two thirds of its life are over.
func renewalOf(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
}

// due returns when the best certificate there is has to be renewed, zero where there is none.
func (o *order) due() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	var due time.Time
	if o.cert != nil {
		due = renewalOf(o.cert.leaf)
		if at := o.hint.at; o.hint.of == o.cert && !at.IsZero() {
			due = at
		}
	}
	if own := o.ownDue(); own.After(due) {
		return own
	}
	return due
}

// ownDue returns when the certificate of the Host's own Secret is to be renewed, zero for none.
// What was ordered and written into it has to be renewed when the authority says.
func (o *order) ownDue() time.Time {
	if o.own == nil || o.cert != nil && o.own.Equal(o.cert.leaf) {
		return time.Time{}
	}
	return renewalOf(o.own)
}

// load takes what the storage has, and tells if it is news to who does not wait for it.
func (o *order) load(ctx context.Context) error {
	key := o.issuer.IssuerKey()
	cert, err := o.client.opts.Storage.Load(ctx, certmagic.StorageKeys.SiteCert(key, o.subject.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	if c := o.held(); c != nil && bytes.Equal(c.certPEM, cert) {
		return nil
	}
	private, err := o.client.opts.Storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(key, o.subject.name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("load key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, private)
	o.mu.Lock()
	if err != nil { // another replica may be about to write the other; the certificate that serves goes on
		if !bytes.Equal(o.broken.cert, cert) {
			o.broken = broken{cert, o.now()}
		}
		o.mu.Unlock()
		return nil //nolint:nilerr // because it is no fault of the storage, see unreadable
	}
	o.cert, o.broken = &held{cert, private, pair.Leaf}, broken{}
	runs := o.runs
	o.mu.Unlock()
	if runs {
		o.client.Tell()
	}
	return nil
}

// brokenWait is how long a certificate may be there without its key until whoever was writing
// them is taken to have died.
const brokenWait = 10 * time.Second

// unreadable returns how long is to be waited for who writes a certificate. One that nobody
// completes is removed: certmagic would take it for one that is there.
func (o *order) unreadable(now time.Time) time.Duration {
	o.mu.Lock()
	b := o.broken
	o.mu.Unlock()
	if b.cert == nil {
		return 0
	}
	if waited := now.Sub(b.since); waited >= 0 && waited < brokenWait {
		return brokenWait - waited
	}
	o.client.opts.Log.Warn("certificate in the storage does not belong to its key; another is ordered", "name", o.subject.name, "authority", o.subject.authority)
	if err := o.client.opts.Storage.Delete(o.ctx, certmagic.StorageKeys.SiteCert(o.issuer.IssuerKey(), o.subject.name)); err != nil {
		o.failed(fmt.Errorf("remove certificate without its key: %w", err), now.Add(storageWait))
		return storageWait
	}
	o.mu.Lock()
	o.broken = broken{}
	o.mu.Unlock()
	return 0
}

// ask asks the authority when the certificate should be renewed. That it does not know is no
// fault: many say nothing about it.
func (o *order) ask() {
	o.mu.Lock()
	cert, h, own := o.cert, o.hint, o.ownDue()
	o.mu.Unlock()
	now := o.now()
	rests := now.Before(h.next) && h.next.Sub(now) <= askSeldom // a clock may have been set back
	if cert == nil || own.After(renewalOf(cert.leaf)) || h.of == cert && rests {
		return
	}
	ctx, cancel := context.WithTimeout(o.ctx, askWait)
	defer cancel()
	info, err := o.issuer.GetRenewalInfo(ctx, certmagic.Certificate{Certificate: tls.Certificate{Leaf: cert.leaf}})
	if h.of != cert {
		h = hint{of: cert}
	}
	h.next = now.Add(askEvery)
	if err == nil {
		if info.RetryAfter != nil {
			h.next = now.Add(min(max(info.RetryAfter.Sub(now), time.Minute), askSeldom))
		}
		h.choose(info.SuggestedWindow.Start, info.SuggestedWindow.End, info.SelectedTime, now)
	} else {
		o.client.opts.Log.Debug("authority says nothing about renewal", "authority", o.subject.authority, "name", o.subject.name, "error", err)
	}
	o.mu.Lock()
	o.hint = h
	o.mu.Unlock()
}

// choose takes a time within a window, unless it has for the same one before. A window that is
// over asks for another certificate now, as after a revocation, though not again and again; one
// that is not within the certificate's life, or is most of it, says nothing.
func (h *hint) choose(start, end, at, now time.Time) {
	leaf := h.of.leaf
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case h.start.Equal(start) && h.end.Equal(end):
	case !end.After(now):
		h.at = leaf.NotBefore.Add(min(life/20, 10*time.Minute))
	case start.Before(leaf.NotBefore) || end.After(leaf.NotAfter) || end.Sub(start) > life/2:
		h.at = time.Time{}
	default:
		h.at = at
	}
	h.start, h.end = start, end
}

const (
	askWait   = 10 * time.Second
	askEvery  = 6 * time.Hour
	askSeldom = 24 * time.Hour
)

// order has certmagic order or renew, once. Only one replica does at a time, and whoever
// waited sees that it is done.
func (o *order) order() error {
	o.begin()
	if err := o.account.seed(o.ctx, o.client.opts.Storage, o.issuer.IssuerKey()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(o.ctx)
	defer cancel()
	o.mu.Lock()
	o.giveUp, o.failure = cancel, nil
	renews := o.cert != nil
	o.mu.Unlock()
	var err error
	if renews {
		err = o.config.RenewCertAsync(ctx, o.subject.name, true)
	} else {
		err = o.config.ObtainCertAsync(ctx, o.subject.name)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failure != nil {
		return o.failure
	}
	return err
}

// errRenewed ends an attempt to renew what another replica has renewed meanwhile.
var errRenewed = errors.New("renewed by another replica")

// lost ends an attempt of which the storage does not take something, and says why.
func (o *order) lost(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failure = err
	if o.giveUp != nil {
		o.giveUp()
	}
}

// event is what certmagic tells while it holds the lock of the name.
func (o *order) event(name string, data map[string]any) error {
	switch name {
	case "cert_obtaining":
		if err := o.mayOrder(); err != nil {
			return certmagic.ErrNoRetry{Err: err}
		}
	case "cert_failed":
		err, _ := data["error"].(error)
		var problem acme.Problem
		limited := errors.As(err, &problem) && problem.Type == acme.ProblemTypeRateLimited
		o.client.attemptFailed(o.ctx, o.subject, err, limited)
		o.mu.Lock()
		o.failure = err
		o.giveUp() // when it is tried again is for us to say
		o.mu.Unlock()
	case "cert_obtained":
		if err := o.judge(); err != nil {
			o.client.attemptFailed(o.ctx, o.subject, err, false)
			o.mu.Lock()
			o.failure = err
			o.mu.Unlock()
		} else {
			o.client.attemptSucceeded(o.ctx, o.subject)
		}
		o.client.opts.Log.Info("certificate ordered", "name", o.subject.name, "authority", o.subject.authority, "renewal", data["renewal"])
	}
	return nil
}

// judge reports why a certificate that has just been ordered is to be renewed already. The next
// would be no better, so it counts as an attempt that failed: nobody is asked again and again.
func (o *order) judge() error {
	if err := o.load(o.ctx); err != nil {
		return err
	}
	now, cert := o.now(), o.held()
	if cert == nil || now.Before(renewalOf(cert.leaf)) {
		return nil
	}
	return fmt.Errorf("the clock is wrong here or at the authority: at %s it made a certificate that is to be renewed at %s",
		now.UTC().Format(time.RFC3339), renewalOf(cert.leaf).UTC().Format(time.RFC3339))
}

// mayOrder judges whether the authority is to be asked now.
func (o *order) mayOrder() error {
	before := o.held()
	if err := o.load(o.ctx); err != nil {
		return err
	}
	if o.held() != before {
		return errRenewed
	}
	if err := o.client.attempt(o.ctx, o.subject); err != nil {
		return err
	}
	o.mu.Lock()
	o.status.Done, o.status.Next = phaseRegistered, phaseChallenge
	o.mu.Unlock()
	return nil
}

// begin notes that an attempt is under way.
func (o *order) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status.Retry = time.Time{}
	if o.cert == nil && o.own == nil {
		o.status.Phase = "Pending"
	}
}

// ready notes that nothing is to be done until due.
func (o *order) ready(due time.Time) {
	o.mu.Lock()
	before := o.status
	o.status = State{Phase: "Ready", Done: phaseChallenge, Next: "", Renew: due}
	o.mu.Unlock()
	if before.Error != "" {
		o.client.Tell()
	}
}

// failed notes why nothing was ordered, and tells if that is news.
func (o *order) failed(err error, retry time.Time) {
	o.mu.Lock()
	before := o.status.Error
	if before != err.Error() || !o.status.Retry.Equal(retry) { // else it is the one that is told of already
		o.status.ErrorAt = o.now()
	}
	o.status.Phase, o.status.Error, o.status.Retry = "Error", err.Error(), retry
	o.mu.Unlock()
	if before != err.Error() {
		o.client.opts.Log.Warn("certificate not ordered", "name", o.subject.name, "authority", o.subject.authority, "error", err, "retry", retry)
		o.client.Tell()
	}
}
