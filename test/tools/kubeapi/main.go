// Command kubeapi is the real Kubernetes API server with an etcd inside, on loopback, for
// tests. It prints READY and the path of a kubeconfig that may do anything. Started again
// with the same -dir and -port it has kept its objects.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// token is the administrator's.
const token = "admin-token"

func main() {
	dir := flag.String("dir", "", "folder that holds all state; needed")
	port := flag.Int("port", 0, "port of the API, 0 for a free one")
	flag.Parse()
	log.Fatal(serve(*dir, *port))
}

func serve(dir string, port int) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if port == 0 {
		if port, err = freePort(); err != nil {
			return err
		}
	}
	store, err := etcd(filepath.Join(dir, "etcd"))
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	key, err := signingKey(filepath.Join(dir, "sa.key"))
	if err != nil {
		return err
	}
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(token+",admin,admin,system:masters\n"), 0o600); err != nil {
		return err
	}
	certificates := filepath.Join(dir, "certs")
	go announce(dir, port, filepath.Join(certificates, "apiserver.crt"))
	server := app.NewAPIServerCommand()
	server.SetArgs([]string{
		"--etcd-servers=" + store, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + certificates,
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		"--token-auth-file=" + tokens, "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
		"--disable-admission-plugins=ServiceAccount", // nobody makes ServiceAccounts' tokens here
	})
	return server.Execute()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// etcd starts an etcd and returns its address.
func etcd(dir string) (string, error) {
	at := func() (url.URL, error) {
		port, err := freePort()
		return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}, err
	}
	client, err := at()
	if err != nil {
		return "", err
	}
	peer, err := at()
	if err != nil {
		return "", err
	}
	c := embed.NewConfig()
	c.Dir = dir
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.LogLevel = "error"
	c.UnsafeNoFsync = true // what is lost with the machine nobody misses
	e, err := embed.StartEtcd(c)
	if err != nil {
		return "", err
	}
	<-e.Server.ReadyNotify()
	return client.String(), nil
}

// signingKey makes the key of ServiceAccounts' tokens, unless it is there.
func signingKey(path string) (string, error) {
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: test
clusters:
- name: test
  cluster: {server: "https://127.0.0.1:%d", certificate-authority: %q}
users:
- name: admin
  user: {token: %s}
contexts:
- name: test
  context: {cluster: test, user: admin}
`

// announce waits until the server is ready and says so.
func announce(dir string, port int, authority string) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for !ready(client, port) {
		time.Sleep(50 * time.Millisecond)
	}
	path := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(path, fmt.Appendf(nil, kubeconfig, port, authority, token), 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println("READY", path)
}

func ready(client *http.Client, port int) bool {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", port), nil)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
