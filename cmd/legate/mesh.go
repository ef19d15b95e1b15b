package main

import (
	"context"
	"time"

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
