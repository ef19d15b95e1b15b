package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A service is what a Mapping's service says, before defaults.
type service struct {
	host   string // lower case, without brackets; "" when it cannot be understood
	port   uint16 // 0 for none
	scheme string // "", "http" or "https"
}

// parseService reads [scheme "://"] host [":" port] [ignored]. It returns what can
// be used and everything that is wrong with the rest; err means that nothing can.
func parseService(text string) (s service, wrong []string, err error) {
	rest := strings.TrimSpace(text)
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		rest = after
		switch lower := strings.ToLower(scheme); lower {
		case "http", "https":
			s.scheme = lower
		default:
			wrong = append(wrong, fmt.Sprintf("scheme %q is unknown: it is taken for http", scheme))
		}
	}
	rest = strings.TrimPrefix(rest, "//")
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		if rest[i:] != "/" {
			wrong = append(wrong, fmt.Sprintf("%q after host and port is ignored", rest[i:]))
		}
		rest = rest[:i]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		wrong = append(wrong, "the user before the host is ignored")
		rest = rest[i+1:]
	}
	s.host, s.port, err = splitService(rest)
	return s, wrong, err
}

// splitService reads host[:port]; an IPv6 address needs its brackets.
func splitService(s string) (host string, port uint16, err error) {
	var portText string
	if inside, ok := strings.CutPrefix(s, "["); ok {
		host, portText, err = splitBrackets(inside)
	} else {
		host, portText, _ = strings.Cut(s, ":")
		if strings.Contains(portText, ":") {
			return "", 0, fmt.Errorf("%q: an IPv6 address needs brackets", s)
		}
		host, err = checkHost(host)
	}
	if err != nil || portText == "" {
		return host, 0, err
	}
	port, err = parsePort(portText)
	return host, port, err
}

// splitBrackets reads "IPv6]" or "IPv6]:port".
func splitBrackets(s string) (host, port string, err error) {
	inside, after, ok := strings.Cut(s, "]")
	if !ok || after != "" && after[0] != ':' {
		return "", "", fmt.Errorf("%q is no address in brackets", "["+s)
	}
	a, err := netip.ParseAddr(strings.Replace(inside, "%25", "%", 1)) // RFC 6874: a zone's "%" is written as "%25"
	if err != nil || !a.Is6() {
		return "", "", fmt.Errorf("%q is no IPv6 address", inside)
	}
	return a.String(), strings.TrimPrefix(after, ":"), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no port", s)
	}
	return uint16(n), nil
}

// checkHost returns host in lower case if it is an address or can be a DNS name.
func checkHost(host string) (string, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.String(), nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" {
		return "", errors.New("the host is missing")
	}
	if len(name) > 253 {
		return "", errors.New("the host is longer than 253 characters")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInLabel) {
			return "", fmt.Errorf("%q is no host", host)
		}
	}
	return strings.ToLower(host), nil
}

// notInLabel reports whether r cannot be part of a name. Underscores can: people
// have them in internal names.
func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// qualified reports whether Ambassador leaves host as it is.
func qualified(host string) bool {
	return host == "localhost" || strings.ContainsAny(host, ".:")
}

// label turns a service, without its scheme, into a value of envoy_cluster_name.
func (s *service) label() string {
	text := s.host
	if strings.Contains(text, ":") {
		text = "[" + text + "]"
	}
	if s.port != 0 {
		text += ":" + strconv.Itoa(int(s.port))
	}
	return strings.Map(func(r rune) rune {
		if notInLabel(r) || r == '-' {
			return '_'
		}
		return r
	}, text)
}
