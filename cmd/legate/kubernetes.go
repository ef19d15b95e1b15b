package main

import (
	"cmp"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"

	"legate/certs"
	"legate/config"
	"legate/config/kube"
	"legate/gateway"
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

// watchCluster gives srv the API server, and who tells it what becomes of its objects.
func (p *Program) watchCluster(srv *server) (err error) {
	if srv.api, err = p.kubernetes(srv.settings.config, srv.log); err != nil {
		return err
	}
	srv.metrics.WatchKubernetes(srv.api.Up)
	if srv.settings.flags.status {
		srv.teller, err = p.teller(srv, srv.api)
	}
	return err
}

// teller returns who writes into the status of api's objects what becomes of them.
func (p *Program) teller(srv *server, api *kube.Source) (*kube.Teller, error) {
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
	o := kube.Outcome{Problems: srv.gateway.Problems(), Unattached: map[kube.Name]bool{}, Endpoints: map[kube.Name]string{}}
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
	views, _ := srv.gateway.Routes().([]gateway.RouteView)
	for i := range views {
		v := &views[i]
		at := strings.LastIndexByte(v.Name, '.')
		if v.Upstream == "" || v.Protocol != "" || at < 0 {
			continue
		}
		why := missing[v.Upstream]
		if why != "" {
			why = v.Service + ": " + why
		}
		o.Endpoints[kube.Name{Namespace: v.Name[at+1:], Name: v.Name[:at]}] = why
	}
	return o
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
