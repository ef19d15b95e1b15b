package authn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// StoredKeys is the entry of a Secret that holds the keys which gateways keep there.
const StoredKeys = storedKeys

// KeepsKeys reports whether a Secret with these entries is the gateways' to keep: its keys
// are theirs, or it has none. Private keys that somebody put there are left alone.
func KeepsKeys(data map[string][]byte) bool {
	if _, ours := data[storedKeys]; ours {
		return true
	}
	for name := range data {
		if strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, ".key") {
			return false
		}
	}
	return true
}

// followKept is how soon a gateway takes up what another one has kept. A key is published
// long before it signs, so this only matters for keys that are taken away.
const followKept = time.Minute

// keptTime is how long a gateway waits for others, and for the disk.
const keptTime = 2 * time.Second

// keep does what is due for the keys that gateways share: whoever comes first does it for
// all, and the others find it done. Where nothing can be kept the keys that there are go on
// signing, beyond their time if need be, as no other gateway would know a new one; where
// there are none at all, one of the process's own has to do, and is kept once that can be
// done.
func (s *signer) keep(now time.Time) (turn, error) {
	var t turn
	known := s.keys
	at := s.settings.kept
	ctx, cancel := context.WithTimeout(context.Background(), keptTime)
	defer cancel()
	err := s.deps.SigningKeys.Update(ctx, at.Namespace, at.Name, func(kept []byte) ([]byte, error) {
		keys, err := s.join(kept)
		if err != nil {
			return nil, err
		}
		known = keys
		if t, err = s.turn(keys, now); err != nil {
			return nil, err
		}
		return encodeKeys(t.keys)
	})
	if err == nil {
		s.unkept = false
		t.at(now.Add(followKept), now)
		return t, nil
	}
	err = fmt.Errorf("keep signing keys: %w", err)
	s.unkept = true
	if t = s.standing(known, now); len(t.keys) > 0 {
		return t, err
	}
	t, failed := s.turn(known, now)
	if failed != nil {
		err = failed
	}
	return t, err
}

// join returns the keys that are kept, and those of the process that nobody could keep so
// far. Keys that others have taken away are gone.
func (s *signer) join(kept []byte) ([]*signingKey, error) {
	if kept == nil {
		return s.keys, nil
	}
	keys, err := decodeKeys(kept)
	if err != nil {
		return nil, err
	}
	if s.unkept {
		for _, k := range s.keys {
			if !slices.ContainsFunc(keys, func(o *signingKey) bool { return o.id == k.id }) {
				keys = append(keys, k)
			}
		}
	}
	return keys, nil
}
