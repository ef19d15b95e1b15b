package main

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// The fourth contestant: what one gets from net/http, tuned as well as its knobs
// allow. It logs every request as JSON, as the others do.

func reverseProxyMain(args []string) error {
	fs := flag.NewFlagSet("reverseproxy", flag.ExitOnError)
	addr := fs.String("http", "", "cleartext address")
	tlsAddr := fs.String("tls", "", "TLS address")
	tcpAddr := fs.String("tcp", "", "address whose bytes are forwarded as they are")
	upstream := fs.String("upstream", "", "upstream's address")
	calls := fs.String("calls", "", "address of the upstream for gRPC")
	pours := fs.String("pours", "", "address of the upstream for bytes")
	prefix := fs.String("prefixes", "", "comma-separated prefixes, removed before forwarding")
	called := fs.String("called", "", "prefix of gRPC")
	cert, key := fs.String("cert", "", "certificate file"), fs.String("key", "", "key file")
	_ = fs.Parse(args)

	mux := http.NewServeMux()
	proxy := newReverseProxy(*upstream, false)
	for p := range splitList(*prefix) {
		mux.Handle(p, http.StripPrefix(p[:len(p)-1], proxy))
	}
	mux.Handle(*called, newReverseProxy(*calls, true))
	h := &loggedHandler{next: mux, out: bufio.NewWriterSize(os.Stdout, 64<<10)}
	go h.flushEverySecond()
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		return err
	}
	s := &http.Server{
		Handler: h, IdleTimeout: 10 * time.Minute, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}},
	}
	failed := make(chan error, 3)
	go func() { failed <- listen(*addr, s.Serve) }()
	go func() { failed <- listen(*tlsAddr, func(l net.Listener) error { return s.ServeTLS(l, "", "") }) }()
	go func() { failed <- listen(*tcpAddr, func(l net.Listener) error { return forward(l, *pours) }) }()
	return <-failed
}

func listen(addr string, serve func(net.Listener) error) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return serve(l)
}

// forward copies bytes both ways between each connection to l and one to upstream.
func forward(l net.Listener, upstream string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", upstream)
			if err != nil {
				return
			}
			defer up.Close()
			go copyOneWay(up.(*net.TCPConn), c)
			copyOneWay(c.(*net.TCPConn), up)
		}()
	}
}

// copyOneWay carries the end of src over to dst. io.Copy lets the kernel move the
// bytes between two TCP connections.
func copyOneWay(dst *net.TCPConn, src net.Conn) {
	_, _ = io.Copy(dst, src)
	_ = dst.CloseWrite()
}

// newReverseProxy speaks HTTP/1.1 to upstream, or HTTP/2 in the clear.
func newReverseProxy(upstream string, h2c bool) *httputil.ReverseProxy {
	target := &url.URL{Scheme: "http", Host: upstream}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		BufferPool: &copyBuffers{},
		Transport: &http.Transport{
			MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 10 * time.Minute,
			DisableCompression: true, Protocols: protocols, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
		},
	}
}

type copyBuffers struct{ pool sync.Pool }

func (b *copyBuffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

func (b *copyBuffers) Put(p []byte) { b.pool.Put(&p) }

type loggedHandler struct {
	next http.Handler
	mu   sync.Mutex
	out  *bufio.Writer
}

func (h *loggedHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, path := time.Now(), r.URL.Path
	noted := &notedWriter{ResponseWriter: w}
	h.next.ServeHTTP(noted, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintf(h.out, `{"time":%q,"method":%q,"host":%q,"path":%q,"protocol":%q,"status":%d,"duration_ms":%.3f,"bytes_out":%d,"client_ip":%q,"tls":%t}`+"\n",
		start.Format(time.RFC3339Nano), r.Method, r.Host, path, r.Proto, noted.status, float64(time.Since(start).Microseconds())/1000,
		noted.bytes, r.RemoteAddr, r.TLS != nil)
}

func (h *loggedHandler) flushEverySecond() {
	for range time.Tick(time.Second) {
		h.mu.Lock()
		_ = h.out.Flush()
		h.mu.Unlock()
	}
}

// notedWriter remembers what was answered.
type notedWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *notedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *notedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets ReverseProxy reach the connection's own Flush.
func (w *notedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
