package main

import (
	"context"
	"fmt"
	"time"

	"legate/admin"
	"legate/certs/workload"
)

// joinMesh prepares to ask who the gateway is in the mesh, where --spiffe-socket says whom.
func (srv *server) joinMesh() error {
	s := srv.settings
	if s.flags.spiffeSocket == "" {
		return nil
	}
	var err error
	srv.mesh, err = workload.New(workload.Options{Address: s.flags.spiffeSocket, Log: srv.log, Told: srv.identified})
	if err != nil {
		return err
	}
	s.upstream.Workload = srv.mesh
	return nil
}

// identified notes what the Workload API said.
func (srv *server) identified(w workload.Word) {
	if w.SVID == nil {
		srv.metrics.Identified("", time.Time{}, w.Err)
		return
	}
	srv.metrics.Identified(w.SVID.ID.String(), w.SVID.Certificates[0].NotAfter, w.Err)
}

// certificatesShown returns every certificate that the admin port shows.
func (srv *server) certificatesShown() []admin.Certificate {
	return append(srv.shownCertificates(), srv.shownSVID()...)
}

// shownSVID returns the SVID by which the mesh knows the gateway, as the admin port shows it;
// nothing where there is none.
func (srv *server) shownSVID() []admin.Certificate {
	if srv.mesh == nil {
		return nil
	}
	svid, err := srv.mesh.GetX509SVID()
	if err != nil {
		return nil
	}
	leaf := svid.Certificates[0]
	return []admin.Certificate{{
		Names: []string{svid.ID.String()}, Issuer: leaf.Issuer.String(), Serial: fmt.Sprintf("%X", leaf.SerialNumber.Bytes()),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Source: "Workload API", From: srv.settings.flags.spiffeSocket,
	}}
}

// meshWait is how long the first configuration waits for the gateway's identity, so that
// requests that need it are not refused where the agent is there: an agent answers in
// milliseconds, and one that is not there says so at once.
const meshWait = time.Second

// followMesh follows who the gateway is until ctx is done.
func (srv *server) followMesh(ctx context.Context) {
	if srv.mesh == nil {
		return
	}
	srv.done.Go(func() { srv.mesh.Run(ctx) })
	wait, cancel := context.WithTimeout(ctx, meshWait)
	defer cancel()
	srv.mesh.Ready(wait)
}
