package authn

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// knownClaims are those of the source that a token says again wherever they are known.
var knownClaims = []string{"auth_time", "acr", "amr", "azp", "sid", "may_act", "cnf"}

// usualPayload is room for most payloads.
const usualPayload = 768

// payload renders the claims of g's token, those of RFC 7519 first.
func (m *Minter) payload(g *grant, jti string, issued, expires time.Time) []byte {
	id := g.identity
	b := appendMember(make([]byte, 0, usualPayload), "iss", m.f.Issuer)
	b[0] = '{' // in place of the first comma
	b = appendMember(b, "sub", id.Subject)
	b = append(b, g.profile.claims...)
	b = appendMember(b, "exp", expires.Unix())
	b = appendMember(b, "iat", issued.Unix())
	b = appendMember(b, "nbf", issued.Add(-clockSkew).Unix())
	b = appendMember(b, "jti", jti)
	if client := g.clientID; client != "" {
		b = appendMember(b, "client_id", client)
	} else if client := clientOf(id); client != "" {
		b = appendMember(b, "client_id", client)
	}
	if g.client.IsValid() {
		b = appendMember(b, "ip_ranges", []netip.Prefix{netip.PrefixFrom(g.client, g.client.BitLen())})
	}
	for _, c := range m.f.Claims {
		if c.Name == "scope" && g.scope != nil {
			continue
		}
		if value := m.mapped(c.Name, c.From, id); value != nil {
			b = appendMember(b, c.Name, value)
		}
	}
	if g.scope != nil && *g.scope != "" {
		b = appendMember(b, "scope", *g.scope)
	}
	for _, name := range knownClaims {
		if value, ok := id.claim(name); ok && value != nil {
			b = appendMember(b, name, value)
		}
	}
	b = m.appendActor(b, id)
	if id.Issuer != "" {
		b = appendMember(b, "src_iss", id.Issuer)
	}
	if source, ok := id.claim("jti"); ok {
		if text, ok := source.(string); ok {
			b = appendMember(b, "src_jti", text)
		}
	}
	return append(b, '}')
}

// claim returns a claim of the tokens that id was recognised by, the presented one first.
func (id *Identity) claim(name string) (any, bool) {
	for _, t := range [...]*Token{id.Token, id.IDToken} {
		if t == nil {
			continue
		}
		if value, ok := t.Claims[name]; ok {
			return value, true
		}
	}
	return nil, false
}

// clientOf returns the client that id's token was issued to, "" where it does not say.
func clientOf(id *Identity) string {
	for _, name := range [...]string{"client_id", "azp", "appid", "cid"} {
		if value, ok := id.claim(name); ok {
			if text, ok := value.(string); ok && text != "" {
				return text
			}
		}
	}
	return ""
}

// appendActor says that the gateway acts for the user, after whoever did before it (RFC
// 8693 §4.1).
func (m *Minter) appendActor(b []byte, id *Identity) []byte {
	b = appendValue(append(b, `,"act":{"sub":`...), m.actor)
	if before, _ := id.claim("act"); before != nil {
		if object, ok := before.(map[string]any); ok {
			b = appendMember(b, "act", object)
		}
	}
	return append(b, '}')
}

// mapped returns what a minted claim says: the first of the source claims that is there,
// nil for none. Numbers and booleans become texts, as Istio compares nothing else.
func (m *Minter) mapped(name string, from []string, id *Identity) any {
	for _, source := range from {
		value, ok := id.claim(source)
		if !ok || value == nil {
			continue
		}
		switch value = asTexts(value); name {
		case "scope":
			return joined(value)
		case "permissions":
			if text, ok := value.(string); ok { // Istio does not split it
				return strings.Fields(text)
			}
		case "groups", "roles", "entitlements":
			if text, ok := value.(string); ok {
				return []string{text}
			}
		}
		return value
	}
	return nil
}

// asTexts returns value with every number and boolean in it as a text.
func asTexts(value any) any {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			if item != nil {
				list = append(list, asTexts(item))
			}
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, item := range v {
			if item != nil {
				object[name] = asTexts(item)
			}
		}
		return object
	}
	return value
}

// joined returns scopes as one text with spaces (RFC 8693 §4.2).
func joined(value any) any {
	list, ok := value.([]any)
	if !ok {
		return value
	}
	var scopes []string
	for _, item := range list {
		if text, ok := item.(string); ok && !slices.Contains(scopes, text) {
			scopes = append(scopes, text)
		}
	}
	return strings.Join(scopes, " ")
}
