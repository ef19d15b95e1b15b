package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"time"

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

// write writes what Secrets of w lack, as long as this replica leads.
func (b *handback) write(ctx context.Context, w *config.World) {
	for i := range w.Hosts {
		h := &w.Hosts[i]
		if ctx.Err() != nil || !b.srv.teller.Leads() {
			return
		}
		if h.ACME == nil || h.File != "" {
			continue
		}
		ordered := b.srv.acme.Certificate(h)
		name := kube.Name{Namespace: cmp.Or(h.TLSSecret.Namespace, h.Namespace), Name: h.TLSSecret.Name}
		if ordered == nil || time.Now().Before(b.retry[name]) || b.srv.hasAsGood(w, name, ordered.Data) {
			continue
		}
		err := b.srv.api.EditTLSSecret(ctx, name, func(data map[string][]byte) (map[string][]byte, error) {
			if asGood(data, ordered.Data) {
				return nil, nil //nolint:nilnil // because nil says that nothing changes
			}
			if data == nil {
				data = map[string][]byte{}
			}
			data["tls.crt"], data["tls.key"] = ordered.Data["tls.crt"], ordered.Data["tls.key"]
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

// hasAsGood reports whether a Secret of w has what was ordered, or what lasts longer.
func (srv *server) hasAsGood(w *config.World, name kube.Name, ordered map[string][]byte) bool {
	for i := range w.Secrets {
		if s := &w.Secrets[i]; s.Is(name.Namespace, name.Name) {
			return asGood(s.Data, ordered)
		}
	}
	return false
}

// asGood reports whether own has what ordered has, or what lasts longer.
func asGood(own, ordered map[string][]byte) bool {
	if bytes.Equal(own["tls.crt"], ordered["tls.crt"]) && bytes.Equal(own["tls.key"], ordered["tls.key"]) {
		return true
	}
	o, err := tls.X509KeyPair(own["tls.crt"], own["tls.key"])
	if err != nil {
		return false
	}
	n, err := tls.X509KeyPair(ordered["tls.crt"], ordered["tls.key"])
	return err != nil || o.Leaf.NotAfter.After(n.Leaf.NotAfter)
}
