package authn

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"legate/config"
)

// mintParts are what of a Mint filter outlives a change of the configuration: its keys,
// what was revoked, and whose passwords were wrong. They are shared by the filter's name.
type mintParts struct {
	signer  *signer
	revoked *Revocations
	locks   *lockout
}

func newMintParts(by string, d *Deps) *mintParts {
	return &mintParts{signer: newSigner(by, d), revoked: d.revocations(), locks: newLockout()}
}

// A Secrets finds a Secret, nil for none.
type Secrets func(namespace, name string) *config.Secret

// newMinter makes the minter of the Mint filter o. What of it cannot be had is a Problem;
// without a minter the filter refuses everybody.
func newMinter(o *config.Filter, parts *mintParts, secrets Secrets, sets *keySets, d *Deps) (*Minter, []config.Problem) {
	f := o.Mint
	by := fmt.Sprintf("Filter %s/%s", o.Namespace, o.Name)
	r, err := newRefusals(by, o.FullName(), &config.ErrorResponse{}, d)
	if err != nil {
		panic("BUG: the default answer does not compile: " + err.Error())
	}
	wishes, err := json.Marshal(f)
	if err != nil {
		panic("BUG: a Mint filter cannot be rendered: " + err.Error())
	}
	m := &Minter{
		refusals: *r, f: f, signer: parts.signer, revoked: parts.revoked, fingerprint: by + string(wishes),
		actor:  "system:serviceaccount:" + d.Namespace + ":gateway",
		minted: d.Metrics.Minted(o.FullName()),
		trustsItself: slices.ContainsFunc(f.Credentials.Issuers, func(i config.TrustedIssuer) bool {
			return i.Issuer == f.Issuer
		}),
	}
	var problems []config.Problem
	broken := func(field, msg string) {
		p := o.Problem(field, msg, config.RouteClosed)
		p.Instead = "every request that the filter has to do with is refused"
		problems = append(problems, p)
	}
	if m.issuers, err = trust(by, &f.Credentials, sets, d); err != nil {
		broken("Mint.credentials.issuers", err.Error())
	}
	if k := f.Credentials.Kubernetes; k != nil && d.Cluster != nil {
		if m.accounts, err = newAccounts(by, k, sets, d); err != nil {
			broken("Mint.credentials.kubernetes", err.Error())
		}
	}
	seen := by + string(wishes)
	passwords := func(field string, name config.SecretName, read func(*config.Secret, *lockout) (*passwords, error)) *passwords {
		if name.Name == "" {
			return nil
		}
		s := secrets(name.Namespace, name.Name)
		if s == nil {
			broken(field, fmt.Sprintf("there is no Secret %s.%s", name.Name, name.Namespace))
			return nil
		}
		p, err := read(s, parts.locks)
		if err != nil {
			broken(field, fmt.Sprintf("the Secret %s.%s: %v", name.Name, name.Namespace, err))
		}
		seen += fmt.Sprint(s.Data)
		return p
	}
	m.passwords = passwords("Mint.credentials.passwords.secretName", f.Credentials.Passwords, readPasswords)
	m.clients = passwords("Mint.credentials.clients.secretName", f.Credentials.Clients, readClients)
	m.policy = sha256.Sum256([]byte(seen))
	return m, problems
}

// ownKeys is what becomes of keys that cannot be shared.
const ownKeys = "this process makes keys of its own, which other replicas do not know"

// keeps reports whether a Secret is where store keeps keys, and not somebody else's.
func keeps(store KeyStore, s *config.Secret) bool {
	secrets, ok := store.(SecretStore)
	return ok && secrets.Keeps(s.Data)
}

// mintSettings returns what the Mint filter o asks of its keys. Keys of a Secret stand in
// for those that are made here; without that Secret they are kept in store, nil for none,
// under its name.
func mintSettings(o *config.Filter, secrets Secrets, store KeyStore) (signerSettings, []config.Problem) {
	f := o.Mint
	settings := signerSettings{
		alg:      f.Algorithm,
		rotation: rotation{every: f.Rotation, wait: keyWait, keep: keyKeep},
		revoked:  f.RevokedKeys,
	}
	if f.SigningKeys.Name == "" {
		return settings, nil
	}
	const field = "Mint.signingKeys.secretName"
	s := secrets(f.SigningKeys.Namespace, f.SigningKeys.Name)
	if s == nil && store != nil || s != nil && keeps(store, s) {
		settings.kept = f.SigningKeys
		return settings, nil
	}
	if s == nil {
		p := o.Problem(field, fmt.Sprintf("there is no Secret %s.%s, and no folder to keep keys in (--state)", f.SigningKeys.Name, f.SigningKeys.Namespace), config.FieldIgnored)
		p.Instead = ownKeys
		return settings, []config.Problem{p}
	}
	keys, err := secretKeys(s)
	if err != nil {
		p := o.Problem(field, fmt.Sprintf("the Secret %s.%s %v", s.Name, s.Namespace, err), config.FieldIgnored)
		p.Instead = ownKeys
		return settings, []config.Problem{p}
	}
	settings.given, settings.rotation.every = keys, 0 // who writes the Secret rotates them
	return settings, nil
}
