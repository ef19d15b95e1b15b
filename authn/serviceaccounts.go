package authn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"legate/config"
	"legate/decision"
)

// A Cluster is a Kubernetes API server, as far as the tokens of its ServiceAccounts go. It
// may be used by several goroutines at once.
type Cluster interface {
	// Ask sends a request with the gateway's own credentials and returns the answer. An
	// error says that there is none.
	Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error)
}

const (
	// clusterKeys is where API servers publish the keys of their ServiceAccounts' tokens,
	// wherever their discovery document says that others find them.
	clusterKeys = "https://kubernetes.default.svc/openid/v1/jwks"
	reviewPath  = "/apis/authentication.k8s.io/v1/tokenreviews"

	accountPrefix = "system:serviceaccount:"

	reviewedFor   = 2 * time.Minute  // a token is not looked at again; as long as API servers remember one themselves
	unreviewedFor = 10 * time.Second // the same while the API server does not answer
)

// A clusterClient is a Cluster as a client of net/http sees it.
type clusterClient struct{ cluster Cluster }

// RoundTrip sends r, without its host and header.
func (a clusterClient) RoundTrip(r *http.Request) (*http.Response, error) {
	status, text, err := a.cluster.Ask(r.Context(), r.Method, r.URL.Path, nil)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)), Request: r,
	}, nil
}

// Accounts recognise ServiceAccounts by their tokens: by the cluster's keys, and by its word
// that the token's pod and account are still there.
type accounts struct {
	*verifier
	audience string
	cluster  Cluster
	deps     *Deps
	alone    atomic.Bool // the API server was not asked the last time, which was told
}

// newAccounts makes what recognises the tokens that c asks for.
func newAccounts(by string, c *config.KubernetesTokens, sets *keySets, d *Deps) (*accounts, error) {
	v, err := newKeyless(by, &config.JWTFilter{
		JWKSURI: clusterKeys, Audiences: []string{c.Audience}, RequireAudience: true, RequireIssuer: true,
		ExpiresAt: config.ClaimRule{Required: true}, NotBefore: config.ClaimRule{Leeway: clocksDiffer}, IssuedAt: config.ClaimRule{Leeway: clocksDiffer},
	}, nil, d)
	if err != nil {
		return nil, err
	}
	v.keys = sets.cluster()
	return &accounts{verifier: v, audience: c.Audience, cluster: d.Cluster, deps: d}, nil
}

var (
	failVouch   = refuse(decision.TokenInvalid, unverifiable, "the cluster does not know the token")
	failGone    = refuse(decision.TokenRevoked, unverifiable, "the cluster does not vouch for the token any more")
	failNotHere = refuse(decision.TokenAudience, wrongAudience, "the token is for others, by the cluster's word")
)

// judge returns the ServiceAccount that a token speaks of, and when that is to be asked
// again. A token that the cluster's keys refuse costs the API server nothing. Either the
// keys or the API server may be out of reach: what the other one says counts.
func (a *accounts) judge(c *Call, raw string, now time.Time) (j judged, f *failure) {
	known, generation, lapse, f := a.look(c, raw, now)
	if f != nil && f.reason != decision.KeySetUnavailable {
		return j, f
	}
	if known != nil {
		j = judged{known.Identity, lapse, a.keys.generation, generation}
	}
	r, err := a.review(c, raw)
	switch {
	case err != nil && f != nil:
		f.err = errors.Join(f.err, err)
		return j, f
	case err != nil:
		if !a.alone.Swap(true) {
			a.deps.Log.Warn("tokens of ServiceAccounts are believed by the cluster's keys alone", "filter", a.by, "error", err)
		}
		j.lapse = sooner(lapse, now.Add(unreviewedFor))
		return j, nil
	}
	a.alone.Store(false)
	switch {
	case !r.Authenticated && known != nil:
		return j, failGone
	case !r.Authenticated:
		return j, failVouch
	case !slices.Contains(r.Audiences, a.audience):
		return j, failNotHere
	case known == nil:
		var ok bool
		if j.identity, j.lapse, ok = unverified(a.by, raw, now); !ok {
			return j, failVouch
		}
	}
	if j.identity.Subject != r.User.Username || !strings.HasPrefix(j.identity.Subject, accountPrefix) {
		return j, failVouch
	}
	j.lapse = sooner(j.lapse, now.Add(reviewedFor))
	return j, nil
}

// sooner returns the earlier of two times.
func sooner(a, b time.Time) time.Time {
	if !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// A reviewed is what an API server says of a token.
type reviewed struct {
	Authenticated bool     `json:"authenticated"`
	Audiences     []string `json:"audiences"`
	User          struct {
		Username string `json:"username"`
	} `json:"user"`
}

// review asks the API server about a token, of c, which may be nil. An error says that it has no opinion.
func (a *accounts) review(c *Call, raw string) (*reviewed, error) {
	type spec struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	}
	question, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       spec   `json:"spec"`
	}{"authentication.k8s.io/v1", "TokenReview", spec{raw, []string{a.audience}}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.wait(waitTime, a.deps.Clock()))
	defer cancel()
	status, text, err := a.cluster.Ask(ctx, http.MethodPost, reviewPath, question)
	if err != nil {
		return nil, fmt.Errorf("review token: %w", err)
	}
	var answer struct {
		Kind   string    `json:"kind"`
		Status *reviewed `json:"status"`
	}
	switch {
	case status != http.StatusCreated && status != http.StatusOK:
		return nil, fmt.Errorf("review token: the API server answers with status %d", status)
	case json.Unmarshal(text, &answer) != nil || answer.Kind != "TokenReview" || answer.Status == nil:
		return nil, errors.New("review token: the API server's answer is no TokenReview")
	}
	return answer.Status, nil
}
