package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"legate/authn"
	"legate/certs"
	"legate/config"
	"legate/config/files"
	"legate/gateway"
	"legate/telemetry"
	"legate/wire"
)

// rehearse decodes and compiles files into a gateway that serves nothing, but can be
// asked what it would do.
func (p *Program) rehearse(paths []string) (*gateway.Gateway, []config.Problem, error) {
	opts, err := config.OptionsFromEnv(p.getenv)
	if err != nil {
		return nil, nil, err
	}
	objects, err := files.Read(paths, p.decodeOptions(opts))
	if err != nil {
		return nil, nil, err
	}
	return p.rehearseObjects(opts, objects)
}

// rehearseObjects is rehearse for objects that were decoded already.
func (p *Program) rehearseObjects(opts config.Options, objects []*config.Object) (*gateway.Gateway, []config.Problem, error) {
	g, err := gateway.New(gateway.Options{
		Upstream: upstreamOptions(opts, p.getenv),
		Routes:   routesOptions(opts, p.getenv),
		OnlyAsk:  onlyAsk(p.getenv),
		Cluster:  p.cluster(false, slog.New(slog.DiscardHandler)),
		// Where keys are kept is said by flags of run, which nobody who only asks repeats.
		SigningKeys: keysElsewhere{},
		Limits:      limitOptions(p.getenv, opts.Namespace),
		Metrics:     telemetry.NewMetrics(telemetry.Build{Version: version, Commit: commit}),
		Log:         slog.New(slog.DiscardHandler),
		Clock:       time.Now,
		Certificates: func(w *config.World) (*wire.TLSTable, []config.Ref, []config.Problem) {
			b := certs.Build(w, certs.Options{Namespace: opts.Namespace}, nil)
			return b.Table, b.Dropped, b.Problems
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return g, g.Rehearse(config.Merge(opts, objects)), nil
}

// keysElsewhere stands for wherever run keeps the keys that sign.
type keysElsewhere struct{}

func (keysElsewhere) String() string { return "where run keeps them" }

// Keeps implements authn.SecretStore.
func (keysElsewhere) Keeps(data map[string][]byte) bool { return authn.KeepsKeys(data) }

var errOnlyAsked = errors.New("who is only asked keeps no keys")

// Update implements authn.KeyStore.
func (keysElsewhere) Update(context.Context, string, string, func([]byte) ([]byte, error)) error {
	return errOnlyAsked
}

// asking are the flags of commands that ask files or a gateway that serves.
type asking struct {
	files  []string
	admin  string
	output string
}

func (a *asking) register(flags *pflag.FlagSet, outputs string) {
	flags.StringArrayVarP(&a.files, "file", "f", nil, "file or folder of manifests; repeatable")
	flags.StringVar(&a.admin, "admin", "", "URL of the admin port of a gateway that serves, instead of files")
	flags.StringVarP(&a.output, "output", "o", "text", outputs)
}

// understand reports what of the flags makes no sense.
func (a *asking) understand(outputs ...string) error {
	if (len(a.files) == 0) == (a.admin == "") {
		return fmt.Errorf("name files with -f, or a gateway with --admin")
	}
	if slices.Contains(outputs, a.output) {
		return nil
	}
	return fmt.Errorf("--output: must be one of %s, got %q", strings.Join(outputs, ", "), a.output)
}

// ask puts a question to the admin port and reads the answer into value. body is nil
// for a question that its path says whole.
func (a *asking) ask(ctx context.Context, path string, body, value any) error {
	base, err := url.Parse(a.admin)
	if err != nil || base.Host == "" {
		return fmt.Errorf("--admin: must be a URL like http://127.0.0.1:8877, got %q", a.admin)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	method, sent := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if sent, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), bytes.NewReader(sent))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, value)
}

// printJSON is how every command prints JSON.
func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
