package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An answer is what one look-up of a name brought.
type answer struct {
	addrs []netip.Addr // sorted; empty if err is set
	ttl   time.Duration
	err   error
	// gone means that DNS said there is no such name or address, rather than nothing:
	// err tells which.
	gone bool
	from string // the absolute name that had the addresses
	// doubt is the failure of a domain earlier in the search path, nil for none: that
	// domain may know another host of the same name.
	doubt error
}

var (
	errGone    = errors.New("no such name")
	errServer  = errors.New("no useful answer")
	errForeign = errors.New("the answer is to another question")
)

// lookup finds host's addresses: in the hosts file, or in DNS along the search path.
// A server that fails for one domain of the path does not end the search, for some
// fail for good, but the answer then tells; one that says nothing at all does.
func (r *Resolver) lookup(ctx context.Context, host string, family Family) answer {
	now := r.now()
	if addrs := r.inHosts(now, host, family); len(addrs) > 0 {
		return answer{addrs: addrs, ttl: lookAgain, from: host}
	}
	sys := r.system(now)
	var doubt error
	for _, name := range sys.candidates(host) {
		a := r.resolveFamily(ctx, &sys, name, family)
		switch {
		case a.err == nil:
			a.from, a.doubt = name, doubt
			return a
		case a.gone:
		case errors.Is(a.err, errServer):
			doubt = a.err
		default:
			return a
		}
	}
	if doubt != nil {
		return answer{err: doubt}
	}
	return answer{err: fmt.Errorf("look up %q: %w", host, errGone), gone: true}
}

// inHosts looks into the hosts file. localhost is there even if the file is not.
func (r *Resolver) inHosts(now time.Time, host string, family Family) []netip.Addr {
	name := strings.TrimSuffix(host, ".")
	all := r.hosts.get(now)[name]
	if len(all) == 0 && name == "localhost" {
		all = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	var v4, v6 []netip.Addr
	for _, a := range all {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	if name == "localhost" && family == PreferIPv6 {
		return sorted(v4) // Services of this machine listen on IPv4 more often than on both
	}
	if family == IPv4 || family == PreferIPv6 && len(v6) == 0 {
		return sorted(v4)
	}
	return sorted(v6)
}

func sorted(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// candidates lists the absolute names to ask for, in order: resolv.conf(5).
func (s *system) candidates(host string) []string {
	if dns.IsFqdn(host) {
		return []string{host}
	}
	list := make([]string, 0, len(s.search)+1)
	for _, domain := range s.search {
		if name := dns.Fqdn(host + "." + strings.TrimSuffix(domain, ".")); len(name) <= 254 {
			list = append(list, name)
		}
	}
	if strings.Count(host, ".") >= s.ndots {
		return slices.Insert(list, 0, dns.Fqdn(host))
	}
	return append(list, dns.Fqdn(host))
}

// resolveFamily asks for name's addresses of the wanted family.
func (r *Resolver) resolveFamily(ctx context.Context, sys *system, name string, family Family) answer {
	switch family {
	case IPv4:
		return r.resolve(ctx, sys, name, dns.TypeA)
	case IPv6:
		return r.resolve(ctx, sys, name, dns.TypeAAAA)
	case PreferIPv6:
	}
	v6 := r.resolve(ctx, sys, name, dns.TypeAAAA)
	if v6.err == nil {
		return v6
	}
	v4 := r.resolve(ctx, sys, name, dns.TypeA)
	if v4.gone && !v6.gone {
		return v6
	}
	return v4
}

// maxChase bounds how often an alias is followed with a question of its own.
const maxChase = 8

// resolve asks for the records of one type under one absolute name, following
// aliases also where the server left that to us.
func (r *Resolver) resolve(ctx context.Context, sys *system, name string, qtype uint16) answer {
	ttl := time.Duration(1<<63 - 1)
	for range maxChase {
		msg, err := r.ask(ctx, sys, name, qtype)
		if err != nil {
			return answer{err: fmt.Errorf("look up %q: %w", name, err)}
		}
		target, addrs, least := follow(msg, name, qtype)
		ttl = min(ttl, least)
		if len(addrs) > 0 {
			return answer{addrs: sorted(addrs), ttl: ttl}
		}
		if target == name || msg.Rcode == dns.RcodeNameError {
			return answer{err: errGone, gone: true}
		}
		name = target
	}
	return answer{err: fmt.Errorf("look up %q: too many aliases", name)}
}

// follow walks the aliases of name in msg. It returns where they end, the addresses
// there, and the least TTL on the way.
func follow(msg *dns.Msg, name string, qtype uint16) (target string, addrs []netip.Addr, ttl time.Duration) {
	ttl = time.Duration(1<<63 - 1)
	least := func(h *dns.RR_Header) { ttl = min(ttl, time.Duration(h.Ttl)*time.Second) }
	target = name
	for range len(msg.Answer) {
		alias := slices.IndexFunc(msg.Answer, func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeCNAME && strings.EqualFold(rr.Header().Name, target)
		})
		if alias < 0 {
			break
		}
		if c, ok := msg.Answer[alias].(*dns.CNAME); ok {
			target = c.Target
			least(c.Header())
		}
	}
	for _, rr := range msg.Answer {
		if rr.Header().Rrtype != qtype || !strings.EqualFold(rr.Header().Name, target) {
			continue
		}
		if a, ok := address(rr); ok {
			addrs = append(addrs, a)
			least(rr.Header())
		}
	}
	return target, addrs, ttl
}

func address(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A)
		return a.Unmap(), ok
	case *dns.AAAA:
		return netip.AddrFromSlice(rr.AAAA)
	}
	return netip.Addr{}, false
}

// ask puts one question to the servers in turn until one has an answer: records,
// none of this type, or no such name.
func (r *Resolver) ask(ctx context.Context, sys *system, name string, qtype uint16) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(name, qtype)
	query.SetEdns0(maxDatagram, false)
	var last error
	for range max(sys.attempts, 1) {
		for _, server := range sys.servers {
			msg, err := exchange(ctx, query, server, sys.timeout)
			if err == nil {
				return msg, nil
			}
			if last = fmt.Errorf("ask %s: %w", server, err); ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// maxDatagram is the size that passes everywhere without fragments (DNS flag day
// 2020). What is longer comes by TCP.
const maxDatagram = 1232

// exchange asks one server, by TCP if the answer does not fit a datagram.
func exchange(ctx context.Context, query *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	query.Id = dns.Id()
	client := dns.Client{Net: "udp", Timeout: timeout, UDPSize: maxDatagram}
	msg, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && msg.Truncated {
		client.Net = "tcp"
		msg, _, err = client.ExchangeContext(ctx, query, server)
	}
	if err != nil {
		return nil, err
	}
	if len(msg.Question) != 1 || msg.Question[0].Qtype != query.Question[0].Qtype ||
		!strings.EqualFold(msg.Question[0].Name, query.Question[0].Name) {
		return nil, errForeign
	}
	switch msg.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return msg, nil
	}
	return nil, fmt.Errorf("%w: %s", errServer, dns.RcodeToString[msg.Rcode])
}
