package decode

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"legate/config"
)

// Bounds of what a Mint filter may ask for.
const (
	shortestToken   = 5 * time.Minute
	longestToken    = 15 * time.Minute
	defaultToken    = 10 * time.Minute
	shortestTurn    = time.Hour
	defaultRotation = 24 * time.Hour
)

// defaultClaims are those of the source that a token has where nobody says otherwise.
var defaultClaims = []config.ClaimSource{
	{Name: "permissions", From: []string{"permissions"}},
	{Name: "scope", From: []string{"scope", "scp"}},
	{Name: "groups", From: []string{"groups"}},
	{Name: "roles", From: []string{"roles"}},
}

// reservedClaims are made by the gateway, or known to everybody, whatever a filter says.
var reservedClaims = []string{
	"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "client_id", "act", "may_act", "cnf", "azp", "sid", "auth_time", "acr", "amr",
	"allowed_origins", "allowed_services", "ip_ranges", "src_iss", "src_jti",
}

// mint reads spec.Mint. What cannot be understood of it is a Problem that breaks the
// filter.
func (f *fields) mint() *config.MintFilter {
	m := &config.MintFilter{
		Issuer:          "ambassador-jwt-issuer",
		Lifetime:        f.span("lifetime", defaultToken, shortestToken, longestToken),
		Algorithm:       "ES256",
		TokenType:       "at+jwt",
		Rotation:        f.span("rotation", defaultRotation, shortestTurn, 365*24*time.Hour),
		Audience:        f.services("audience"),
		Claims:          f.claims(),
		AllowedServices: f.servicesOr("allowedServices", "route"),
		AuthServices:    f.list("authServices"),
		PathPrefix:      f.text("pathPrefix"),
	}
	if issuer := f.text("issuer"); issuer != "" {
		m.Issuer = issuer
	}
	if alg := f.oneOf("algorithm", "ES256", "RS256", "EdDSA"); alg != "" {
		m.Algorithm = alg
	}
	if typ := f.text("tokenType"); typ != "" {
		m.TokenType = typ
	}
	if p := m.PathPrefix; p != "" && (p[0] != '/' || strings.ContainsAny(p, "?#*")) {
		f.wrong(f.find("pathPrefix"), `a path that begins with "/"`)
	}
	m.PathPrefix = strings.TrimRight(m.PathPrefix, "/")
	if keys := f.object("signingKeys"); keys != nil {
		m.SigningKeys = keys.secret()
		m.RevokedKeys = keys.list("revoked")
		keys.finishLock("secretName", "secretNamespace", "revoked")
	}
	m.AllowedOrigins = f.origins()
	m.ClientIPRange, m.IPRanges = f.ranges()
	if c := f.object("credentials"); c != nil {
		m.Credentials = c.credentials()
		c.finishLock("issuers", "kubernetes", "passwords", "clients")
	}
	f.finishLock("credentials", "signingKeys", "lifetime", "claims", "allowedOrigins", "allowedServices", "ipRanges", "authServices", "algorithm", "rotation")
	return m
}

// span reads a duration from lo to hi, def if missing.
func (f *fields) span(name string, def, lo, hi time.Duration) time.Duration {
	f.ask(name, shape{form: aText})
	e := f.value(name)
	if e == nil {
		return def
	}
	text, ok := f.scalar(e)
	if !ok {
		return def
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < lo || d > hi {
		f.wrong(e, fmt.Sprintf("a duration from %s to %s, as in %s", shortly(lo), shortly(hi), shortly(def)))
		return def
	}
	return d
}

// shortly renders a duration without the units that say nothing.
func shortly(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// secret reads the name of a Secret, with its namespace after a dot or in a field beside
// it; the object's own otherwise.
func (f *fields) secret() config.SecretName {
	s := config.SecretName{Name: f.text("secretName"), Namespace: f.o.Meta.Namespace}
	if namespace := f.text("secretNamespace"); namespace != "" {
		s.Namespace = namespace
	}
	if s.Name == "" {
		return config.SecretName{}
	}
	return s
}

// services reads a list of what tokens are for. None of them may be everybody.
func (f *fields) services(name string) []string {
	list := f.list(name)
	if slices.ContainsFunc(list, func(s string) bool { return s == "" || strings.Contains(s, "*") }) {
		f.wrong(f.find(name), `a list of names without "*"`)
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

// servicesOr is services where a word stands for the default.
func (f *fields) servicesOr(name, word string) []string {
	if e := f.find(name); e != nil {
		if list := f.list(name); len(list) == 1 && list[0] == word {
			return nil
		}
	}
	return f.services(name)
}

// claims reads which claims of the source a token has, and under which names.
func (f *fields) claims() []config.ClaimSource {
	if !f.has("claims") {
		f.take("claims")
		return defaultClaims
	}
	list := []config.ClaimSource{}
	for _, c := range f.objects("claims") {
		source := config.ClaimSource{Name: c.required("name"), From: c.list("from")}
		if len(source.From) == 0 {
			source.From = []string{source.Name}
		}
		switch {
		case slices.Contains(reservedClaims, source.Name):
			c.wrong(c.find("name"), "the name of a claim that the gateway does not make itself")
		case strings.ContainsAny(source.Name, "[]"):
			c.wrong(c.find("name"), "a name without brackets, which Istio could not ask for")
		case slices.ContainsFunc(list, func(o config.ClaimSource) bool { return o.Name == source.Name }):
			c.wrong(c.find("name"), "a name that no other claim has")
		}
		c.finish(nil)
		list = append(list, source)
	}
	return list
}

// origins reads where a token's allowed_origins come from.
func (f *fields) origins() config.OriginsClaim {
	const name = "allowedOrigins"
	list := f.list(name)
	switch {
	case list == nil:
		return config.OriginsClaim{CORS: true}
	case len(list) == 1 && list[0] == "cors":
		return config.OriginsClaim{CORS: true}
	case len(list) == 1 && list[0] == "none":
		return config.OriginsClaim{}
	}
	for _, o := range list {
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "" || strings.Contains(o, "*") {
			f.wrong(f.find(name), `"cors", "none", or a list of origins as in https://app.example.com`)
			return config.OriginsClaim{}
		}
	}
	return config.OriginsClaim{List: list}
}

// ranges reads which addresses a token is for.
func (f *fields) ranges() (client bool, list []netip.Prefix) {
	const name = "ipRanges"
	texts := f.list(name)
	if len(texts) == 1 && texts[0] == "none" || len(texts) == 0 {
		return false, nil
	}
	if len(texts) == 1 && texts[0] == "client" {
		return true, nil
	}
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, alone := netip.ParseAddr(text); alone == nil {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil {
			f.wrong(f.find(name), `"none", "client", or a list of networks as in 10.0.0.0/8`)
			return false, nil
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		list = append(list, p.Masked())
	}
	return false, list
}

// credentials reads what is accepted where no other filter has established who asks.
func (f *fields) credentials() config.Credentials {
	var c config.Credentials
	for _, i := range f.objects("issuers") {
		t := config.TrustedIssuer{Issuer: i.required("issuer"), Audiences: i.list("audience"), JWKSURI: i.text("jwksURI")}
		for name, address := range map[string]string{"issuer": t.Issuer, "jwksURI": t.JWKSURI} {
			if needed := name == "jwksURI" && address != "" || name == "issuer" && t.JWKSURI == ""; needed && t.Issuer != "" && !isWebAddress(address) {
				i.wrong(i.find(name), "an address that begins with https:// or http://, whose discovery document or key set can be asked for")
			}
		}
		i.finishLock()
		c.Issuers = append(c.Issuers, t)
	}
	if k := f.object("kubernetes"); k != nil {
		c.Kubernetes = &config.KubernetesTokens{Audience: k.required("audience")}
		k.finishLock()
	}
	if p := f.object("passwords"); p != nil {
		p.required("secretName")
		c.Passwords = p.secret()
		p.finishLock("secretName", "secretNamespace")
	}
	if p := f.object("clients"); p != nil {
		p.required("secretName")
		c.Clients = p.secret()
		p.finishLock("secretName", "secretNamespace")
	}
	return c
}

func isWebAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
