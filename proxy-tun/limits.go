package proxytun

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// LimitsFile is where the owner of the machine says what the plug may be told.
const LimitsFile = "/etc/receptor/proxy-tun.limits"

// Limits say what the core may have the plug do to this host: they are its owner's word,
// not the core's. The zero value is the default ones.
type Limits struct {
	Interfaces []string       // patterns of names, as of path.Match; none: defaultInterfaces
	Routes     []netip.Prefix // what addresses and routes must lie in; none: defaultRoutes
}

// Unless something else is said, interfaces are those that nobody takes for a wire, and
// networks those that nobody has on the Internet: so a core can neither draw to itself
// what goes there, nor all of it.
var (
	defaultInterfaces = []string{"receptor*", "tun*"}
	defaultRoutes     = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"),
	}
)

// AllowInterface adds a pattern.
func (l *Limits) AllowInterface(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" || strings.ContainsAny(pattern, "/ \t") {
		return fmt.Errorf("allow-interface: expected a name or a pattern such as tun*, got %q", pattern)
	}
	l.Interfaces = append(l.Interfaces, pattern)
	return nil
}

// AllowRoute adds a network.
func (l *Limits) AllowRoute(network string) error {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return fmt.Errorf("allow-route: expected a network such as 10.0.0.0/8, got %q", network)
	}
	l.Routes = append(l.Routes, p.Masked())
	return nil
}

// ReadFile adds what a file says, which need not be there: lines such as
//
//	allow-interface tun*
//	allow-route 10.0.0.0/8
//
// and empty ones, and those that begin with #. It must belong to root, and nobody else
// may be able to write it, or the directory that it is in.
func (l *Limits) ReadFile(name string) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := ownersOnly(f, filepath.Dir(name)); err != nil {
		return err
	}
	return l.read(f, name)
}

func (l *Limits) read(r io.Reader, name string) error {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		fields := strings.Fields(lines.Text())
		var err error
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) == 2 && fields[0] == "allow-interface":
			err = l.AllowInterface(fields[1])
		case len(fields) == 2 && fields[0] == "allow-route":
			err = l.AllowRoute(fields[1])
		default:
			err = fmt.Errorf("expected allow-interface PATTERN or allow-route NETWORK, got %q", lines.Text())
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// checkInterface says why an interface may not have that name.
func (l *Limits) checkInterface(name string) error {
	patterns := l.Interfaces
	if len(patterns) == 0 {
		patterns = defaultInterfaces
	}
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return nil
		}
	}
	return fmt.Errorf("interface %s is not allowed on this host: %s", name,
		rule("allow-interface", patterns, len(l.Interfaces) == 0))
}

// checkNetwork says why what goes to a network may not be drawn to us. what is what it
// is for.
func (l *Limits) checkNetwork(what string, p netip.Prefix) error {
	networks := l.Routes
	if len(networks) == 0 {
		networks = defaultRoutes
	}
	if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) }) {
		return nil
	}
	var allowed []string
	for _, n := range networks {
		allowed = append(allowed, n.String())
	}
	return fmt.Errorf("%s %s is not allowed on this host: %s", what, p, rule("allow-route", allowed, len(l.Routes) == 0))
}

// rule tells of a limit, and where it is from.
func rule(name string, values []string, isDefault bool) string {
	if isDefault {
		return fmt.Sprintf("%s is %s, as nothing else is said in %s or by --%s", name, strings.Join(values, ", "), LimitsFile, name)
	}
	return fmt.Sprintf("%s is %s", name, strings.Join(values, ", "))
}
