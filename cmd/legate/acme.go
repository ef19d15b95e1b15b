package main

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"

	"legate/admin"
	"legate/certs"
	"legate/certs/acme"
	"legate/config"
)

// newACME returns what orders certificates and keeps them where s says: in a folder that was
// named, else in the Redis that replicas share, else in vault, the cluster's Secrets, nil for
// none, else in the folder of --state or one of this machine.
func newACME(s *settings, sh *shared, vault acme.Vault, getenv func(string) string, log *slog.Logger) *acme.Client {
	folder := s.flags.acmeStorage
	if client := sh.redis(); client != nil && folder == "" {
		return acme.New(acme.Options{Storage: acme.NewRedis(client, log), Log: log})
	}
	if vault != nil && folder == "" {
		return acme.New(acme.Options{Storage: acme.NewSecrets(vault, log), Log: log})
	}
	if folder == "" && s.flags.state != "" {
		folder = filepath.Join(s.flags.state, "acme")
	}
	folder = cmp.Or(folder, acmeFolder(getenv))
	return acme.New(acme.Options{Storage: acme.NewFiles(folder), Log: log})
}

// acmeFolder is where this machine keeps what programs must not lose.
func acmeFolder(getenv func(string) string) string {
	if dir := getenv("STATE_DIRECTORY"); dir != "" { // systemd's
		return filepath.Join(dir, "acme")
	}
	if dir := getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "legate", "acme")
	}
	if dir, err := os.UserHomeDir(); err == nil && dir != "/" {
		return filepath.Join(dir, ".local", "share", "legate", "acme")
	}
	return "/var/lib/legate/acme"
}

// ordered tells certs of what was ordered for h.
func (srv *server) ordered(h *config.Host) (*config.Secret, string) {
	state, _ := srv.acme.State(h)
	return srv.acme.Certificate(h), state.Error
}

// shownCertificates returns the certificates of Hosts as the admin port shows them, also
// those that are not there yet.
func (srv *server) shownCertificates() []admin.Certificate {
	list := []admin.Certificate{}
	shown := srv.shown.Load()
	if shown == nil {
		return list
	}
	orders := map[string]*admin.Order{}
	for i := range shown.hosts {
		if h := &shown.hosts[i]; h.ACME != nil {
			orders[h.FullName()] = srv.order(h)
		}
	}
	for i := range shown.certs {
		c := &shown.certs[i]
		name := c.Host.Name + "." + c.Host.Namespace
		list = append(list, admin.Certificate{
			Host: c.Host.String(), Hostname: c.Hostname, Names: c.Names, Issuer: c.Issuer, Serial: c.Serial,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, Source: c.From.Kind, From: c.From.Name, OCSP: answerAbout(c.Staple),
		})
		if c.Host.Kind == "Host" {
			list[i].Order = orders[name]
			delete(orders, name)
		}
	}
	for i := range shown.hosts {
		if h := &shown.hosts[i]; orders[h.FullName()] != nil {
			list = append(list, admin.Certificate{Host: h.Ref().String(), Hostname: h.Hostname, Names: []string{}, Order: orders[h.FullName()]})
		}
	}
	return list
}

// answerAbout is what an authority says about a certificate, nil where it is not asked.
func answerAbout(s *certs.Staple) *admin.OCSP {
	if s == nil {
		return nil
	}
	state := s.State()
	return &admin.OCSP{Status: state.Status, Must: s.Must, Made: state.Made, Ends: state.Ends, Refresh: state.Refresh, Error: state.Error}
}

// order is how far h's certificate has come.
func (srv *server) order(h *config.Host) *admin.Order {
	s, _ := srv.acme.State(h)
	return &admin.Order{
		Authority: h.ACME.Authority, State: s.Phase, PhaseCompleted: s.Done, PhasePending: s.Next,
		Renews: s.Renew, Error: s.Error, ErrorAt: s.ErrorAt, Retry: s.Retry,
	}
}

// A showing is what the admin port shows certificates from.
type showing struct {
	certs []certs.Certificate
	hosts []config.Host
}
