package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Connect connects to a host and port by the gateway's own ways: --resolve, then the hosts
// file or DNS. It is for what the gateway itself asks, such as key sets, and looks names up
// each time. It has the form of net.Dialer.DialContext.
func (r *Resolver) Connect(ctx context.Context, network, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port", text)
	}
	host, port, _ := r.opts.override(host, uint16(number))
	addrs, err := r.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		var c net.Conn
		if c, err = dialShare(ctx, network, netip.AddrPortFrom(a, port).String(), len(addrs)-i); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// dialShare connects to one of so many addresses, and leaves time for the others: nobody may
// answer there.
func dialShare(ctx context.Context, network, address string, left int) (net.Conn, error) {
	dialer := net.Dialer{}
	if end, ok := ctx.Deadline(); ok {
		dialer.Timeout = time.Until(end) / time.Duration(left)
	}
	return dialer.DialContext(ctx, network, address)
}

// addresses returns host's, of either family, at least one.
func (r *Resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	four := r.find(ctx, host, IPv4)
	six := r.find(ctx, host, IPv6)
	if list := append(append([]netip.Addr{}, four.addrs...), six.addrs...); len(list) > 0 {
		return list, nil
	}
	return nil, four.err
}
