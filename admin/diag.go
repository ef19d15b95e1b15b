package admin

import (
	"bytes"
	_ "embed"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"legate/config"
	"legate/gateway"
)

// A Certificate is what a Host shows to its clients, or is to show once it is ordered.
type Certificate struct {
	Host      string    `json:"host"`
	Hostname  string    `json:"hostname"`
	Names     []string  `json:"names"`
	Issuer    string    `json:"issuer,omitempty"`
	Serial    string    `json:"serial,omitempty"` // in hexadecimal
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"` // zero as long as there is none
	Source    string    `json:"source,omitempty"`   // Secret, file, ACME, local CA or Workload API
	From      string    `json:"from,omitempty"`     // which of them: a name, a path, a directory
	OCSP      *OCSP     `json:"ocsp,omitempty"`     // nil where nobody is asked about it
	Order     *Order    `json:"order,omitempty"`    // nil where nobody orders it
}

// An OCSP is what a certificate's authority says about it, which handshakes show.
type OCSP struct {
	Status  string    `json:"status,omitempty"` // good, revoked or unknown; "" as long as there is no answer
	Must    bool      `json:"must_staple"`      // clients refuse the certificate without a good one
	Made    time.Time `json:"made,omitzero"`
	Ends    time.Time `json:"ends,omitzero"` // until when it is shown; zero for not
	Refresh time.Time `json:"refresh,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// An Order says how far a certificate has come that is ordered, in the words of the status of
// Ambassador's Hosts.
type Order struct {
	Authority      string    `json:"authority"`
	State          string    `json:"state"` // Pending, Ready or Error
	PhaseCompleted string    `json:"phase_completed"`
	PhasePending   string    `json:"phase_pending,omitempty"`
	Renews         time.Time `json:"renews,omitzero"`
	Error          string    `json:"error,omitempty"`
	ErrorAt        time.Time `json:"error_at,omitzero"`
	Retry          time.Time `json:"retry,omitzero"` // not before
}

// The dashboard is one page, rendered here: it loads nothing and runs nothing.
//
//go:embed diag.html
var page string

// dashboard answers /ambassador/v0/diag/: the page, or with json=true what it shows under
// Ambassador's keys, all of it or that of one filter.
type dashboard struct {
	opts    Options
	page    *template.Template
	started time.Time
}

func newDashboard(opts Options, now time.Time) *dashboard {
	ago := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
	days := func(t time.Time) int { return int(time.Until(t).Hours() / 24) }
	funcs := template.FuncMap{"at": ago, "days": days}
	return &dashboard{opts: opts, page: template.Must(template.New("diag").Funcs(funcs).Parse(page)), started: now}
}

// ServeHTTP implements http.Handler.
func (d *dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := d.opts.State
	if begun := time.Now(); d.opts.Shown != nil {
		defer func() { d.opts.Shown(time.Since(begun)) }()
	}
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case !s.DiagnosticsOpen() && !local(r):
		http.Error(w, "Not found", http.StatusNotFound)
		return
	case s.Generation() == 0:
		http.Error(w, "no configuration serves yet", http.StatusServiceUnavailable)
		return
	}
	if name := strings.TrimPrefix(r.URL.Path, "/ambassador/v0/diag/"); name != "" {
		d.source(w, r, name)
		return
	}
	query := r.URL.Query()
	if level := query.Get("loglevel"); level != "" && d.opts.Level != nil {
		if err := d.opts.Level.UnmarshalText([]byte(level)); err != nil {
			http.Error(w, "loglevel must be debug, info, warn or error", http.StatusBadRequest)
			return
		}
	}
	if query.Get("json") == "true" {
		overview := d.overview()
		var shown any = overview
		if query.Has("filter") {
			shown = overview[query.Get("filter")]
		}
		asJSON(func() any { return shown })(w, r)
		return
	}
	d.show(w, d.view())
}

// show answers with the page.
func (d *dashboard) show(w http.ResponseWriter, v *pageView) {
	var text bytes.Buffer
	if err := d.page.Execute(&text, v); err != nil {
		http.Error(w, "cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text.Bytes()) // who does not read the answer has no use for the error
}

// source answers /ambassador/v0/diag/SOURCE: what there is of one object, by its key in
// the list of errors or as "name.namespace", or of one upstream, by its name.
func (d *dashboard) source(w http.ResponseWriter, r *http.Request, name string) {
	s := d.opts.State
	v := d.view()
	v.Source = name
	routes, _ := s.Routes().([]gateway.RouteView)
	v.Routes = first(v, "routes", slices.DeleteFunc(slices.Clone(routes), func(r gateway.RouteView) bool { return !isSource(name, r.Name) && r.Upstream != name }))
	v.Problems = first(v, "problems", slices.DeleteFunc(Problems(s.Problems()), func(p Problem) bool { return !isSource(name, p.Name+"."+p.Namespace) }))
	asked := map[string]bool{name: true}
	for i := range v.Routes {
		asked[v.Routes[i].Upstream] = true
	}
	v.Upstreams = slices.DeleteFunc(slices.Clone(s.Upstreams()), func(u gateway.UpstreamView) bool { return !asked[u.Name] })
	v.Certificates = slices.DeleteFunc(d.certificates(), func(c Certificate) bool {
		return !isSource(name, strings.ReplaceAll(c.Host, "/", ".")) && c.Hostname != name
	})
	v.Decisions, v.Broken, v.Identity, v.Limits = nil, 0, gateway.IdentityView{}, gateway.LimitsView{}
	for i := range v.Problems {
		if v.Problems[i].Broken {
			v.Broken++
		}
	}
	if len(v.Routes)+len(v.Problems)+len(v.Upstreams)+len(v.Certificates) == 0 {
		http.Error(w, "nothing here has that name", http.StatusNotFound)
		return
	}
	if r.URL.Query().Get("json") == "true" {
		asJSON(func() any {
			return map[string]any{"source": name, "route_info": v.Routes, "problems": v.Problems, "upstreams": v.Upstreams, "certificates": v.Certificates}
		})(w, r)
		return
	}
	d.show(w, v)
}

// isSource reports whether a source is meant that is called name.namespace: it may have
// Ambassador's number behind it.
func isSource(source, name string) bool {
	rest, ok := strings.CutPrefix(source, name)
	return ok && (rest == "" || rest[0] == '.' && strings.Trim(rest[1:], "0123456789") == "")
}

// local reports whether r comes from this machine, and not through a gateway on it.
func local(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && r.Header.Get("X-Forwarded-For") == ""
}

// overview is what the dashboard shows, under the keys that Ambassador's has.
func (d *dashboard) overview() map[string]any {
	s := d.opts.State
	errors, notices := [][2]string{}, []string{}
	for _, p := range s.Problems() {
		if p.Effect == config.Notice {
			notices = append(notices, p.String())
			continue
		}
		key := ""
		if p.Ref.Name != "" {
			key = p.Ref.Name + "." + p.Ref.Namespace + ".1"
		}
		errors = append(errors, [2]string{key, p.String()})
	}
	stats := map[string]any{}
	for _, u := range s.Upstreams() {
		healthy := 0
		for _, e := range u.Endpoints {
			if e.Healthy {
				healthy++
			}
		}
		stats[u.Name] = map[string]any{
			"valid": true, "healthy_members": healthy, "total_members": len(u.Endpoints),
			"upstream_cx_active": u.Active, "upstream_cx_idle": u.Idle, "upstream_cx_total": u.Opened, "upstream_cx_connect_fail": u.Failed,
		}
	}
	return map[string]any{
		"errors": errors, "notices": notices, "system": d.system(), "loginfo": map[string]any{"all": d.level()},
		"envoy_status":  map[string]any{"alive": s.Alive(), "ready": s.Ready(), "uptime": time.Since(d.started).Round(time.Second).String()},
		"cluster_stats": stats, "route_info": s.Routes(), "upstreams": s.Upstreams(), "certificates": d.certificates(), "decisions": s.Decisions(),
		"identity": s.Identity(), "limits": s.Limits(),
	}
}

func (d *dashboard) system() map[string]any {
	return map[string]any{
		"version": d.opts.Version, "go_version": runtime.Version(), "generation": d.opts.State.Generation(),
		"alive": d.opts.State.Alive(), "ready": d.opts.State.Ready(), "config": d.opts.State.Config(),
	}
}

func (d *dashboard) level() string {
	if d.opts.Level == nil {
		return slog.LevelInfo.String()
	}
	return d.opts.Level.Level().String()
}

func (d *dashboard) certificates() []Certificate {
	if d.opts.Certificates == nil {
		return []Certificate{}
	}
	return d.opts.Certificates()
}

// shownAtMost is how many rows of a table the page shows; the rest is in the API.
const shownAtMost = 500

// A pageView is what the page is made of.
type pageView struct {
	Source       string // whose page it is; "" for everything
	Version      string
	Generation   uint64
	Ready, Alive bool
	Level        string
	Uptime       time.Duration
	Problems     []Problem
	Routes       []gateway.RouteView
	Upstreams    []gateway.UpstreamView
	Identity     gateway.IdentityView
	Limits       gateway.LimitsView
	Certificates []Certificate
	Decisions    []gateway.DecisionView
	Left         map[string]int // rows that are not shown, by table
	Broken       int            // Problems that are errors
}

func (d *dashboard) view() *pageView {
	s := d.opts.State
	v := &pageView{
		Version: d.opts.Version, Generation: s.Generation(), Ready: s.Ready(), Alive: s.Alive(), Level: d.level(),
		Uptime: time.Since(d.started).Round(time.Second), Certificates: d.certificates(), Left: map[string]int{},
	}
	routes, _ := s.Routes().([]gateway.RouteView)
	problems := Problems(s.Problems())
	for i := range problems {
		if problems[i].Broken {
			v.Broken++
		}
	}
	v.Problems = first(v, "problems", problems)
	v.Routes = first(v, "routes", routes)
	v.Upstreams = first(v, "upstreams", s.Upstreams())
	v.Decisions = first(v, "decisions", s.Decisions())
	v.Identity = s.Identity()
	v.Limits = s.Limits()
	v.Limits.Limits, v.Limits.Routes = first(v, "limits", v.Limits.Limits), nil
	v.Identity.Rules, v.Identity.KeySets = first(v, "rules", v.Identity.Rules), first(v, "key_sets", v.Identity.KeySets)
	return v
}

// first returns as much of a table as the page shows, and notes how much it leaves out.
func first[T any](v *pageView, table string, rows []T) []T {
	if len(rows) > shownAtMost {
		v.Left[table] = len(rows) - shownAtMost
		return rows[:shownAtMost]
	}
	return rows
}
