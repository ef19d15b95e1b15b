package gateway

import (
	"net/netip"
	"sync"
	"time"

	"legate/decision"
)

// recentSize is how many requests are remembered.
const recentSize = 256

// A recent remembers the last requests that a stage ended for a reason. Those that the
// upstream answered, and with which nothing was amiss, pay one comparison for it.
type recent struct {
	mu    sync.Mutex
	ring  [recentSize]remembered
	count uint64 // ever
}

// A remembered is what is kept of a request: as in the access log no query, header or
// body is among it. Texts of the client's are cut to what fits.
type remembered struct {
	at     time.Time
	record decision.Record
	route  string
	client netip.Addr

	method    [16]byte
	host      [128]byte
	path      [256]byte
	requestID [36]byte

	methodLen, hostLen, pathLen, idLen int
}

// note remembers x. Budget: 0 allocs.
func (r *recent) note(x *Exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &r.ring[r.count%recentSize]
	r.count++
	m.at, m.record, m.route, m.client = x.Now, x.Decision, x.Route.name, x.Client
	m.record.Err = nil // it may hold on to what is used again
	m.methodLen, m.hostLen = copy(m.method[:], x.Req.MethodName()), copy(m.host[:], x.Req.Host())
	m.pathLen, m.idLen = copy(m.path[:], x.path), copy(m.requestID[:], x.requestID)
}

// A DecisionView is a request that a stage ended for a reason.
type DecisionView struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id,omitempty"`
	Method    string    `json:"method"`
	Host      string    `json:"host"`
	Path      string    `json:"path"`
	Status    uint16    `json:"status"`
	Stage     string    `json:"stage"`
	Reason    string    `json:"reason"`
	By        string    `json:"by,omitempty"`
	Route     string    `json:"route,omitempty"`
	ClientIP  string    `json:"client_ip,omitempty"`
}

// Decisions returns the last requests that a stage ended for a reason, the latest first.
func (g *Gateway) Decisions() []DecisionView {
	r := &g.recent
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]DecisionView, 0, min(r.count, recentSize))
	for i := range min(r.count, recentSize) {
		m := &r.ring[(r.count-1-i)%recentSize]
		v := DecisionView{
			Time: m.at.UTC(), RequestID: string(m.requestID[:m.idLen]), Method: string(m.method[:m.methodLen]),
			Host: string(m.host[:m.hostLen]), Path: string(m.path[:m.pathLen]), Status: m.record.Status,
			Stage: m.record.Ended.String(), Reason: m.record.Reason().String(), By: m.record.By, Route: m.route,
		}
		if m.client.IsValid() {
			v.ClientIP = m.client.WithZone("").String()
		}
		list = append(list, v)
	}
	return list
}
