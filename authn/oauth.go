package authn

import (
	"encoding/json"
	"mime"
	"net/url"
	"slices"
	"strings"

	"legate/decision"
	"legate/wire"
)

// maxForm bounds the bodies of requests for tokens.
const maxForm = 64 << 10

// An oauthError is a refusal in the words of OAuth (RFC 6749 §5.2).
type oauthError struct {
	code, description string
	status            int
	cause             *failure // what was found out; nil where the request itself is wrong
}

func oauthRefusal(code, description string) *oauthError {
	return &oauthError{code: code, description: description, status: 400}
}

var (
	errNoForm        = oauthRefusal("invalid_request", "the body must be a form: application/x-www-form-urlencoded")
	errFormTooLarge  = oauthRefusal("invalid_request", "the body is too large")
	errTwoClients    = oauthRefusal("invalid_request", "the client says who it is in two ways")
	errUnknownClient = &oauthError{code: "invalid_client", description: "the client is not known, or its secret is wrong", status: 401}
	errNeedsClient   = &oauthError{code: "invalid_client", description: "the client has to say who it is", status: 401}
	errOtherClient   = oauthRefusal("unauthorized_client", "the token was issued to another client")
)

// A form is what a client sends to a token endpoint.
type form struct{ values url.Values }

// readForm reads c's body.
func readForm(c *Call) (*form, *oauthError) {
	kind, _, err := mime.ParseMediaType(string(c.Head.Get(wire.FieldContentType)))
	if err != nil || kind != "application/x-www-form-urlencoded" || c.Body == nil {
		return nil, errNoForm
	}
	body, whole, err := c.Body.Peek(maxForm)
	if err != nil || !whole {
		return nil, errFormTooLarge
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errNoForm
	}
	for name, all := range values {
		if len(all) > 1 && name != "audience" && name != "resource" { // RFC 6749 §3.2, RFC 8693 §2.1
			return nil, oauthRefusal("invalid_request", "a parameter is given twice")
		}
	}
	return &form{values}, nil
}

func (f *form) get(name string) string { return f.values.Get(name) }

// clientOfForm returns the client that c was sent by, "" for one that does not say, and whether
// it has proved it (RFC 6749 §2.3).
func (m *Minter) clientOfForm(c *Call, f *form) (id string, proved bool, e *oauthError) {
	id, secret := f.get("client_id"), f.get("client_secret")
	if value, found, several := c.authorization(); found {
		if several || secret != "" {
			return "", false, errTwoClients
		}
		user, password, ok := "", "", false
		if isBasic(value) {
			user, password, ok = basicCredentials(value)
		}
		decodedUser, err := url.QueryUnescape(user)
		decodedPassword, perr := url.QueryUnescape(password)
		if !ok || err != nil || perr != nil || id != "" && id != decodedUser {
			return "", false, errUnknownClient
		}
		id, secret = decodedUser, decodedPassword
	}
	switch {
	case secret == "" && (m.clients == nil || id == "" || m.clients.hashes[id] == nil):
		return id, false, nil // a public client, or none
	case secret == "":
		return "", false, errNeedsClient
	case m.clients == nil:
		return "", false, errUnknownClient
	}
	if failed := m.clients.check(id, secret, c.Client, c.Now); failed != nil {
		m.deps.audit(c, decision.Event{Kind: decision.LoginFailed, Reason: failed.reason, By: m.by, Subject: id})
		return "", false, &oauthError{code: "invalid_client", description: failed.message, status: max(401, failed.reason.Status()), cause: failed}
	}
	return id, true, nil
}

var (
	noStore     = wire.Add{ID: wire.FieldCacheControl, Value: []byte("no-store")}
	noCache     = wire.Add{ID: wire.LookupField([]byte("pragma")), Name: []byte("pragma"), Value: []byte("no-cache")}
	typeJSON    = []byte("application/json")
	publicCache = wire.Add{ID: wire.FieldCacheControl, Value: []byte("public, max-age=300")}
)

// answer writes an answer of a token endpoint: nil for no body.
func (m *Minter) answer(c *Call, document any) {
	c.Reply = Reply{Reason: decision.OwnEndpoint, By: m.by, Status: 200, Headers: []wire.Add{noStore, noCache}}
	if document == nil {
		return
	}
	text, err := json.Marshal(document)
	if err != nil {
		panic("BUG: a token endpoint's answer cannot be rendered: " + err.Error())
	}
	c.Reply.ContentType, c.Reply.Body = typeJSON, text
}

// refuseOAuth writes a refusal of a token endpoint.
func (m *Minter) refuseOAuth(c *Call, e *oauthError) {
	m.answer(c, struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.code, e.description})
	c.Reply.Reason, c.Reply.Status = decision.TokenRequestRefused, e.status
	if e.cause != nil {
		c.Reply.Reason, c.Reply.Err = e.cause.reason, e.cause.err
		if e.cause.retryAfter > 0 {
			c.Reply.Headers = append(c.Reply.Headers, retryLine(e.cause))
		}
	}
	if e.status == 401 {
		c.Reply.Headers = append(c.Reply.Headers, wire.Add{ID: wire.FieldWWWAuthenticate, Value: []byte(basicChallenge(m.realm))})
	}
}

// An ownEndpoint is one path of a Mint filter's, for requests of one method.
type ownEndpoint struct {
	*Minter
	post  bool // POST, with a form; GET and HEAD otherwise
	serve func(m *Minter, c *Call)
}

var (
	allowPost = wire.Add{Name: []byte("allow"), Value: []byte("POST, OPTIONS")}
	allowGet  = wire.Add{Name: []byte("allow"), Value: []byte("GET, HEAD, OPTIONS")}

	nameAllowOrigin  = []byte("access-control-allow-origin")
	nameAllowMethods = []byte("access-control-allow-methods")
	nameAllowHeaders = []byte("access-control-allow-headers")
	nameMaxAge       = []byte("access-control-max-age")
	nameVary         = []byte("vary")
	valueOrigin      = []byte("origin")
	valueAny         = []byte("*")
)

// Serve answers c, and tells pages of other origins what they may read of it.
func (e ownEndpoint) Serve(c *Call) {
	method := c.Head.Method()
	shared := e.share(c)
	switch {
	case method == wire.OPTIONS && shared:
		e.preflight(c)
	case e.post && method == wire.POST, !e.post && (method == wire.GET || method == wire.HEAD):
		e.serve(e.Minter, c)
	default:
		e.refuseOAuth(c, &oauthError{code: "invalid_request", description: "the method is not one of this endpoint's", status: 405})
		allow := allowGet
		if e.post {
			allow = allowPost
		}
		c.Reply.Headers = append(c.Reply.Headers, allow)
	}
}

// share lets pages read the answer whose origin may use the tokens, and reports whether it
// does. What is public is anybody's.
func (e ownEndpoint) share(c *Call) bool {
	origin := c.Head.Get(wire.FieldOrigin)
	if !e.post {
		c.ToClient.AddName(nameAllowOrigin, valueAny)
		return len(origin) > 0
	}
	c.ToClient.AddName(nameVary, valueOrigin)
	if len(origin) == 0 || !e.pages(string(origin)) {
		return false
	}
	c.ToClient.AddName(nameAllowOrigin, origin)
	return true
}

// pages reports whether pages of origin may ask for tokens.
func (m *Minter) pages(origin string) bool { return slices.Contains(m.origins, origin) }

func (e ownEndpoint) preflight(c *Call) {
	c.Reply = Reply{Reason: decision.Preflight, By: e.by, Status: 204}
	methods := "GET, HEAD"
	if e.post {
		methods = "POST"
	}
	c.ToClient.AddName(nameAllowMethods, []byte(methods))
	c.ToClient.AddName(nameAllowHeaders, []byte("authorization, content-type"))
	c.ToClient.AddName(nameMaxAge, []byte("600"))
}

// tokenPath is where tokens are asked for, below a Mint filter's prefix.
const tokenPath = "/token"

// endpoints are the other paths there, and who answers at them.
func (m *Minter) endpoints() map[string]Endpoint {
	return map[string]Endpoint{
		"/introspect":                             ownEndpoint{m, true, (*Minter).serveIntrospection},
		"/revoke":                                 ownEndpoint{m, true, (*Minter).serveRevocation},
		"/.well-known/jwks.json":                  ownEndpoint{m, false, (*Minter).serveKeySet},
		"/.well-known/openid-configuration":       ownEndpoint{m, false, (*Minter).serveMetadata},
		"/.well-known/oauth-authorization-server": ownEndpoint{m, false, (*Minter).serveMetadata},
	}
}

// serveKeySet answers with the public keys (RFC 7517 §5).
func (m *Minter) serveKeySet(c *Call) {
	c.Reply = Reply{
		Reason: decision.OwnEndpoint, By: m.by, Status: 200, ContentType: typeJSON,
		Headers: []wire.Add{publicCache}, Body: m.signer.current.Load().set,
	}
}

// Metadata is what clients are told of the endpoints (OpenID Connect Discovery 1.0 §3,
// RFC 8414 §2). There is no authorization endpoint: nobody logs in here by a browser.
type metadata struct {
	Issuer              string   `json:"issuer"`
	Token               string   `json:"token_endpoint"`
	Keys                string   `json:"jwks_uri"`
	Introspection       string   `json:"introspection_endpoint"`
	Revocation          string   `json:"revocation_endpoint"`
	Responses           []string `json:"response_types_supported"`
	Subjects            []string `json:"subject_types_supported"`
	Grants              []string `json:"grant_types_supported"`
	Algorithms          []string `json:"id_token_signing_alg_values_supported"`
	TokenMethods        []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionMethod []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationMethods   []string `json:"revocation_endpoint_auth_methods_supported"`
}

func (m *Minter) serveMetadata(c *Call) {
	base := "http://"
	if c.Secure {
		base = "https://"
	}
	base += strings.ToLower(string(c.Head.Host())) + m.prefix
	secrets := []string{"client_secret_basic", "client_secret_post"}
	m.answer(c, metadata{
		Issuer: m.f.Issuer, Token: base + tokenPath, Keys: base + "/.well-known/jwks.json",
		Introspection: base + "/introspect", Revocation: base + "/revoke",
		Responses: []string{}, Subjects: []string{"public"}, Grants: m.grants(), Algorithms: []string{m.f.Algorithm},
		TokenMethods: append([]string{"none"}, secrets...), IntrospectionMethod: secrets, RevocationMethods: append([]string{"none"}, secrets...),
	})
}
