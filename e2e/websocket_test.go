package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

const (
	hugeMessage = 16 << 20
	closeCode   = 4321 // of the range that applications own
	closeText   = "that is all, thank you"
)

// A chatter is one side of a WebSocket, whoever wrote it.
type chatter interface {
	send(binary bool, message []byte) error // in fragments
	receive() (binary bool, message []byte, err error)
	ping() error // until it is answered
	end() error  // closes with closeCode and closeText
	drop()
}

// closed reports whether err is the end that the other side's end means.
func closed(err error) bool {
	var g *gorilla.CloseError
	var c coder.CloseError
	return errors.As(err, &g) && g.Code == closeCode && g.Text == closeText ||
		errors.As(err, &c) && int(c.Code) == closeCode && c.Reason == closeText
}

// chatEcho sends every message back, then what it was asked to say: "bye" is answered by
// closing, and "ping" by a ping first.
func chatEcho(c chatter) {
	for {
		binary, message, err := c.receive()
		switch {
		case err != nil:
			c.drop()
			return
		case string(message) == "bye":
			_ = c.end() // the client judges what it sees of it
			return
		}
		if c.send(binary, message) != nil {
			return
		}
	}
}

// fragment is how much of a message one frame holds.
const fragment = 4096

type coderChatter struct{ *coder.Conn }

func (c coderChatter) send(binary bool, message []byte) error {
	kind := coder.MessageText
	if binary {
		kind = coder.MessageBinary
	}
	w, err := c.Writer(context.Background(), kind)
	if err != nil {
		return err
	}
	if err := pieces(w, message); err != nil {
		return err
	}
	return w.Close()
}

// pieces writes message in several parts, which both libraries send as frames of their own.
func pieces(w io.Writer, message []byte) error {
	for len(message) > fragment {
		if _, err := w.Write(message[:fragment]); err != nil {
			return err
		}
		message = message[fragment:]
	}
	_, err := w.Write(message)
	return err
}

func (c coderChatter) receive() (bool, []byte, error) {
	kind, message, err := c.Read(context.Background())
	return kind == coder.MessageBinary, message, err
}

func (c coderChatter) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { // pongs come to who reads
		defer close(done)
		_, _, _ = c.Read(ctx)
	}()
	err := c.Ping(ctx)
	if err == nil {
		err = c.send(false, []byte("end of the reading"))
	}
	<-done
	return err
}

func (c coderChatter) end() error { return c.Close(closeCode, closeText) }
func (c coderChatter) drop()      { _ = c.CloseNow() }

type gorillaChatter struct{ *gorilla.Conn }

func (c gorillaChatter) send(binary bool, message []byte) error {
	kind := gorilla.TextMessage
	if binary {
		kind = gorilla.BinaryMessage
	}
	w, err := c.NextWriter(kind)
	if err != nil {
		return err
	}
	if err := pieces(w, message); err != nil {
		return err
	}
	return w.Close()
}

func (c gorillaChatter) receive() (bool, []byte, error) {
	kind, message, err := c.ReadMessage()
	return kind == gorilla.BinaryMessage, message, err
}

func (c gorillaChatter) ping() error {
	pong := make(chan string, 1)
	c.SetPongHandler(func(data string) error { pong <- data; return nil })
	if err := c.WriteControl(gorilla.PingMessage, []byte("are you there"), time.Now().Add(20*time.Second)); err != nil {
		return err
	}
	if err := c.send(false, []byte("end of the reading")); err != nil {
		return err
	}
	if _, _, err := c.receive(); err != nil { // pongs come to who reads
		return err
	}
	if data := <-pong; data != "are you there" {
		return fmt.Errorf("pong with %q", data)
	}
	return nil
}

func (c gorillaChatter) end() error {
	if err := c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(closeCode, closeText)); err != nil {
		return err
	}
	_, _, err := c.receive() // the library answers with the code and without the text
	c.drop()
	if answer, ok := errors.AsType[*gorilla.CloseError](err); !ok || answer.Code != closeCode {
		return fmt.Errorf("the close was answered with %w", err)
	}
	return nil
}

func (c gorillaChatter) drop() { _ = c.Conn.Close() }

// chatServers are services that echo messages, by library.
var chatServers = map[string]http.HandlerFunc{
	"coder": func(w http.ResponseWriter, r *http.Request) {
		c, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"chat.v2"}, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		c.SetReadLimit(2 * hugeMessage)
		chatEcho(coderChatter{c})
	},
	"gorilla": func(w http.ResponseWriter, r *http.Request) {
		u := gorilla.Upgrader{Subprotocols: []string{"chat.v2"}, ReadBufferSize: fragment, WriteBufferSize: fragment, CheckOrigin: func(*http.Request) bool { return true }}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		chatEcho(gorillaChatter{c})
	},
}

// chatClients dial the gateway, by library; they agree on a subprotocol.
var chatClients = map[string]func(url string) (chatter, string, error){
	"coder": func(url string) (chatter, string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		c, resp, err := coder.Dial(ctx, url, &coder.DialOptions{Host: defaultHost, Subprotocols: []string{"chat.v1", "chat.v2"},
			HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: chatTLS()}}})
		if err != nil {
			return nil, "", err
		}
		c.SetReadLimit(2 * hugeMessage)
		return coderChatter{c}, resp.Header.Get("Sec-WebSocket-Protocol"), nil
	},
	"gorilla": func(url string) (chatter, string, error) {
		d := gorilla.Dialer{TLSClientConfig: chatTLS(), Subprotocols: []string{"chat.v1", "chat.v2"}, HandshakeTimeout: 30 * time.Second, WriteBufferSize: fragment}
		c, resp, err := d.Dial(url, http.Header{"Host": {defaultHost}})
		if err != nil {
			return nil, "", err
		}
		return gorillaChatter{c}, resp.Header.Get("Sec-WebSocket-Protocol"), nil
	},
}

func chatTLS() *tls.Config {
	return &tls.Config{RootCAs: authority.pool, ServerName: defaultHost, NextProtos: []string{"http/1.1"}}
}

// chatWorld routes /x/ to a chat server, over TLS too.
func chatWorld(t testing.TB, up string, more ...string) string {
	t.Helper()
	return everyone + authority.issue(t, defaultHost).secret("cert") + tlsHost("gate", defaultHost, "cert", route) +
		mapping("x", "/x/", up, append(more, "allow_upgrade: [websocket]")...)
}

// Two WebSocket libraries, as clients and as services, in the clear and over TLS, see of
// each other what they would see without a gateway between them.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	for serverName, server := range chatServers {
		g := start(t, setup{manifests: chatWorld(t, serve(t, server))})
		for clientName, dial := range chatClients {
			for scheme, addr := range map[string]string{"ws": g.clear, "wss": g.secure} {
				t.Run(clientName+" asks "+serverName+" over "+scheme, func(t *testing.T) {
					from := g.log.size()
					id := strconv.Itoa(from)
					c, protocol, err := dial(scheme + "://" + addr + "/x/" + id)
					must(t, err)
					if protocol != "chat.v2" {
						t.Errorf("agreed on subprotocol %q", protocol)
					}
					total := chat(t, c)
					rec := g.log.next(t, from, func(r *record) bool { return r.Path == "/x/"+id })
					if rec.verdict != (verdict{"proxy", "", 101}) || rec.BytesIn < total || rec.BytesOut < total || (rec.TLS != "") != (scheme == "wss") {
						t.Errorf("%d bytes of messages, record %+v", total, rec)
					}
				})
			}
		}
	}
}

// chat tries what a WebSocket can do and ends it. It returns how many bytes went each way.
func chat(t testing.TB, c chatter) (total int64) {
	t.Helper()
	huge := make([]byte, hugeMessage)
	for i := range huge {
		huge[i] = byte(i * 7 >> 3)
	}
	for _, m := range []struct {
		binary  bool
		message []byte
	}{{false, []byte("hello")}, {true, []byte{0, 255, 129}}, {false, nil}, {false, bytes.Repeat([]byte("ä"), 3*fragment)}, {true, huge}} {
		must(t, c.send(m.binary, m.message))
		binary, message, err := c.receive()
		must(t, err)
		if binary != m.binary || !bytes.Equal(message, m.message) {
			t.Fatalf("sent %d bytes (binary %v), got %d (binary %v)", len(m.message), m.binary, len(message), binary)
		}
		total += int64(len(message))
	}
	must(t, c.ping())
	must(t, c.send(false, []byte("bye")))
	if _, _, err := c.receive(); !closed(err) {
		t.Errorf("the end is %v, want close code %d", err, closeCode)
	}
	c.drop()
	return total
}

// The client's close comes to the service as it was said, and its answer comes back.
func TestWebSocketClosedByClient(t *testing.T) {
	t.Parallel()
	saw := make(chan error, 1)
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := gorilla.Upgrader{}
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			saw <- err
			return
		}
		defer c.Close()
		_, _, err = c.ReadMessage()
		saw <- err
	}))
	g := start(t, setup{manifests: chatWorld(t, up)})
	c, _, err := chatClients["gorilla"]("ws://" + g.clear + "/x/")
	must(t, err)
	must(t, c.end())
	if err := <-saw; !closed(err) {
		t.Errorf("the service saw %v", err)
	}
}

// A thousand WebSockets stay up while the configuration changes two hundred times, and
// every one of them can be used all the time.
func TestWebSocketsThroughSwaps(t *testing.T) {
	conns, swaps := 1000, 200
	if testing.Short() {
		conns, swaps = 100, 20
	}
	up := serve(t, chatServers["coder"])
	world := func(n int) string {
		return chatWorld(t, up, "timeout_ms: 25000", fmt.Sprintf("rewrite: /g%d/", n)) + mapping(fmt.Sprintf("extra-%d", n), fmt.Sprintf("/extra-%d/", n), up)
	}
	g := start(t, setup{args: []string{"--log-level", "warn"}, manifests: world(0)})
	var stop atomic.Bool
	var open, rest sync.WaitGroup
	var said atomic.Int64
	open.Add(conns)
	failures := make(chan error, conns)
	dialing := make(chan struct{}, 50) // at a time
	for i := range conns {
		rest.Go(func() {
			name := "coder"
			if i%2 == 1 {
				name = "gorilla"
			}
			dialing <- struct{}{}
			c, _, err := chatClients[name]("ws://" + g.clear + "/x/")
			<-dialing
			open.Done()
			if err != nil {
				failures <- err
				return
			}
			defer c.drop()
			for n := 0; !stop.Load(); n++ {
				message := fmt.Sprintf("message %d of %d", n, i)
				if err := c.send(false, []byte(message)); err != nil {
					failures <- fmt.Errorf("connection %d, message %d: %w", i, n, err)
					return
				}
				if _, got, err := c.receive(); err != nil || string(got) != message {
					failures <- fmt.Errorf("connection %d, message %d: got %q, %w", i, n, got, err)
					return
				}
				said.Add(1)
				time.Sleep(time.Duration(200+rand.IntN(800)) * time.Millisecond) // a WebSocket rests most of its life
			}
		})
	}
	open.Wait()
	for n := 1; n <= swaps && len(failures) == 0; n++ {
		g.replace(world(n))
	}
	if _, metrics := g.operator("/metrics"); !strings.Contains(metrics, fmt.Sprintf("legate_upgrades_active{route=\"x.default\"} %d\n", conns)) {
		t.Errorf("legate_upgrades_active is not %d", conns)
	}
	stop.Store(true)
	rest.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	eventually(t, 20*time.Second, "every WebSocket has its record", func() bool { return g.log.count(verdict{"proxy", "", 101}) >= conns })
	t.Logf("%d messages on %d WebSockets through %d swaps", said.Load(), conns, swaps)
}

// A drain waits for tunnels, and at its deadline they end: in order, on both sides.
func TestDrainOfTunnels(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			up := raw(t, func(s *service) {
				s.request()
				s.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, err := io.Copy(s, s.r)
				ended <- err
			})
			g := start(t, setup{args: []string{"--drain-timeout", "1s"}, manifests: chatWorld(t, up)})
			from := g.log.size()
			c, err := g.dial(t, request{secure: secure})
			must(t, err)
			defer c.Close()
			must(t, second(io.WriteString(c, "GET /x/ HTTP/1.1\r\nHost: gate.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")))
			resp, err := c.head("GET")
			must(t, err)
			if resp.StatusCode != 101 {
				t.Fatalf("status %d", resp.StatusCode)
			}
			g.signal(syscall.SIGTERM)
			g.errors.await(t, `"msg":"draining"`)
			must(t, second(io.WriteString(c, "still"))) // what is open can be used
			b := make([]byte, 5)
			must(t, second(io.ReadFull(c.r, b)))
			if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
				t.Errorf("the client's end: %q, %v", b, err)
			}
			if err := <-ended; err != nil {
				t.Errorf("the service's end: %v", err)
			}
			rec := g.log.next(t, from, func(r *record) bool { return r.Path == "/x/" })
			if rec.verdict != (verdict{"proxy", "draining", 101}) || rec.BytesIn != 5 || rec.BytesOut != 5 {
				t.Errorf("record %+v", rec)
			}
			if status := g.exit(t); status != 1 {
				t.Errorf("exit status %d, want 1: it was cut short", status)
			}
		})
	}
}
