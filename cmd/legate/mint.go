package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"legate/authn"
	"legate/config"
	"legate/config/files"
	"legate/istio"
)

// minting are the flags of mint.
type minting struct {
	files   []string
	subject string
	mapping string
	issuer  string
	claims  []string
	output  string
}

func mintCommand(_ context.Context, p *Program, args []string) int {
	var m minting
	flags := pflag.NewFlagSet("mint", pflag.ContinueOnError)
	flags.StringArrayVarP(&m.files, "file", "f", nil, "file or folder of manifests; repeatable")
	flags.StringVar(&m.subject, "sub", "", "whom the token is for")
	flags.StringVar(&m.mapping, "mapping", "", "Mapping whose service it is for, as name or name.namespace (default the only one)")
	flags.StringVar(&m.issuer, "source-issuer", "", "who recognised them")
	flags.StringArrayVar(&m.claims, "claim", nil, "claim of the source as name=value, where the value may be JSON; repeatable")
	flags.StringVarP(&m.output, "output", "o", "text", "text or json")
	if status, ended := p.parse(flags, args); ended {
		return status
	}
	t, err := p.mint(&m)
	if err == nil {
		if m.output == "json" {
			err = printJSON(p.Stdout, t)
		} else {
			err = t.print(p.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintf(p.Stderr, "legate mint: %v\n", err)
		return exitUsage
	}
	return exitFine
}

// A mintedSpecimen is what mint shows.
type mintedSpecimen struct {
	Filter  string          `json:"filter"`
	Mapping string          `json:"mapping"`
	Token   string          `json:"token"`
	Header  map[string]any  `json:"header"`
	Claims  map[string]any  `json:"claims"`
	Istio   []istio.Verdict `json:"istio"`
}

func (p *Program) mint(m *minting) (*mintedSpecimen, error) {
	switch {
	case len(m.files) == 0:
		return nil, fmt.Errorf("name files with -f")
	case m.subject == "":
		return nil, fmt.Errorf("say with --sub whom the token is for")
	case m.output != "text" && m.output != "json":
		return nil, fmt.Errorf("--output: must be text or json, got %q", m.output)
	}
	opts, err := config.OptionsFromEnv(p.getenv)
	if err != nil {
		return nil, err
	}
	objects, err := files.Read(m.files, p.decodeOptions(opts))
	if err != nil {
		return nil, err
	}
	w := config.Merge(opts, objects)
	mapping, err := m.chosen(w.Mappings)
	if err != nil {
		return nil, err
	}
	id, err := m.identity()
	if err != nil {
		return nil, err
	}
	filter, err := mintFilterOf(&w)
	if err != nil {
		return nil, err
	}
	service := &authn.Service{Name: authn.ServiceName(mapping.Service, mapping.Namespace, clusterDomain)}
	if cors := corsOf(mapping, &w); cors != nil {
		service.Origins = cors.Origins
	}
	s, err := authn.NewSpecimen(filter, service, id, opts.Namespace, time.Now())
	if err != nil {
		return nil, err
	}
	policies, err := istioPolicies(m.files)
	if err != nil {
		return nil, err
	}
	ref, at := filter.Ref(), mapping.Ref()
	return &mintedSpecimen{
		Filter: ref.String(), Mapping: at.String(), Token: s.Token, Header: s.Header, Claims: s.Claims, Istio: policies.Judge(s.Claims),
	}, nil
}

// corsOf returns the CORS policy of a Mapping's route: its own, or the Module's; nil for none.
func corsOf(m *config.Mapping, w *config.World) *config.CORS {
	if m.CORS == nil && len(w.Modules) > 0 {
		return w.Modules[0].CORS
	}
	return m.CORS
}

// clusterDomain is the domain of the cluster's services where nobody says otherwise.
const clusterDomain = "cluster.local"

// chosen returns the Mapping that the token is for.
func (m *minting) chosen(all []*config.Mapping) (*config.Mapping, error) {
	if m.mapping == "" {
		if len(all) != 1 {
			return nil, fmt.Errorf("there are %d Mappings: say with --mapping which one the token is for", len(all))
		}
		return all[0], nil
	}
	i := slices.IndexFunc(all, func(c *config.Mapping) bool { return m.mapping == c.FullName() })
	if i < 0 {
		i = slices.IndexFunc(all, func(c *config.Mapping) bool { return m.mapping == c.Name })
	}
	if i < 0 {
		return nil, fmt.Errorf("--mapping: there is no Mapping %s", m.mapping)
	}
	return all[i], nil
}

// identity returns whom the flags speak of.
func (m *minting) identity() (*authn.Identity, error) {
	claims := map[string]any{}
	for _, c := range m.claims {
		name, text, ok := strings.Cut(c, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--claim: must be name=value, got %q", c)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		claims[name] = value
	}
	return &authn.Identity{Subject: m.subject, Issuer: m.issuer, Token: &authn.Token{Claims: claims}}, nil
}

// mintFilterOf returns the first Mint filter of w. An error says that there is none, or why
// it cannot be used.
func mintFilterOf(w *config.World) (*config.Filter, error) {
	for i := range w.Filters {
		f := &w.Filters[i]
		if f.Mint == nil {
			continue
		}
		if f.Broken != "" {
			return nil, fmt.Errorf("%s: %s", f.FullName(), f.Broken)
		}
		return f, nil
	}
	return nil, fmt.Errorf("there is no Filter with spec.Mint in these files")
}

// istioPolicies reads what of the files is Istio's.
func istioPolicies(paths []string) (*istio.Policies, error) {
	list, err := files.List(paths)
	if err != nil {
		return nil, err
	}
	var all istio.Policies
	for _, path := range list {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		err = all.Read(path, f)
		if closing := f.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return nil, err
		}
	}
	return &all, nil
}

func (t *mintedSpecimen) print(w io.Writer) error {
	fmt.Fprintf(w, "filter   %s\nmapping  %s\ntoken    %s\n\n", t.Filter, t.Mapping, t.Token)
	if err := printJSON(w, map[string]any{"header": t.Header, "claims": t.Claims}); err != nil {
		return err
	}
	fmt.Fprint(w, "\nThe key that signed it is thrown away: no service takes this very token.\n")
	if len(t.Istio) == 0 {
		_, err := fmt.Fprint(w, "\nThere are no policies of Istio's in these files.\n")
		return err
	}
	for i := range t.Istio {
		v := &t.Istio[i]
		verdict := "not satisfied"
		if v.Satisfied {
			verdict = "satisfied"
		}
		fmt.Fprintf(w, "\n%s %s", v.Object, v.Rule)
		if v.Action != "" {
			fmt.Fprintf(w, " (%s)", v.Action)
		}
		fmt.Fprintf(w, ": %s\n", verdict)
		if v.Because != "" {
			fmt.Fprintf(w, "  %s\n", v.Because)
		}
		for _, text := range v.Beside {
			fmt.Fprintf(w, "  also asks for %s\n", text)
		}
		for _, text := range v.Warnings {
			fmt.Fprintf(w, "  beware: %s\n", text)
		}
	}
	return nil
}
