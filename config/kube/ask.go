package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"
)

// An Asker asks an API server single questions, with the gateway's own credentials. It may
// be used by several goroutines at once.
type Asker struct {
	server *url.URL
	client *http.Client
}

// NewAsker returns an Asker for the API server that kubeconfig, the variable's value, leads
// to; "" for that of the cluster around us. It asks nobody yet.
func NewAsker(kubeconfig string) (*Asker, error) {
	c, err := connect(kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	server, _, err := rest.DefaultServerUrlFor(c)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return &Asker{server, client}, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Ask sends a request and returns the answer. An error says that there is none, and holds
// nothing of body.
func (a *Asker) Ask(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, a.server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("API server: %w", err)
	}
	r.Header.Set("Accept", "application/json, */*") // keys are of a type of their own
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("API server: %w", err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("API server: %w", err)
	case len(answer) > maxAnswer:
		return 0, nil, fmt.Errorf("API server: its answer is longer than %d bytes", maxAnswer)
	}
	return resp.StatusCode, answer, nil
}
