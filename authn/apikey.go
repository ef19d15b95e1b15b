package authn

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"legate/config"
	"legate/decision"
)

// An apiKey lets requests through that bring one of its keys.
type apiKey struct {
	by     string
	name   fieldName           // of the header
	hashes [][sha256.Size]byte // of the keys, so that comparing takes the same time for all
	names  []string            // of the same keys: which entry of which Secret
	seen   []atomic.Bool       // whether they were shown before
	deps   *Deps
}

const defaultKeyHeader = "x-api-key"

// newAPIKey makes the APIKey Filter o. What its Secrets are missing is a Problem: their
// keys are none then.
func newAPIKey(o *config.Filter, secrets Secrets, d *Deps) (*apiKey, []config.Problem) {
	name := cmp.Or(o.APIKey.Header, defaultKeyHeader)
	k := &apiKey{by: fmt.Sprintf("Filter %s/%s", o.Namespace, o.Name), name: newFieldName(strings.ToLower(name)), deps: d}
	var problems []config.Problem
	for i, ref := range o.APIKey.Secrets {
		field := fmt.Sprintf("APIKey.keys[%d].secretName", i)
		s := secrets(ref.Namespace, ref.Name)
		if s == nil {
			p := o.Problem(field, fmt.Sprintf("there is no Secret %s.%s", ref.Name, ref.Namespace), config.FieldIgnored)
			p.Instead = "no key of it is accepted"
			problems = append(problems, p)
			continue
		}
		for _, entry := range slices.Sorted(maps.Keys(s.Data)) {
			value := s.Data[entry]
			if len(value) == 0 {
				continue // nobody is let in by nothing
			}
			if len(bytes.TrimSpace(value)) != len(value) {
				problems = append(problems, o.Problem(field, fmt.Sprintf("the key %q of Secret %s.%s begins or ends with space, which is part of it", entry, s.Name, s.Namespace), config.Notice))
			}
			k.hashes = append(k.hashes, sha256.Sum256(value))
			k.names = append(k.names, fmt.Sprintf("%s of Secret %s.%s", entry, s.Name, s.Namespace))
		}
	}
	k.seen = make([]atomic.Bool, len(k.hashes))
	return k, problems
}

// Filter looks for a key. Budget: 0 allocs for one that is right.
func (k *apiKey) Filter(c *Call) Outcome {
	value, found := c.field(&k.name)
	right := -1
	if found {
		hash := sha256.Sum256(value)
		for i := range k.hashes {
			right = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], k.hashes[i][:]), i, right)
		}
	}
	if right >= 0 {
		k.accepted(c, right)
		return Allow
	}
	reason := decision.APIKeyUnknown
	if !found {
		reason = decision.APIKeyMissing
	}
	refusePlainly(c, k.by, reason, "API key not found")
	if found {
		k.deps.audit(c, decision.Event{Kind: decision.TokenRejected, Reason: reason, By: k.by, Status: c.Reply.Status})
	}
	return Deny
}

// accepted notes that the i-th key was shown. Budget: 0 allocs where it was before.
func (k *apiKey) accepted(c *Call, i int) {
	if !c.Dry && !k.seen[i].Load() && k.seen[i].CompareAndSwap(false, true) {
		k.deps.audit(c, decision.Event{Kind: decision.TokenAccepted, Allowed: true, By: k.by, Subject: k.names[i]})
	}
}
