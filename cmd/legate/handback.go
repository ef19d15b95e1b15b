package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"

	"legate/certs/acme"
	"legate/config"
	"legate/config/kube"
)

// A handback writes what was ordered into the Secrets that Hosts of the cluster name, as
// Ambassador does, so that who else serves them has it: Ambassador itself, if one goes back.
// Of all replicas the one that leads does.
type handback struct {
	srv   *server
	wake  chan struct{}
	retry map[kube.Name]time.Time // where it failed
	told  map[kube.Name]string    // why
}

// handbackEvery is how often it is looked at what is missing, and handbackRetry how long a
// Secret that could not be written is left alone.
const (
	handbackEvery = 10 * time.Second
	handbackRetry = time.Minute
)

func newHandback(srv *server) *handback {
	return &handback{srv: srv, wake: make(chan struct{}, 1), retry: map[kube.Name]time.Time{}, told: map[kube.Name]string{}}
}

// look has it looked at what is missing, soon.
func (b *handback) look() {
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run writes until ctx is done.
func (b *handback) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-time.After(handbackEvery):
		}
		if w := b.srv.world.Load(); w != nil {
			b.write(ctx, w)
		}
	}
}

// An ordering is a certificate that was ordered for a Host, as it may stand in the Host's Secret.
type ordering struct {
	hostname string
	from     string // the authority's directory
	pair     map[string][]byte
}

// orderings returns what was ordered for Hosts of the cluster in w, in their order, by the
// Secrets that they name. Hosts may share one.
func (b *handback) orderings(w *config.World) (names []kube.Name, of map[kube.Name][]ordering) {
	of = map[kube.Name][]ordering{}
	for i := range w.Hosts {
		h := &w.Hosts[i]
		if h.ACME == nil || h.File != "" {
			continue
		}
		ordered := b.srv.acme.Certificate(h)
		if ordered == nil {
			continue
		}
		name := kube.Name{Namespace: cmp.Or(h.TLSSecret.Namespace, h.Namespace), Name: h.TLSSecret.Name}
		if of[name] == nil {
			names = append(names, name)
		}
		of[name] = append(of[name], ordering{acme.NameOf(h), h.ACME.Authority, ordered.Data})
	}
	return names, of
}

// write writes what Secrets of w lack, as long as this replica leads. Where Hosts share one the
// first of them is who has it.
func (b *handback) write(ctx context.Context, w *config.World) {
	names, of := b.orderings(w)
	for _, name := range names {
		if ctx.Err() != nil || !b.srv.teller.Leads() {
			return
		}
		if time.Now().Before(b.retry[name]) || hasAsGood(w, name, of[name]) {
			continue
		}
		err := b.srv.api.EditTLSSecret(ctx, name, func(data map[string][]byte) (map[string][]byte, error) {
			if asGood(data, of[name]) {
				return nil, nil //nolint:nilnil // because nil says that nothing changes
			}
			if data == nil {
				data = map[string][]byte{}
			}
			first := of[name][0]
			data["tls.crt"], data["tls.key"] = first.pair["tls.crt"], first.pair["tls.key"]
			config.MarkOrdered(data, first.from)
			return data, nil
		})
		b.note(name, err)
	}
}

// note tells of what is news.
func (b *handback) note(name kube.Name, err error) {
	b.retry[name] = time.Now().Add(handbackRetry)
	switch {
	case err == nil:
		b.retry[name] = time.Now().Add(handbackEvery) // until then the change has come back
		delete(b.told, name)
		b.srv.log.Info("certificate written into its Secret", "namespace", name.Namespace, "secret", name.Name)
	case b.told[name] != err.Error():
		b.told[name] = err.Error()
		b.srv.log.Warn("certificate not written into its Secret; it serves all the same", "namespace", name.Namespace, "secret", name.Name, "error", err)
	}
}

// hasAsGood reports whether a Secret of w has what was ordered, or what is as good.
func hasAsGood(w *config.World, name kube.Name, list []ordering) bool {
	for i := range w.Secrets {
		if s := &w.Secrets[i]; s.Is(name.Namespace, name.Name) {
			return asGood(s.Data, list)
		}
	}
	return false
}

// asGood reports whether a Secret's own entries are as good as those of one of list.
func asGood(own map[string][]byte, list []ordering) bool {
	o, err := tls.X509KeyPair(own["tls.crt"], own["tls.key"])
	return err == nil && slices.ContainsFunc(list, func(want ordering) bool { return want.met(own, o.Leaf) })
}

// met reports whether own has what o has, or what is for the same name and lasts longer, unless
// that was ordered too, from another authority: the Host does not want it of that one any more.
func (o *ordering) met(own map[string][]byte, leaf *x509.Certificate) bool {
	from := config.OrderedFrom(own)
	if bytes.Equal(own["tls.crt"], o.pair["tls.crt"]) && bytes.Equal(own["tls.key"], o.pair["tls.key"]) {
		return from == o.from
	}
	if from != "" && from != o.from || leaf.VerifyHostname(o.hostname) != nil {
		return false
	}
	n, err := tls.X509KeyPair(o.pair["tls.crt"], o.pair["tls.key"])
	return err != nil || leaf.NotAfter.After(n.Leaf.NotAfter)
}
