package main

import (
	"log/slog"

	"legate/certs"
	"legate/config"
	"legate/config/kube"
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
