// Package istio knows of Istio's policies what they ask of a token: which tokens a
// RequestAuthentication takes, and which rules of an AuthorizationPolicy a token satisfies.
// What the rest of a rule asks for, it only names. It asks no cluster.
package istio

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Policies are those of a mesh, as far as they are about tokens.
type Policies struct {
	Authentications []Authentication
	Authorizations  []Authorization
}

// An Object is how a policy is called, and whom it is for.
type Object struct {
	Name, Namespace string
	Selector        map[string]string // labels of the workloads; nil for all of the namespace
}

// String returns the name and namespace, as Istio's own tools write them.
func (o *Object) String() string { return o.Name + "." + o.Namespace }

// An Authentication is a RequestAuthentication: the issuers whose tokens its workloads
// understand.
type Authentication struct {
	Object
	Rules []JWTRule
}

// A JWTRule says which tokens are taken, and what becomes of them.
type JWTRule struct {
	Issuer    string   `yaml:"issuer"`
	Audiences []string `yaml:"audiences"`
	Forward   bool     `yaml:"forwardOriginalToken"`
	Headers   []struct {
		Name string `yaml:"name"`
	} `yaml:"fromHeaders"`
	Params         []string `yaml:"fromParams"`
	SpaceDelimited []string `yaml:"spaceDelimitedClaims"`
}

// An Authorization is an AuthorizationPolicy.
type Authorization struct {
	Object
	Action string // ALLOW, DENY, AUDIT or CUSTOM
	Rules  []Rule
}

// A Rule is satisfied by a request of which one of From, one of To and all of When hold.
type Rule struct {
	From []struct {
		Source map[string][]string `yaml:"source"`
	} `yaml:"from"`
	To []struct {
		Operation map[string][]string `yaml:"operation"`
	} `yaml:"to"`
	When []Condition `yaml:"when"`
}

// A Condition asks for one attribute of a request.
type Condition struct {
	Key       string   `yaml:"key"`
	Values    []string `yaml:"values"`
	NotValues []string `yaml:"notValues"`
}

// A manifest is what is read of an object. Spec stays as it is until the kind is known.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Spec  yaml.Node   `yaml:"spec"`
	Items []yaml.Node `yaml:"items"`
}

// Read adds the policies in a text of YAML or JSON documents to p. Other objects are
// passed over. file is where the text is from, for errors; documents before the one that
// cannot be understood are read.
func (p *Policies) Read(file string, text io.Reader) error {
	d := yaml.NewDecoder(text)
	for {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := p.take(&n); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n.Line, err)
		}
	}
}

func (p *Policies) take(n *yaml.Node) error {
	var m manifest
	if n.Decode(&m) != nil { // not an object of Kubernetes: others say so
		return nil //nolint:nilerr // because it is none of ours
	}
	for i := range m.Items {
		if err := p.take(&m.Items[i]); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(m.APIVersion, "security.istio.io/") {
		return nil
	}
	o := Object{Name: m.Metadata.Name, Namespace: m.Metadata.Namespace}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	var spec struct {
		Selector struct {
			Labels map[string]string `yaml:"matchLabels"`
		} `yaml:"selector"`
		JWTRules []JWTRule `yaml:"jwtRules"`
		Action   string    `yaml:"action"`
		Rules    []Rule    `yaml:"rules"`
	}
	if m.Spec.Kind != 0 {
		if err := m.Spec.Decode(&spec); err != nil {
			return fmt.Errorf("%s %s: %w", m.Kind, &o, err)
		}
	}
	o.Selector = spec.Selector.Labels
	switch m.Kind {
	case "RequestAuthentication":
		p.Authentications = append(p.Authentications, Authentication{o, spec.JWTRules})
	case "AuthorizationPolicy":
		action := strings.ToUpper(spec.Action)
		if action == "" {
			action = "ALLOW"
		}
		p.Authorizations = append(p.Authorizations, Authorization{o, action, spec.Rules})
	}
	return nil
}
