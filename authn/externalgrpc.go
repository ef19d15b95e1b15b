package authn

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"legate/wire"
	"legate/wire/rpc"
)

const (
	checkMethod = "/envoy.service.auth.v3.Authorization/Check"
	// metadataName is the name under which Envoy keeps what an answer says for the log.
	metadataName = "envoy.filters.http.ext_authz"
)

// check asks a service of gRPC: everything that is known of the request.
func (e *external) check(c *Call, q *question, body []byte, whole bool) Outcome {
	to := e.next()
	b := rpc.Begin(&q.Question, to.address, checkMethod, c.wait(e.timeout, e.deps.Clock()), q.room)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, &authv3.CheckRequest{Attributes: e.attributes(c, body, whole)})
	q.room = b
	if err != nil {
		return e.failed(c, err)
	}
	q.Tick = c.Tick
	message, err := rpc.Call(to.asker, &q.Question, b)
	if err != nil {
		return e.failed(c, err)
	}
	var answer authv3.CheckResponse
	if err := proto.Unmarshal(message, &answer); err != nil {
		return e.failed(c, fmt.Errorf("the answer is no CheckResponse: %w", err))
	}
	return e.obey(c, &answer)
}

// attributes describes the request as Envoy does.
func (e *external) attributes(c *Call, body []byte, whole bool) *authv3.AttributeContext {
	h := c.Head
	path, query, hasQuery := c.target()
	target := string(path)
	if hasQuery {
		target += "?" + string(query)
	}
	scheme := "http"
	if c.Secure {
		scheme = "https"
	}
	r := &authv3.AttributeContext_HttpRequest{
		Id: requestID(), Method: string(h.MethodName()), Path: valid(target), Host: valid(string(h.Host())),
		Scheme: scheme, Protocol: protocol(h), Size: h.Length, Headers: c.headerMap(),
	}
	if h.NoBody && !h.Has(wire.FieldContentLength) {
		r.Size = -1
	}
	r.Headers[":method"], r.Headers[":path"], r.Headers[":authority"], r.Headers[":scheme"] = r.Method, r.Path, r.Host, scheme
	if e.shows(c) {
		r.Headers["x-envoy-auth-partial-body"] = strconv.FormatBool(!whole)
		if utf8.Valid(body) {
			r.Body = string(body)
		} else {
			r.RawBody = body // a text must be UTF-8
		}
	}
	a := &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address(c.Peer.Remote.Addr().String(), c.Peer.Remote.Port())},
		Destination: &authv3.AttributeContext_Peer{Address: address(c.Peer.Local.Addr().String(), c.Peer.Local.Port())},
		Request:     &authv3.AttributeContext_Request{Time: timestamppb.New(c.Now), Http: r},
	}
	if p := c.Peer.Proxy; p != nil && p.Destination.IsValid() {
		a.Destination.Address = address(p.Destination.Addr().String(), p.Destination.Port())
	}
	if c.Peer.TLS != nil && len(c.Peer.TLS.Chain) > 0 {
		a.Source.Principal = principal(c.Peer.TLS.Chain[0])
	}
	if c.Service != nil {
		a.ContextExtensions = c.Service.ContextExtensions
	}
	return a
}

// requestID makes the id of a request, which no other one has, before a reload or after, at
// this gateway or another: of as many random bits as Envoy's.
func requestID() string {
	return strconv.FormatUint(rand.Uint64(), 10) //nolint:gosec // because it tells requests apart, and nothing is gained by guessing it
}

// valid returns s with what is not UTF-8 replaced, as messages need it.
func valid(s string) string { return strings.ToValidUTF8(s, "!") }

func address(ip string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func protocol(h *wire.Head) string {
	switch {
	case h.Major >= 2:
		return "HTTP/2"
	case h.Minor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// principal is the name by which a client's certificate knows it.
func principal(cert *x509.Certificate) string {
	switch {
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	}
	return cert.Subject.String()
}

// headerMap returns the headers that the upstream would receive by now. Lines of one name
// are joined.
func (c *Call) headerMap() map[string]string {
	m := make(map[string]string, c.Head.Len()+8)
	c.lines(func(f wire.Field, name, value []byte) {
		if f == wire.FieldHost {
			return // it is :authority
		}
		key := f.String()
		if f == wire.FieldOther {
			key = string(name)
		}
		text := valid(string(value))
		if before, there := m[key]; there {
			text = before + between(f) + text
		}
		m[key] = text
	})
	return m
}

// between is what joins the lines of one name (RFC 9110 §5.3, RFC 9113 §8.2.3).
func between(f wire.Field) string {
	if f == wire.FieldCookie {
		return "; "
	}
	return ","
}

// obey does what an answer says.
func (e *external) obey(c *Call, r *authv3.CheckResponse) Outcome {
	if d := r.GetDynamicMetadata(); d != nil && c.Metadata != nil {
		if *c.Metadata == nil {
			*c.Metadata = Metadata{}
		}
		(*c.Metadata)[metadataName] = d.AsMap()
	}
	if r.GetStatus().GetCode() != 0 {
		return e.refused(c, r.GetDeniedResponse())
	}
	e.counts.answered(200)
	ok := r.GetOkResponse()
	if err := judgeOptions(ok.GetHeaders(), ok.GetResponseHeadersToAdd()); err != nil {
		return e.failed(c, err)
	}
	e.counts.allowed()
	for _, o := range ok.GetHeaders() {
		c.apply(o)
	}
	for _, name := range ok.GetHeadersToRemove() {
		c.removeListed([]byte(name))
	}
	for _, o := range ok.GetResponseHeadersToAdd() {
		if name, value := option(o); wire.Changeable(name) {
			c.tell(action(o, appends), name, value)
		}
	}
	if len(ok.GetQueryParametersToSet()) > 0 || len(ok.GetQueryParametersToRemove()) > 0 {
		c.setQuery(ok)
	}
	return Allow
}

// refused makes a denied_response, which may be missing, the client's answer.
func (e *external) refused(c *Call, d *authv3.DeniedHttpResponse) Outcome {
	status := int(d.GetStatus().GetCode())
	if status == 0 {
		status = 403
	}
	if status < 200 || status > 599 {
		return e.failed(c, fmt.Errorf("the answer's status is %d", status))
	}
	if err := judgeOptions(d.GetHeaders()); err != nil {
		return e.failed(c, err)
	}
	e.counts.answered(status)
	r := Reply{Status: status, Body: []byte(d.GetBody())}
	for _, o := range d.GetHeaders() {
		if name, value := option(o); wire.Changeable(name) {
			r.put(action(o, appends), name, value)
		}
	}
	return e.denied(c, r)
}

// option returns what o says, the name in lower case.
func option(o *corev3.HeaderValueOption) (name, value []byte) {
	name = []byte(o.GetHeader().GetKey())
	wire.LowerInPlace(name)
	if raw := o.GetHeader().GetRawValue(); len(raw) > 0 {
		return name, wire.TrimOWS(bytes.Clone(raw))
	}
	return name, wire.TrimOWS([]byte(o.GetHeader().GetValue()))
}

// What becomes of a header that is there already, or is not.
const (
	appends      = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	addsIfAbsent = corev3.HeaderValueOption_ADD_IF_ABSENT
	replaces     = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	replacesOnly = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS
)

// action is what o asks for, unset where it says nothing: append has been there longer, and
// counts before append_action, whose APPEND_IF_EXISTS_OR_ADD cannot be told from nothing.
func action(o *corev3.HeaderValueOption, unset corev3.HeaderValueOption_HeaderAppendAction) corev3.HeaderValueOption_HeaderAppendAction {
	if a := o.GetAppend(); a != nil { //nolint:staticcheck // because services that were built with the field still send it
		if a.GetValue() {
			return appends
		}
		return replaces
	}
	if a := o.GetAppendAction(); a != appends {
		return a
	}
	return unset
}

// tell changes a header of whatever answer there will be. What depends on the answer waits
// for it, as in Envoy.
func (c *Call) tell(action corev3.HeaderValueOption_HeaderAppendAction, name, value []byte) {
	line := wire.Add{ID: wire.LookupField(name), Name: name, Value: value}
	switch action {
	case addsIfAbsent:
		c.Depending = append(c.Depending, Depending{Add: line})
	case replacesOnly:
		c.Depending = append(c.Depending, Depending{Add: line, Replaces: true})
	case replaces:
		c.ToClient.SetName(name, value)
	default:
		c.ToClient.AddLine(line)
	}
}

// put changes a header of r.
func (r *Reply) put(action corev3.HeaderValueOption_HeaderAppendAction, name, value []byte) {
	f := wire.LookupField(name)
	same := func(a wire.Add) bool { return a.ID == f && (f != wire.FieldOther || bytes.Equal(a.Name, name)) }
	there := slices.ContainsFunc(r.Headers, same)
	if f == wire.FieldContentType {
		there = r.ContentType != nil || len(r.Body) > 0 // a body has one, if only ours
	}
	switch {
	case action == addsIfAbsent && there, action == replacesOnly && !there:
	case f == wire.FieldContentType:
		r.ContentType = value
	default:
		if action == replaces || action == replacesOnly {
			r.Headers = slices.DeleteFunc(r.Headers, same)
		}
		r.Headers = append(r.Headers, wire.Add{ID: f, Name: name, Value: value})
	}
}

// judgeOptions reports what no header can be (RFC 9110 §5): an answer that asks for it is
// not to be trusted in anything else.
func judgeOptions(lists ...[]*corev3.HeaderValueOption) error {
	for _, list := range lists {
		for _, o := range list {
			name, value := option(o)
			if !wire.IsFieldName(bytes.TrimPrefix(name, []byte(":"))) {
				return fmt.Errorf("the answer has %q for the name of a header", name)
			}
			if !wire.IsFieldValue(value) {
				return fmt.Errorf("the answer's value for %q is none of a header", name)
			}
		}
	}
	return nil
}

// apply changes a header of the request as o says.
func (c *Call) apply(o *corev3.HeaderValueOption) {
	name, value := option(o)
	if !wire.Changeable(name) {
		return
	}
	f := wire.LookupField(name)
	var before []byte
	there := false
	c.lines(func(g wire.Field, n, v []byte) {
		if g != f || f == wire.FieldOther && !bytes.Equal(n, name) {
			return
		}
		if there {
			before = append(before, between(f)...)
		}
		there, before = true, append(before, v...)
	})
	switch action(o, replaces) {
	case addsIfAbsent:
		if there {
			return
		}
	case replacesOnly:
		if !there {
			return
		}
	case appends:
		if there {
			value = append(append(before, between(f)...), value...)
		}
	case replaces: // whatever is there
	}
	c.set(f, name, value)
}

// setQuery changes the query's parameters.
func (c *Call) setQuery(ok *authv3.OkHttpResponse) {
	set := make([]parameter, 0, len(ok.GetQueryParametersToSet()))
	for _, p := range ok.GetQueryParametersToSet() {
		set = append(set, parameter{p.GetKey(), p.GetValue()})
	}
	path, query, _ := c.target()
	c.Edits.Path, c.Edits.HasQuery, c.Edits.Query = path, true, nil
	if left := editQuery(string(query), set, ok.GetQueryParametersToRemove()); left != "" {
		c.Edits.Query = []byte(left)
	}
}
