package kube

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"legate/config"
)

// manager owns the fields that we write.
const manager = "legate"

// lookAgain is how often it is found out anew how it stands with objects that did not
// change: whether services have endpoints changes by itself.
const lookAgain = 10 * time.Second

// breath is how long a change that was applied waits to be told: it may have to serve first,
// and where others follow they are told together.
const breath = 200 * time.Millisecond

// A Teller writes what becomes of objects into their status, if it leads.
type Teller struct {
	source  *Source
	client  *dynamic.DynamicClient // with a limit of its own
	lease   *lease
	outcome func() Outcome
	states  bool // Mappings get a state too, as Ambassador's

	wake    chan struct{}
	now     func() time.Time
	applied atomic.Pointer[Mark]
	sent    map[string]sent
	silent  map[string]time.Time // what may not be written, and since when
	row     int                  // objects of a kind in a row whose status was refused
}

// A sent is what was last written of an object, and which one it was.
type sent struct {
	stamp   stamp
	text    string
	said    status
	at      time.Time
	refused int // how often in a row it was
}

// A Mark is a set that was yielded, for who wants to tell later what became of it.
type Mark struct {
	kinds []marked
}

type marked struct {
	resource resource
	entries  []*entry
}

// Mark returns the set that serves next. To be called before it is applied.
func (s *Source) Mark() *Mark {
	m := &Mark{}
	for _, f := range s.list() {
		if f.core && f.kind != "Ingress" {
			continue
		}
		list, _ := f.store.entries()
		m.kinds = append(m.kinds, marked{resource: f.served(), entries: list})
	}
	return m
}

// TellOptions say what is told by whom.
type TellOptions struct {
	Identity string // of this process among its replicas
	Lease    string // name of the Lease by which they choose who tells
	// States adds the state that Ambassador writes into the status of Mappings.
	States bool
	// Outcome returns how it stands with what serves now.
	Outcome func() Outcome
}

// Teller returns one for s.
func (s *Source) Teller(opts TellOptions) *Teller {
	return &Teller{
		source: s, client: s.writer, outcome: opts.Outcome, states: opts.States,
		lease: &lease{
			client: s.writer.Resource(leases).Namespace(s.opts.Decode.Namespace),
			name:   opts.Lease, identity: opts.Identity, log: s.opts.Log,
		},
		wake: make(chan struct{}, 1), now: time.Now, sent: map[string]sent{}, silent: map[string]time.Time{},
	}
}

// Leads reports whether this process leads its replicas.
func (t *Teller) Leads() bool { return t.lease.held() }

// Applied has it told what became of the marked set, now that it serves.
func (t *Teller) Applied(m *Mark) {
	t.applied.Store(m)
	wake(t.wake)
}

// Run tells until ctx is done.
func (t *Teller) Run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.lease.keep(ctx, func() { wake(t.wake) })
	}()
	defer func() { <-ended }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(breath):
			}
		case <-time.After(lookAgain):
		}
		m := t.applied.Load()
		if m == nil || !t.Leads() {
			clear(t.sent) // who leads next may write something else
			continue
		}
		t.tell(ctx, m)
	}
}

// tell writes what differs from what objects say already.
func (t *Teller) tell(ctx context.Context, m *Mark) {
	o := t.outcome()
	problems := byObject(o.Problems)
	kept := make(map[string]sent, len(t.sent))
	for i := range m.kinds {
		k := &m.kinds[i]
		t.row = 0
		for _, e := range k.entries {
			if ctx.Err() != nil || !t.Leads() || t.applied.Load() != m {
				return
			}
			now := t.source.current(&k.resource, e)
			name := Name{e.namespace, e.name}
			switch {
			case now == nil:
			case k.resource.kind == "Ingress" && o.Ingresses[name]:
				t.address(ctx, &k.resource, now)
			case k.resource.kind == "Ingress", len(e.objects) == 0, !t.source.opts.Select.Owns(e.objects[0].IDs):
			default:
				t.status(ctx, &k.resource, now, judged(k.resource.kind, name, e.stamp.generation, e.rules(), problems[subject{k.resource.kind, name}], &o, t.states))
			}
			key := t.key(&k.resource, e)
			if s, ok := t.sent[key]; ok {
				kept[key] = s
			}
		}
	}
	t.sent = kept
}

// A subject is an object of the API server, by what Problems say of it.
type subject struct {
	kind string
	Name
}

// byObject returns the Problems of each object of the API server: not those of files' objects,
// and not those of a part of one. Those of one object lie side by side, and are not copied.
func byObject(problems []config.Problem) map[subject][]config.Problem {
	of := make(map[subject][]config.Problem, len(problems))
	for i := 0; i < len(problems); {
		ref, begin := &problems[i].Ref, i
		for i++; i < len(problems) && problems[i].Ref == *ref; {
			i++
		}
		if ref.Name == "" || ref.File != "" || ref.Within != "" {
			continue
		}
		o := subject{ref.Kind, Name{ref.Namespace, ref.Name}}
		if before := of[o]; before != nil {
			of[o] = append(before, problems[begin:i]...)
		} else {
			of[o] = problems[begin:i:i]
		}
	}
	return of
}

// current returns e as it is now, nil if it has gone or is another.
func (s *Source) current(r *resource, e *entry) *entry {
	s.mu.Lock()
	f := s.following[r.name()]
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	now := f.store.find(e.key())
	if now == nil || now.stamp.uid != e.stamp.uid {
		return nil
	}
	return now
}

// status writes want into e's status, and tells of it in an Event where e comes to serve or
// does not any more.
func (t *Teller) status(ctx context.Context, r *resource, e *entry, want status) {
	differs := want.since(&e.status, t.now())
	if was := t.sent[t.key(r, e)]; was.stamp.uid == e.stamp.uid {
		want.again(&was.said)
	}
	if !differs || t.stays(r, "status") {
		return
	}
	text, err := json.Marshal(want)
	if err != nil || !t.differs(r, e, string(text), want) {
		return
	}
	object := map[string]any{}
	if err := json.Unmarshal(text, &object); err != nil {
		return
	}
	if t.write(ctx, r, e, object) {
		t.event(ctx, r, e, &want)
	}
}

// rules returns how many rules e has, if it is a FilterPolicy that can be read.
func (e *entry) rules() int {
	if policy, ok := e.objects[0].Value.(*config.FilterPolicy); ok {
		return len(policy.Rules)
	}
	return 0
}

func (t *Teller) key(r *resource, e *entry) string { return r.name() + "/" + e.key() }

// sayAgain is how long what was written is left alone although it is not there: somebody else
// has written over it, or the kind has no room for it. Who answers at once begins a quarrel
// that another's controller never ends.
const sayAgain = 5 * time.Minute

// differs notes that text is to be written, and reports whether it is: what was written last
// is not again soon, and where that was refused nothing is before the object changes or some
// time has passed.
func (t *Teller) differs(r *resource, e *entry, text string, said status) bool {
	key := t.key(r, e)
	was, now := t.sent[key], t.now()
	switch {
	case was.stamp.uid != e.stamp.uid:
		was = sent{}
	case was.refused > 0 && was.stamp == e.stamp && now.Sub(was.at) < holdOff<<min(was.refused-1, 6):
		return false
	case was.refused == 0 && was.text == text && now.Sub(was.at) < sayAgain:
		return false
	}
	t.sent[key] = sent{stamp: e.stamp, text: text, said: said, at: now, refused: was.refused}
	return true
}

// errNoStatus is why a kind is not told.
var errNoStatus = errors.New("the kind has no status of its own")

// write applies a status to e, and reports whether it did.
func (t *Teller) write(ctx context.Context, r *resource, e *entry, object map[string]any) bool {
	version, key := r.tells(e.stamp.version), t.key(r, e)
	if version == "" {
		delete(t.sent, key)
		t.rests(r, "status", errNoStatus)
		return false
	}
	gvr := r.at(version)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvr.GroupVersion().String(), "kind": r.kind,
		"metadata": map[string]any{"name": e.name, "namespace": e.namespace, "uid": e.stamp.uid},
		"status":   object,
	}}
	_, err := t.client.Resource(gvr).Namespace(e.namespace).ApplyStatus(ctx, e.name, u, metav1.ApplyOptions{FieldManager: manager, Force: true})
	s := t.sent[key]
	if err == nil {
		s.refused, t.row = 0, 0
		t.sent[key] = s
		return true
	}
	switch {
	case ctx.Err() != nil, apierrors.IsConflict(err), apierrors.IsNotFound(err): // it is another one by now, or none
		delete(t.sent, key)
	case ofAll(err):
		delete(t.sent, key)
		t.rests(r, "status", err)
	default:
		s.refused++
		t.sent[key] = s
		t.refused(r, e, err)
	}
	return false
}

// ofAll reports whether err is about a whole kind, or whoever asks, and not about one object: a
// CRD may have no room for what we say, as Ambassador's.
func ofAll(err error) bool {
	return strings.Contains(err.Error(), "failed to create typed patch object") || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsMethodNotSupported(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || unanswered(err)
}

// inARow is how many objects of a kind may be refused one after the other before that is about
// the kind.
const inARow = 3

// refused tells that e's own status is not taken, as where what it says was never checked and
// is not as its CRD has it by now. Others are told all the same.
func (t *Teller) refused(r *resource, e *entry, err error) {
	if t.row++; t.row >= inARow {
		t.row = 0
		t.rests(r, "status", err)
		return
	}
	t.source.opts.Log.Warn("an object is not told what becomes of it", "kind", r.name(), "object", e.key(), "error", err)
}

// holdOff is how long what may not be written is left alone.
const holdOff = time.Minute

// rests leaves a kind's status, or Events, alone for a while.
func (t *Teller) rests(r *resource, what string, err error) {
	t.silent[r.name()+"/"+what] = t.now()
	t.source.opts.Log.Warn("objects are not told what becomes of them", "kind", r.name(), "what", what, "error", err)
}

func (t *Teller) stays(r *resource, what string) bool {
	since, silent := t.silent[r.name()+"/"+what]
	return silent && t.now().Sub(since) < holdOff
}

var events = schema.GroupVersionResource{Version: "v1", Resource: "events"}

// event tells of what changed about e, in an Event: that it does not serve as written any
// more, or that it does again.
func (t *Teller) event(ctx context.Context, r *resource, e *entry, now *status) {
	before, after := e.status.condition(accepted), now.condition(accepted)
	kind := "Normal"
	switch {
	case after.Status == "False" && (before == nil || before.Status != "False" || before.Message != after.Message):
		kind = "Warning"
	case after.Status == "True" && before != nil && before.Status == "False":
	default:
		return
	}
	if t.stays(r, "events") {
		return
	}
	at := t.now().UTC().Format(time.RFC3339)
	message := after.Message
	if message == "" {
		message = "serves as it is written"
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event",
		"metadata": map[string]any{"generateName": cut(e.name, 200) + ".", "namespace": e.namespace},
		"involvedObject": map[string]any{
			"apiVersion": r.at(e.stamp.version).GroupVersion().String(), "kind": r.kind, "namespace": e.namespace, "name": e.name, "uid": e.stamp.uid,
		},
		"type": kind, "reason": after.Reason, "message": cut(message, 1000),
		"source": map[string]any{"component": manager}, "reportingComponent": manager, "reportingInstance": t.lease.identity,
		"firstTimestamp": at, "lastTimestamp": at, "count": int64(1),
	}}
	if _, err := t.client.Resource(events).Namespace(e.namespace).Create(ctx, u, metav1.CreateOptions{}); err != nil && ctx.Err() == nil {
		t.rests(r, "events", err)
	}
}

// balancerLabel marks the Service through which clients come, as in Ambassador.
const balancerLabel, balancerValue = "app.kubernetes.io/component", "ambassador-service"

// address tells an Ingress where clients find it: at the Services in our namespace that the
// label marks.
func (t *Teller) address(ctx context.Context, r *resource, e *entry) {
	var addresses []any
	for _, f := range t.source.list() {
		if f.kind != "Service" {
			continue
		}
		list, _ := f.store.entries()
		for _, service := range list {
			if service.namespace == t.source.opts.Decode.Namespace && service.marked {
				addresses = append(addresses, service.addresses()...)
			}
		}
	}
	if len(addresses) == 0 || t.stays(r, "status") {
		return // it may come later; what is there is not taken away
	}
	text, err := json.Marshal(addresses)
	if err != nil || string(text) == e.balancer || !t.differs(r, e, string(text), status{}) {
		return
	}
	t.write(ctx, r, e, map[string]any{"loadBalancer": map[string]any{"ingress": addresses}})
}

// addresses are where clients reach a Service from outside.
func (e *entry) addresses() (list []any) {
	if e.balancer == "" || json.Unmarshal([]byte(e.balancer), &list) != nil {
		return nil
	}
	return slices.Clip(list)
}

// balancerOf returns the addresses that the status of a Service or an Ingress tells of, as
// JSON, "" for none: what may be said of both, as a Service's ipMode is refused in an Ingress.
func balancerOf(u *unstructured.Unstructured) string {
	list, found, err := unstructured.NestedSlice(u.Object, "status", "loadBalancer", "ingress")
	if err != nil || !found || len(list) == 0 {
		return ""
	}
	for _, address := range list {
		if fields, ok := address.(map[string]any); ok {
			maps.DeleteFunc(fields, func(name string, _ any) bool { return name != "hostname" && name != "ip" && name != "ports" })
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return ""
	}
	return string(text)
}
