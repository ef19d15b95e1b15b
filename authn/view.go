package authn

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A View is what decides about who asks, as operators see it. No credential is in it.
type View struct {
	Rules    []RuleView   `json:"rules"` // in the order in which they are tried
	KeySets  []KeySetView `json:"key_sets"`
	Minters  []string     `json:"minters"` // Filters that make tokens
	Signing  []SignerView `json:"signing_keys"`
	Own      []string     `json:"own_paths"` // that the gateway answers itself, those that end in "/*" with all below them
	Injected []string     `json:"injected"`  // headers that nobody else may send
}

// A RuleView is one rule of a FilterPolicy.
type RuleView struct {
	Rule       string    `json:"rule"`
	Host       string    `json:"host"`
	Path       string    `json:"path"`
	Precedence int       `json:"precedence,omitempty"`
	Filters    []UseView `json:"filters"` // empty: nobody is asked
}

// A UseView is one Filter as a rule uses it.
type UseView struct {
	Filter         string `json:"filter"`
	If             string `json:"if,omitempty"`
	ContinueOnDeny bool   `json:"continue_on_deny,omitempty"`
	BreakOnAllow   bool   `json:"break_on_allow,omitempty"`
	Invalid        bool   `json:"invalid,omitempty"` // it refuses everything
	Why            string `json:"why,omitempty"`     // it does; its Problem says more
}

// A KeySetView is what is known of a key set.
type KeySetView struct {
	URI   string     `json:"uri"`
	Keys  []string   `json:"keys"`            // by key id
	Fresh *time.Time `json:"fresh,omitempty"` // until when its issuer said it may be believed
	Until *time.Time `json:"until,omitempty"` // it is used no longer
	Error string     `json:"error,omitempty"` // of the last attempt
}

// A SignerView is what is known of the keys that a Mint filter signs with.
type SignerView struct {
	Filter string           `json:"filter"`
	Kept   string           `json:"kept,omitempty"` // where they are shared: "Secret shop/keys in /var/lib/legate"
	Keys   []SigningKeyView `json:"keys"`           // that are published, in the order in which they sign
	Error  string           `json:"error,omitempty"`
}

// A SigningKeyView is one key's public side.
type SigningKeyView struct {
	KeyID     string     `json:"kid"`
	Algorithm string     `json:"alg"`
	Published *time.Time `json:"published,omitempty"`
	Signs     *time.Time `json:"signs_from,omitempty"`
	InUse     bool       `json:"in_use,omitempty"`
}

// View shows s. A nil Set has nothing to show.
func (s *Set) View() View {
	v := View{Rules: []RuleView{}, KeySets: []KeySetView{}, Minters: []string{}, Signing: []SignerView{}, Own: []string{}, Injected: []string{}}
	if s == nil {
		return v
	}
	for i := range s.policies.rules {
		v.Rules = append(v.Rules, s.policies.rules[i].view())
	}
	for _, k := range s.keys.byKey {
		v.KeySets = append(v.KeySets, k.view())
	}
	slices.SortFunc(v.KeySets, func(a, b KeySetView) int { return strings.Compare(a.URI, b.URI) })
	for _, name := range s.mints.names {
		m := s.mints.byName[name]
		v.Minters = append(v.Minters, m.by)
		v.Signing = append(v.Signing, m.signing())
	}
	v.Own = append(v.Own, s.endpoints.All()...)
	slices.Sort(v.Own)
	for i := range s.injected {
		v.Injected = append(v.Injected, s.injected[i].text)
	}
	return v
}

// signing shows the keys of m.
func (m *mint) signing() SignerView {
	r := m.parts.signer.current.Load()
	v := SignerView{Filter: m.by, Keys: []SigningKeyView{}}
	if at := m.settings.kept; at.Name != "" {
		v.Kept = fmt.Sprintf("Secret %s/%s in %s", at.Namespace, at.Name, m.deps.SigningKeys)
	}
	if r.err != nil {
		v.Error = r.err.Error()
	}
	for _, k := range r.keys {
		key := SigningKeyView{KeyID: k.id, Algorithm: k.alg, InUse: k == r.signing}
		if !k.published.IsZero() {
			key.Published, key.Signs = &k.published, &k.signs
		}
		v.Keys = append(v.Keys, key)
	}
	return v
}

func (r *rule) view() RuleView {
	v := RuleView{Rule: r.by, Host: string(r.host), Path: string(r.path), Precedence: r.precedence, Filters: []UseView{}}
	for i := range r.uses {
		u := &r.uses[i]
		use := UseView{Filter: u.by, ContinueOnDeny: u.continueOnDeny, BreakOnAllow: u.breakOnAllow}
		if u.when != nil {
			use.If = u.when.String()
		}
		if i, is := u.filter.(*invalidFilter); is {
			use.Invalid, use.Why = true, i.message
		}
		v.Filters = append(v.Filters, use)
	}
	return v
}

func (s *keySet) view() KeySetView {
	v := KeySetView{URI: shownURI(s.uri), Keys: []string{}}
	if k := s.current.Load(); k != nil {
		for i := range k.list {
			v.Keys = append(v.Keys, k.list[i].id)
		}
		v.Fresh, v.Until = &k.fresh, &k.until
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		v.Error = s.err.Error()
	}
	return v
}
