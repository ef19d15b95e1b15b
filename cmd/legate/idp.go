package main

import (
	"net/http"
	"net/url"

	"legate/devidp"
)

// devIssuer is the identity provider of legate dev. It is on the admin port, which as
// little as itself is for anybody but this machine; manifests reach it by this name
// wherever the admin port is, browsers only where it has its usual number.
const devIssuer = "http://localhost:8877/idp"

// devClient is how the example calls itself towards the provider, which knows no others
// and lets in whoever asks.
const devClient = "legate-dev"

// identityProvider returns the provider and the path that it answers below.
func identityProvider() (map[string]http.Handler, error) {
	issuer, err := url.Parse(devIssuer)
	if err != nil {
		return nil, err
	}
	p, err := devidp.New(devidp.Options{Issuer: devIssuer})
	if err != nil {
		return nil, err
	}
	return map[string]http.Handler{issuer.Path + "/": http.StripPrefix(issuer.Path, p)}, nil
}
