// Package ambassador holds what is known of Ambassador's surface as rows, each with an
// id, and as cases that prove them: manifests, requests and what has to come of them.
// The end-to-end tests run the cases against the real binary; this package only
// reads them, and counts which rows are proved.
package ambassador

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed *.txt *.yaml
var data embed.FS

// A File is one process of the binary and the worlds that it serves one after the other.
type File struct {
	Name string `yaml:"-"`
	// Env and Args are given to the process beside what any process gets.
	Env, Args []string
	// Services are names with ports that answer with what they saw, Secured those that do so over TLS.
	Services, Secured []string
	// Certificates are Secrets by name, each for one name.
	Certificates map[string]string
	// Listeners are specs by name, beside those of the tests; each gets a port of its own.
	Listeners map[string]map[string]any
	// Tokens are claims by name. ${NAME} in a header stands for the token of that name,
	// which an issuer of the file's own has signed, and ${issuer} anywhere for its address.
	Tokens map[string]map[string]any
	Worlds []World
}

// A World is a set of manifests, with what has to come of it.
type World struct {
	About string
	// Mappings are specs by name or namespace/name. One that does not say otherwise is
	// for every name and leads to the service "up".
	Mappings map[string]map[string]any
	// Hosts are specs by name; without any there is one for every name that routes
	// cleartext requests.
	Hosts map[string]map[string]any
	// Module is the config of the Module ambassador.
	Module map[string]any
	// Manifests are further objects as they are.
	Manifests string
	Cases     []Case
	// Problems are all that the binary has to report.
	Problems []Problem
}

// A Case is one request and what has to come of it.
type Case struct {
	ID IDs
	// Get is a path and query; Send has a method before it.
	Get, Send string
	Host      string
	TLS       bool
	SNI       string // where it differs from Host
	On        string // the Listener, if it is not one of the tests'
	Headers   []string
	Body      string
	// Want is status, stage and reason, as in "404 match no_route"; "" for an answer of
	// the service with status 200, "refused" for a handshake that fails.
	Want string
	// By is the service that has to answer; Path and Authority what it has to see.
	By, Path, Authority string
	// Saw and Answer are fields that the service and the client have to see; an empty
	// one must not be there.
	Saw, Answer map[string]string
	// Text is the body that has to come, if the case says.
	Text *string
	// Shown is the server name that the service has to see; "-" for none.
	Shown string
}

// A Problem is what the binary has to report about one object.
type Problem struct {
	ID           IDs
	Object, Says string
	Effect       string
}

// IDs name the rows that a case proves. An id may go on after that of its row.
type IDs []string

// UnmarshalYAML takes one id or a list.
func (ids *IDs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*ids = IDs{n.Value}
		return nil
	}
	return n.Decode((*[]string)(ids))
}

// Files returns every file of cases. A field that is not known is an error.
func Files() ([]File, error) {
	names, err := fs.Glob(data, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		text, err := data.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read cases: %w", err)
		}
		f := File{Name: strings.TrimSuffix(name, path.Ext(name))}
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		if err := decoder.Decode(&f); err != nil {
			return nil, fmt.Errorf("read cases of %s: %w", name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// ids calls yield for each id in f.
func (f *File) ids(yield func(string)) {
	for i := range f.Worlds {
		w := &f.Worlds[i]
		for j := range w.Cases {
			for _, id := range w.Cases[j].ID {
				yield(id)
			}
		}
		for j := range w.Problems {
			for _, id := range w.Problems[j].ID {
				yield(id)
			}
		}
	}
}
