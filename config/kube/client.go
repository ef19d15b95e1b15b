package kube

import (
	"errors"
	"fmt"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// connect finds the API server as kubectl does: from the files that KUBECONFIG lists, else
// from the ServiceAccount of the pod that this runs in, else from the home folder. It asks
// nobody yet. kubeconfig is the variable's value.
func connect(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err == nil {
			return tuned(c), nil
		}
		if !errors.Is(err, rest.ErrNotInCluster) {
			return nil, fmt.Errorf("API server: %w", err)
		}
	} else {
		rules.ExplicitPath, rules.Precedence = "", filepath.SplitList(kubeconfig)
	}
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return tuned(c), nil
}

// tuned allows a few more requests than a client's defaults, which are meant for people:
// each kind is a request or two at the start, and the server has limits of its own.
func tuned(c *rest.Config) *rest.Config {
	c.QPS, c.Burst = 50, 100
	c.UserAgent = "legate"
	return c
}
