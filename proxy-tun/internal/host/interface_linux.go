package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one that is up. Read is for one goroutine, Write for any.
type Interface struct {
	*device
	netlink *netlink.Handle
	link    netlink.Link

	mu     sync.Mutex
	closed bool
}

// routeProtocol marks routes as ours, as each program that makes some has a number.
const routeProtocol = 198

// queueLen is how many packets wait for us, each of which may be super. The system has
// 500, which would be seconds of what a link carries.
const queueLen = 128

// Open makes an interface. Errors tell what is lacking.
func Open(c Config) (*Interface, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("talk to the kernel about interfaces: %w", err)
	}
	i, err := open(h, c)
	if err != nil {
		h.Close()
		return nil, err
	}
	return i, nil
}

func open(h *netlink.Handle, c Config) (*Interface, error) {
	if c.Name != "" {
		if _, err := h.LinkByName(c.Name); err == nil {
			return nil, fmt.Errorf("interface %s is there already, and not ours: name another, or remove it", c.Name)
		}
	}
	d, err := openDevice(c.Name)
	if err != nil {
		return nil, err
	}
	i := &Interface{device: d, netlink: h}
	if err := i.configure(c); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return i, nil
}

// configure gives the interface what it is to have.
func (i *Interface) configure(c Config) (err error) {
	if i.link, err = i.netlink.LinkByName(i.name); err != nil {
		return fmt.Errorf("find interface %s: %w", i.name, err)
	}
	if err := i.netlink.LinkSetMTU(i.link, c.MTU); err != nil {
		return fmt.Errorf("set mtu %d of interface %s: %w", c.MTU, i.name, err)
	}
	if err := i.netlink.LinkSetTxQLen(i.link, queueLen); err != nil {
		return fmt.Errorf("set the queue of interface %s: %w", i.name, err)
	}
	if c.MaxSuper > 0 && i.super {
		// Older kernels know no bound of their own, or none for IPv4: longer ones are cut by us.
		_ = i.netlink.LinkSetGSOMaxSize(i.link, c.MaxSuper)
		_ = i.netlink.LinkSetGSOIPv4MaxSize(i.link, c.MaxSuper)
	}
	// Nobody answers on a TUN device to whom looks for routers and neighbours.
	_ = i.netlink.LinkSetIP6AddrGenMode(i.link, nl6None) // without IPv6 there is nothing to say
	if err := i.netlink.LinkSetUp(i.link); err != nil {
		return fmt.Errorf("set interface %s up: %w", i.name, err)
	}
	for _, a := range c.Addresses {
		if err := i.addAddress(a); err != nil {
			return err
		}
	}
	return i.settle()
}

// settleTime bounds how long it is waited for addresses to be in use: milliseconds on a
// host that is not overloaded.
const settleTime = 5 * time.Second

// settle waits until the kernel uses the addresses of IPv6: until then programs that
// connect would get others as theirs.
func (i *Interface) settle() error {
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(settleTime); time.Now().Before(end); <-poll.C {
		all, err := i.netlink.AddrList(i.link, netlink.FAMILY_V6)
		if err != nil {
			return fmt.Errorf("list addresses of interface %s: %w", i.name, err)
		}
		if !slices.ContainsFunc(all, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }) {
			return nil
		}
	}
	return nil // they will be, and nothing is wrong with the others
}

// nl6None is IN6_ADDR_GEN_MODE_NONE.
const nl6None = 1

func (i *Interface) addAddress(a Address) error {
	addr := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	if a.Peer.IsValid() {
		addr.Peer = ipNet(netip.PrefixFrom(a.Peer, a.Peer.BitLen()))
		addr.IPNet = ipNet(netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()))
	}
	if a.Prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // nobody else is on the device
	}
	if err := i.netlink.AddrAdd(i.link, addr); err != nil {
		return fmt.Errorf("give interface %s the address %s: %w", i.name, a.Prefix, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Name is the interface's.
func (i *Interface) Name() string { return i.name }

// Offload tells whether the device takes super-packets, of TCP or of UDP, too.
func (i *Interface) Offload() (tcp, udp bool) { return i.super, i.udp }

// SetRoutes makes want the networks that are routed through the interface, whatever was
// before. The error tells of those that cannot be; the others are there.
func (i *Interface) SetRoutes(want []netip.Prefix) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return net.ErrClosed
	}
	have, err := i.routes()
	if err != nil {
		return err
	}
	var errs []error
	for p, r := range have {
		if !slices.Contains(want, p) {
			if err := i.netlink.RouteDel(&r); err != nil {
				errs = append(errs, fmt.Errorf("remove route %s: %w", p, err))
			}
		}
	}
	for _, p := range want {
		if _, ok := have[p]; ok {
			continue
		}
		r := netlink.Route{LinkIndex: i.link.Attrs().Index, Dst: ipNet(p), Protocol: routeProtocol}
		if p.Addr().Is4() {
			r.Scope = unix.RT_SCOPE_LINK
		}
		switch err := i.netlink.RouteAdd(&r); {
		case errors.Is(err, unix.EEXIST):
			errs = append(errs, fmt.Errorf("route %s: this host has one through another interface", p))
		case err != nil:
			errs = append(errs, fmt.Errorf("add route %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// routes are those of ours that there are.
func (i *Interface) routes() (map[netip.Prefix]netlink.Route, error) {
	const mask = netlink.RT_FILTER_OIF | netlink.RT_FILTER_PROTOCOL
	filter := &netlink.Route{LinkIndex: i.link.Attrs().Index, Protocol: routeProtocol}
	have := map[netip.Prefix]netlink.Route{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := i.netlink.RouteListFiltered(family, filter, mask)
		if err != nil {
			return nil, fmt.Errorf("list routes of interface %s: %w", i.name, err)
		}
		for _, r := range list {
			if p, ok := prefixOf(r.Dst, family); ok {
				have[p] = r
			}
		}
	}
	return have, nil
}

// prefixOf is the network of a route; none: everything.
func prefixOf(n *net.IPNet, family int) (netip.Prefix, bool) {
	if n == nil {
		if family == netlink.FAMILY_V6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	if family == netlink.FAMILY_V4 {
		a = a.Unmap()
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones), true
}

// Close removes the interface. Read returns.
func (i *Interface) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return nil
	}
	i.closed = true
	i.netlink.Close()
	return i.device.Close()
}
