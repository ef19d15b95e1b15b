package acme

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// Shards is over how many Secrets is spread what is kept: one holds a mebibyte at most, and
// names that are known beforehand are all that a gateway needs permission for.
const Shards = 16

// A Vault holds the entries of Secrets. It may be used by several goroutines at once.
type Vault interface {
	// Edit changes the entries of one of the Secrets, made if it is not there, or leaves
	// them where edit returns nil. edit may be called again where another was faster.
	Edit(ctx context.Context, shard int, edit func(data map[string][]byte) (map[string][]byte, error)) error
}

// Secrets is a storage in Secrets of a cluster, which all replicas reach.
type Secrets struct {
	*leases
	vault Vault
}

var _ certmagic.Storage = (*Secrets)(nil)

// NewSecrets returns a storage in vault.
func NewSecrets(vault Vault, log *slog.Logger) *Secrets {
	s := &Secrets{vault: vault}
	s.leases = newLeases(s, log)
	return s
}

// A record is one value as it is kept. Its key is too long for the name of an entry.
type record struct {
	Key   string    `json:"key"`
	At    time.Time `json:"at"`
	Value []byte    `json:"value"`
}

// A kept is a lock as it is kept. Who has it counts on, every time that it is extended.
type kept struct {
	Token string `json:"token"`
	Count int    `json:"count"`
}

// A sighting is what a lock was when it was looked at, and since when it has been the same. Who
// has died extends it no more; when that was is for nobody's clock to say but that of who waits.
type sighting struct {
	kept
	since time.Time
}

const lockPrefix = "lock."

// entryOf returns where a key's value is kept.
func entryOf(key string) (shard int, name string) {
	sum := sha256.Sum256([]byte(key))
	return int(sum[0]) % Shards, hex.EncodeToString(sum[:])
}

// Store implements certmagic.Storage.
func (s *Secrets) Store(ctx context.Context, key string, value []byte) error {
	text, err := json.Marshal(record{Key: key, At: time.Now(), Value: value})
	if err != nil {
		return err
	}
	shard, name := entryOf(key)
	return s.vault.Edit(ctx, shard, func(data map[string][]byte) (map[string][]byte, error) {
		return with(data, name, text), nil
	})
}

// with returns data with one entry more.
func with(data map[string][]byte, name string, value []byte) map[string][]byte {
	if data == nil {
		data = map[string][]byte{}
	}
	data[name] = value
	return data
}

// load returns what is kept under key.
func (s *Secrets) load(ctx context.Context, key string) (r record, err error) {
	shard, name := entryOf(key)
	var text []byte
	err = s.vault.Edit(ctx, shard, func(data map[string][]byte) (map[string][]byte, error) {
		text = data[name]
		return nil, nil //nolint:nilnil // because nil says that nothing changes
	})
	switch {
	case err != nil:
		return r, err
	case text == nil:
		return r, fs.ErrNotExist
	}
	return r, json.Unmarshal(text, &r)
}

// Load implements certmagic.Storage.
func (s *Secrets) Load(ctx context.Context, key string) ([]byte, error) {
	r, err := s.load(ctx, key)
	return r.Value, err
}

// Delete implements certmagic.Storage.
func (s *Secrets) Delete(ctx context.Context, key string) error {
	keys, err := s.List(ctx, key, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, key := range append(keys, key) {
		shard, name := entryOf(key)
		if err := s.drop(ctx, shard, name, func([]byte) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// drop removes an entry that is as it should be.
func (s *Secrets) drop(ctx context.Context, shard int, name string, right func(value []byte) bool) error {
	return s.vault.Edit(ctx, shard, func(data map[string][]byte) (map[string][]byte, error) {
		value, there := data[name]
		if !there || !right(value) {
			return nil, nil //nolint:nilnil // because nil says that nothing changes
		}
		delete(data, name)
		return data, nil
	})
}

// Exists implements certmagic.Storage.
func (s *Secrets) Exists(ctx context.Context, key string) bool {
	if _, err := s.load(ctx, key); err == nil {
		return true
	}
	_, err := s.List(ctx, key, false)
	return err == nil
}

// List implements certmagic.Storage.
func (s *Secrets) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	folder := strings.TrimSuffix(prefix, "/") + "/"
	if prefix == "" {
		folder = ""
	}
	found := map[string]bool{}
	for shard := range Shards {
		var keys []string
		err := s.vault.Edit(ctx, shard, func(data map[string][]byte) (map[string][]byte, error) {
			keys = keys[:0]
			for name, text := range data {
				var r record
				if !strings.HasPrefix(name, lockPrefix) && json.Unmarshal(text, &r) == nil {
					keys = append(keys, r.Key)
				}
			}
			return nil, nil //nolint:nilnil // because nil says that nothing changes
		})
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			rest, within := strings.CutPrefix(key, folder)
			if !within {
				continue
			}
			if !recursive {
				rest, _, _ = strings.Cut(rest, "/")
			}
			found[path.Join(prefix, rest)] = true
		}
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// Stat implements certmagic.Storage.
func (s *Secrets) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	r, err := s.load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := s.List(ctx, key, false); err != nil {
			return certmagic.KeyInfo{}, err
		}
		return certmagic.KeyInfo{Key: key}, nil
	}
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key, Modified: r.At, Size: int64(len(r.Value)), IsTerminal: true}, nil
}

// taker implements register. A lock of another is taken once it has been seen, unchanged, for
// longer than one is left alone by who lives.
func (s *Secrets) taker(name, token string) func(context.Context) (bool, error) {
	shard, entry := entryOf(name)
	var seen sighting
	return func(ctx context.Context) (got bool, err error) {
		err = s.vault.Edit(ctx, shard, func(data map[string][]byte) (map[string][]byte, error) {
			var h kept
			if text := data[lockPrefix+entry]; text != nil && json.Unmarshal(text, &h) == nil && h.Token != token {
				if seen.kept != h {
					seen = sighting{h, time.Now()}
				}
				if time.Since(seen.since) < lockLife*3/2 {
					got = false
					return nil, nil //nolint:nilnil // because nil says that nothing changes
				}
			}
			text, err := json.Marshal(kept{Token: token, Count: h.Count + 1})
			got = err == nil
			return with(data, lockPrefix+entry, text), err
		})
		return got && err == nil, err
	}
}

// release implements register.
func (s *Secrets) release(ctx context.Context, name, token string) error {
	shard, entry := entryOf(name)
	return s.drop(ctx, shard, lockPrefix+entry, func(text []byte) bool {
		var h kept
		return json.Unmarshal(text, &h) == nil && h.Token == token
	})
}
