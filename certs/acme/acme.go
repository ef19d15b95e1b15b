// Package acme orders certificates for the Hosts that name an authority (RFC 8555), renews
// them in time, and answers what authorities ask to see that names are ours. Replicas that
// share a storage order once and answer for one another. It serves nothing itself.
package acme

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"legate/config"
)

// Options are what a Client is made with. Storage and Log must be given.
type Options struct {
	Storage certmagic.Storage // where accounts, certificates and locks are kept
	Log     *slog.Logger
	Now     func() time.Time // nil for time.Now
}

// A Client keeps certificates ordered. Its methods may be called from many goroutines.
type Client struct {
	opts    Options
	changed chan struct{} // something was ordered
	tasks   sync.WaitGroup
	ctx     context.Context //nolint:containedctx // because it is that of goroutines which outlive whoever starts them
	cancel  context.CancelFunc

	mu     sync.Mutex
	orders map[subject]*order

	issuersMu sync.Mutex
	cache     *certmagic.Cache                    // nil before the first order
	taken     net.Listener                        // see open
	issuers   map[issuerKey]*certmagic.ACMEIssuer // shared by the orders of one account
	strange   chan struct{}                       // see Client.stored
	looks     looks                               // for names that are ordered here
}

// A subject is what one certificate is ordered for.
type subject struct{ authority, name string }

// subjectOf is that of a Host with an authority.
func subjectOf(h *config.Host) subject { return subject{h.ACME.Authority, NameOf(h)} }

// NameOf returns the name that h's certificate is ordered for.
func NameOf(h *config.Host) string {
	name, _, _ := strings.Cut(strings.ToLower(h.Hostname), ":")
	return name
}

// New returns a client that orders nothing yet. Close ends it.
func New(opts Options) *Client {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Client{opts: opts, changed: make(chan struct{}, 1), orders: map[subject]*order{}, issuers: map[issuerKey]*certmagic.ACMEIssuer{}, strange: make(chan struct{}, maxStrange)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// open makes what certmagic needs, with the first order.
func (c *Client) open() {
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return nil, errNoCache },
		Logger:           zapTo(c.opts.Log),
	})
	// certmagic opens a port of its own for challenges unless it finds it taken. Ours are
	// answered on the Listeners, so it gets to see a port on which nobody is served.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.opts.Log.Warn("acme: no port on loopback", "error", err)
		return
	}
	c.taken = ln
	c.tasks.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close() // who asked whether somebody is there knows now
		}
	})
}

var errNoCache = errors.New("certificates are not kept here")

// Close ends what is under way and gives back its locks. Other replicas may go on at once.
func (c *Client) Close() {
	c.cancel()
	c.issuersMu.Lock()
	if c.taken != nil {
		_ = c.taken.Close() // nobody is served there
	}
	c.issuersMu.Unlock()
	c.tasks.Wait()
	if c.cache != nil {
		c.cache.Stop()
	}
}

// Watch implements config.Source: it has nothing to say but that another certificate is
// there, for which the World has to be looked at again.
func (c *Client) Watch(ctx context.Context, yield func([]*config.Object)) error {
	for n := uint64(1); ; n++ {
		o := &config.Object{}
		binary.BigEndian.PutUint64(o.Digest[:], n)
		yield([]*config.Object{o})
		select {
		case <-c.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Tell has the World looked at again.
func (c *Client) Tell() {
	select {
	case c.changed <- struct{}{}:
	default: // it will be anyway
	}
}

// loadWait bounds how long a World waits for a storage.
const loadWait = 2 * time.Second

// Certificate returns the certificate that was ordered for h, which has an authority, as a
// Secret; nil as long as there is none. It asks the storage about a name that Want has not
// heard of yet.
func (c *Client) Certificate(h *config.Host) *config.Secret {
	if h.ACME == nil {
		return nil
	}
	held := c.orderOf(subjectOf(h)).first()
	if held == nil {
		return nil
	}
	return &config.Secret{
		Meta: config.Meta{Kind: "Secret", Name: h.TLSSecret.Name, Namespace: cmp.Or(h.TLSSecret.Namespace, h.Namespace)},
		Type: "kubernetes.io/tls",
		Data: map[string][]byte{"tls.crt": held.certPEM, "tls.key": held.keyPEM},
	}
}

// orderOf returns the order for s. One that is new does not run before it is wanted.
func (c *Client) orderOf(s subject) *order {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.orders[s]
	if o == nil {
		o = newOrder(c, s, account{})
		c.orders[s] = o
	}
	return o
}

// Want has certificates ordered for the Hosts of w that name an authority, and for no others
// any more.
func (c *Client) Want(w *config.World) {
	wanted := map[subject]account{}
	own := map[subject]*x509.Certificate{}
	for i := range w.Hosts {
		h := &w.Hosts[i]
		if h.ACME == nil {
			continue
		}
		s := subjectOf(h)
		if _, known := wanted[s]; !known { // Hosts of one name order once, as the first of them says
			wanted[s] = accountOf(w, h)
		}
		if leaf := ownOf(w, h); leaf != nil && (own[s] == nil || renewalOf(leaf).After(renewalOf(own[s]))) {
			own[s] = leaf
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, o := range c.orders {
		if _, ok := wanted[s]; !ok {
			o.cancel()
			delete(c.orders, s)
		}
	}
	if c.ctx.Err() != nil {
		return
	}
	for s, a := range wanted {
		o := c.orders[s]
		if o == nil || o.account != a {
			o = newOrder(c, s, a).after(o)
			c.orders[s] = o
		}
		o.start()
		o.serves(own[s])
	}
}

// Recheck asks the authorities again whether certificates should be renewed earlier than
// planned, as those that were revoked.
func (c *Client) Recheck() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.orders {
		o.recheck()
	}
}

// A State says how far the certificate of a name has come, in the words of a Host's status.
type State struct {
	Phase   string    // Pending, Ready or Error
	Done    string    // the last phase completed
	Next    string    // the phase that is under way or has failed; "" for none
	Error   string    // why the last attempt failed; "" for none
	ErrorAt time.Time // when
	Retry   time.Time // before which it is not tried again
	Renew   time.Time // when the certificate is to be renewed
}

// State returns how far h's certificate has come; false where none is ordered.
func (c *Client) State(h *config.Host) (State, bool) {
	if h.ACME == nil {
		return State{}, false
	}
	c.mu.Lock()
	o := c.orders[subjectOf(h)]
	c.mu.Unlock()
	if o == nil {
		return State{Phase: "Pending", Done: phaseDefaults, Next: phaseKey}, true
	}
	return o.state(), true
}
