package proxytun

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
)

// tunnelConfig is a tun-proxy as it was configured.
type tunnelConfig struct {
	host.Config
	service string
	to      plug.Target
	routes  []netip.Prefix
}

func (p tunnelParams) parse() (c tunnelConfig, err error) {
	c.Config = host.Config{Name: p.Interface, MTU: p.MTU}
	c.service, c.to = p.Service, plug.Target{Node: p.RemoteNode, Service: p.RemoteService}
	ifaddress, err := networks("ifaddress", p.IfAddress, true)
	if err != nil {
		return c, err
	}
	dest, err := networks("destaddress", p.DestAddress, true)
	if err != nil {
		return c, err
	}
	if c.routes, err = networks("route", p.Route, false); err != nil {
		return c, err
	}
	if len(dest) > 0 && len(ifaddress) == 0 {
		return c, errors.New("destaddress: there is no ifaddress")
	}
	for _, a := range ifaddress {
		c.Addresses = append(c.Addresses, host.Address{Prefix: a})
	}
	for _, d := range dest {
		if err := c.peerOf(d); err != nil {
			return c, err
		}
	}
	return c, checkDevice(c.Config)
}

// peerOf gives the other end's address to the first of ours of its kind.
func (c *tunnelConfig) peerOf(d netip.Prefix) error {
	for i := range c.Addresses {
		a := &c.Addresses[i]
		if a.Prefix.Addr().Is4() == d.Addr().Is4() && !a.Peer.IsValid() {
			a.Peer = d.Addr()
			return nil
		}
	}
	return fmt.Errorf("destaddress %s: there is no ifaddress of its kind that has none", d.Addr())
}

// tunnel is a tun-proxy: all that goes through its interface is for one peer.
type tunnel struct {
	routes *routes
	peer   *peer
	want   []netip.Prefix
	heard  atomic.Bool // of the peer's service, from this core
}

func (t *tun) runTunnel(ctx context.Context, it *plug.Item, c tunnelConfig) error {
	for _, r := range c.routes {
		if err := t.settings.Limits.checkNetwork("route", r); err != nil {
			return err
		}
	}
	l, err := t.open(it, c.Config)
	if err != nil {
		return err
	}
	l.only = c.to
	for _, a := range c.Addresses {
		if a.Peer.IsValid() {
			l.from = append(l.from, a.Peer)
		}
	}
	n := &tunnel{routes: newRoutes(l), peer: &peer{to: c.to}, want: c.routes}
	l.detached = func() { n.heard.Store(false) } // the next core has to hear of it first
	ways := new(bart.Table[*peer])
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		ways.Insert(netip.PrefixFrom(all, 0), n.peer)
	}
	l.ways.Store(ways)
	ctx, cancel := context.WithCancel(ctx)
	var setting sync.WaitGroup
	setting.Go(func() { n.routes.run(ctx) })
	n.routes.set(n.want, nil)
	err = l.run(ctx, plug.PacketService{
		Name: c.service, Advertise: true,
		Tags:  map[string]string{tagType: typeTunnel, tagSuper: "1", tagMTU: strconv.Itoa(c.MTU)},
		Watch: map[string]string{tagType: typeTunnel}, Peers: n.peers,
	})
	cancel()
	setting.Wait()
	return err
}

// peers takes what is known of other tunnels' ends. An end that has never been heard of
// is that of an existing node, which tells nobody of it: it is there, for all we know.
func (n *tunnel) peers(all []wire.PeerMatch) {
	for _, m := range all {
		if m.Node != n.peer.to.Node || m.Service != n.peer.to.Service {
			continue
		}
		n.peer.set(m.Tags)
		if m.Cost < 0 {
			n.routes.set(nil, fmt.Errorf("there is no way to %s", n.peer.to))
		} else {
			n.routes.set(n.want, nil)
		}
		n.heard.Store(true)
		return
	}
	n.peer.set(nil)
	if n.heard.Load() {
		n.routes.set(nil, fmt.Errorf("%s is not there any more", n.peer.to))
	}
}
