package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"legate/authn"
	"legate/certs"
	"legate/certs/acme"
	"legate/config"
	"legate/config/kube"
	"legate/folder"
	"legate/routes"
)

// kubernetes returns the API server as a source.
func (p *Program) kubernetes(opts config.Options, log *slog.Logger) (*kube.Source, error) {
	kube.LogTo(log)
	return kube.New(p.getenv("KUBECONFIG"), kube.Options{
		Select:           opts,
		Decode:           p.decodeOptions(opts),
		LabelSelector:    p.getenv("AMBASSADOR_LABEL_SELECTOR"),
		FieldSelector:    p.getenv("AMBASSADOR_FIELD_SELECTOR"),
		DisableEndpoints: upstreamOptions(opts, p.getenv).DisableEndpoints,
		Secrets:          []string{certs.FallbackSecret},
		Log:              log,
	})
}

// cluster returns the API server as far as ServiceAccounts go: the one that is watched, or
// that KUBECONFIG or the pod around the gateway leads to; nil for none.
func (p *Program) cluster(watched bool, log *slog.Logger) authn.Cluster {
	kubeconfig := p.getenv("KUBECONFIG")
	if !watched && kubeconfig == "" && p.getenv("KUBERNETES_SERVICE_HOST") == "" {
		return nil
	}
	asker, err := kube.NewAsker(kubeconfig)
	if err != nil {
		log.Warn("no API server can be asked about ServiceAccounts", "error", err)
		return nil
	}
	return asker
}

// watchCluster gives srv the API server, and who tells it what becomes of its objects.
func (p *Program) watchCluster(srv *server) (err error) {
	if srv.api, err = p.kubernetes(srv.settings.config, srv.log); err != nil {
		return err
	}
	srv.metrics.WatchKubernetes(srv.api.Up)
	if srv.settings.flags.status {
		srv.teller, srv.handback = p.teller(srv, srv.api), newHandback(srv)
	}
	return nil
}

// teller returns who writes into the status of api's objects what becomes of them.
func (p *Program) teller(srv *server, api *kube.Source) *kube.Teller {
	name := "legate"
	if id := srv.settings.config.AmbassadorID; id != "" && id != config.DefaultID {
		name += "-" + strings.ToLower(strings.ReplaceAll(id, "_", "-"))
	}
	host, err := os.Hostname()
	if err != nil {
		host = "legate"
	}
	states := strings.EqualFold(p.getenv("AMBASSADOR_UPDATE_MAPPING_STATUS"), "true")
	return api.Teller(kube.TellOptions{
		Identity: cmp.Or(p.getenv("POD_NAME"), host) + "_" + rand.Text()[:8], Lease: name, States: states, Outcome: srv.outcome,
	})
}

// outcome says how it stands with what serves now.
func (srv *server) outcome() kube.Outcome {
	o := kube.Outcome{Problems: srv.gateway.Problems(), Unattached: map[kube.Name]bool{}, Endpoints: map[kube.Name]string{}, Hosts: srv.hostStates()}
	if served := srv.ingresses.Load(); served != nil {
		o.Ingresses = *served
	}
	for i := range o.Problems {
		if p := &o.Problems[i]; p.Msg == routes.Unattached {
			o.Unattached[kube.Name{Namespace: p.Ref.Namespace, Name: p.Ref.Name}] = true
		}
	}
	missing := map[string]string{}
	for _, u := range srv.gateway.Upstreams() {
		if len(u.Endpoints) == 0 {
			missing[u.Name] = cmp.Or(u.Error, "nobody answers for it yet")
		}
	}
	for m, upstream := range srv.gateway.Asked() {
		why := missing[upstream]
		if why != "" {
			why = m.Service + ": " + why
		}
		o.Endpoints[kube.Name{Namespace: m.Namespace, Name: m.Name}] = why
	}
	return o
}

// hostStates says how far the certificates of Hosts have come.
func (srv *server) hostStates() map[kube.Name]kube.HostState {
	shown := srv.shown.Load()
	if shown == nil {
		return nil
	}
	states := make(map[kube.Name]kube.HostState, len(shown.hosts))
	for i := range shown.hosts {
		h := &shown.hosts[i]
		state := kube.HostState{Source: "Other"}
		if s, ordered := srv.acme.State(h); ordered {
			state = kube.HostState{Source: "ACME", State: s.Phase, Done: s.Done, Next: s.Next, Error: s.Error, ErrorAt: s.ErrorAt, Retry: s.Retry}
		} else if h.TLSSecret.Name == "" {
			state.Source = "None"
		}
		states[kube.Name{Namespace: h.Namespace, Name: h.Name}] = state
	}
	return states
}

// signingKeys returns where keys are kept that Mint filters share, nil for nowhere: in a
// cluster in the Secrets that the filters name.
func (srv *server) signingKeys() authn.KeyStore {
	switch state := srv.settings.flags.state; {
	case srv.settings.flags.kubernetes:
		return clusterKeys{srv}
	case state != "":
		return folder.New(filepath.Join(state, "signing-keys"))
	}
	return nil
}

// clusterKeys keeps signing keys in Secrets.
type clusterKeys struct{ srv *server }

// String says where that is.
func (c clusterKeys) String() string { return "the cluster's Secrets" }

// Keeps implements authn.SecretStore: a Secret is ours that has our entry or no keys at all.
func (c clusterKeys) Keeps(data map[string][]byte) bool { return authn.KeepsKeys(data) }

// Update implements authn.KeyStore.
func (c clusterKeys) Update(ctx context.Context, namespace, name string, change func(kept []byte) ([]byte, error)) error {
	return c.srv.api.EditSecret(ctx, kube.Name{Namespace: namespace, Name: name}, func(data map[string][]byte) (map[string][]byte, error) {
		if !authn.KeepsKeys(data) {
			return nil, fmt.Errorf("the Secret %s/%s has keys of somebody else's", namespace, name)
		}
		next, err := change(data[authn.StoredKeys])
		if err != nil {
			return nil, err
		}
		if data == nil {
			data = map[string][]byte{}
		}
		data[authn.StoredKeys] = next
		return data, nil
	})
}

// vault returns the Secrets that certificates are kept in, nil where there is no cluster.
func (srv *server) vault() acme.Vault {
	if !srv.settings.flags.kubernetes {
		return nil
	}
	return clusterVault{srv}
}

// clusterVault keeps certificates in Secrets of the gateway's own namespace.
type clusterVault struct{ srv *server }

// Edit implements acme.Vault.
func (v clusterVault) Edit(ctx context.Context, shard int, edit func(map[string][]byte) (map[string][]byte, error)) error {
	name := kube.Name{Namespace: v.srv.settings.config.Namespace, Name: "legate-certificates-" + strconv.Itoa(shard)}
	return v.srv.api.EditSecret(ctx, name, edit)
}

// ingressesOf returns the Ingresses that w serves.
func ingressesOf(w *config.World) map[kube.Name]bool {
	served := map[kube.Name]bool{}
	note := func(m *config.Meta) {
		if p := &m.Parent; p.Kind == "Ingress" && p.Document == 0 {
			served[kube.Name{Namespace: p.Namespace, Name: p.Name}] = true
		}
	}
	for _, m := range w.Mappings {
		note(&m.Meta)
	}
	for i := range w.Hosts {
		note(&w.Hosts[i].Meta)
	}
	return served
}
