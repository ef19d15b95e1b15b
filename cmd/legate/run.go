package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/pflag"

	"legate/config"
	"legate/config/decode"
	"legate/config/files"
)

func runCommand(ctx context.Context, p *Program, args []string) int {
	var f serveFlags
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.register(flags)
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	s, err := p.settings(flags, &f)
	if err == nil && len(f.files) == 0 && !f.kubernetes {
		err = fmt.Errorf("nothing to serve: name files with -f, or watch the API server with --kubernetes")
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate run: %v\n", err)
		return exitUsage
	}
	return p.serve(ctx, s, nil)
}

// settings completes the flags from the environment and understands them.
func (p *Program) settings(flags *pflag.FlagSet, f *serveFlags) (*settings, error) {
	if err := environment(flags, p.getenv); err != nil {
		return nil, err
	}
	return f.understand(p.getenv)
}

// decodeOptions are those of every source of files.
func (p *Program) decodeOptions(opts config.Options) decode.Options {
	return decode.Options{Namespace: opts.Namespace, Lookup: p.LookupEnv}
}

// serve runs the gateway until a signal ends it. extra are sources beside the files.
func (p *Program) serve(ctx context.Context, s *settings, extra []config.Source) int {
	terminate := make(chan os.Signal, 2)
	signal.Notify(terminate, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(terminate)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	watched := files.New(s.flags.files, p.decodeOptions(s.config))
	if s.process.threads > 0 {
		runtime.GOMAXPROCS(s.process.threads)
	}
	srv, err := p.newServer(s)
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate: %v\n", err)
		return exitError
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources := append([]config.Source{watched}, extra...)
	if s.flags.kubernetes {
		if err := p.watchCluster(srv); err != nil {
			fmt.Fprintf(p.Stderr, "legate: %v\n", err)
			return exitError
		}
		sources = append(sources, srv.api)
	}
	failed := srv.start(ctx, sources)
	for {
		select {
		case <-reload:
			watched.Reload()
			srv.reload()
		case err := <-failed:
			srv.log.Error("cannot serve", "error", err)
			srv.stop(0, terminate)
			return exitError
		case sig := <-terminate:
			srv.gateway.BeginDrain() // before it is said: who reads the line may ask at once
			srv.log.Info("draining", "signal", sig.String())
			return srv.stop(s.flags.drainDelay, terminate)
		case <-ctx.Done():
			return srv.stop(0, terminate)
		}
	}
}
