package proxytun

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/project-receptor/receptor/proxy-tun/internal/host"
)

const (
	// minMTU is the least that IPv4 asks of a network, maxMTU the largest IP packet that
	// is sure to arrive as a datagram of the mesh.
	minMTU = 576
	maxMTU = 65000

	// minMTU6 is the least that IPv6 asks of a network.
	minMTU6 = 1280

	// maxName is how long the name of an interface is at most, in bytes.
	maxName = 15
)

// networks are those of a list with commas between them: with address as addresses of
// them, which need no length.
func networks(param, list string, address bool) (all []netip.Prefix, err error) {
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if a, notAddr := netip.ParseAddr(text); err != nil && address && notAddr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%s: expected networks such as 10.1.0.0/16, got %q", param, text)
		}
		if !address {
			p = p.Masked()
		}
		all = append(all, p)
	}
	return all, nil
}

// checkDevice checks what an interface is to be.
func checkDevice(c host.Config) error {
	if c.Name != "" && (len(c.Name) > maxName || c.Name == "." || c.Name == ".." || strings.ContainsAny(c.Name, "/:% \t\r\n\x00")) {
		return fmt.Errorf("interface: expected a name of 1 to %d bytes without spaces, slashes, colons and percent signs, got %q", maxName, c.Name)
	}
	least := minMTU
	for _, a := range c.Addresses {
		if a.Prefix.Addr().Is6() {
			least = minMTU6
		}
	}
	if c.MTU < least || c.MTU > maxMTU {
		return fmt.Errorf("mtu: expected a number from %d to %d, got %d", least, maxMTU, c.MTU)
	}
	return nil
}
