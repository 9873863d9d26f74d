package proxytun

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gaissmai/bart"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
)

const (
	// maxRoutes bounds the networks of this site: they have to fit into an advertisement.
	maxRoutes = 256

	// maxNetworks bounds those of all other sites: anybody in the mesh can name some.
	maxNetworks = 4096
)

// The tags of networks. Existing nodes take every tag that begins with route, and know
// nothing of IPv6: its networks have tags of their own.
const (
	tagRoute  = "route"
	tagRoute6 = "ip6"
)

// routerConfig is an ip-router as it was configured.
type routerConfig struct {
	host.Config
	network string
	own     []netip.Prefix // of this site, and those of the interface
	tags    map[string]string
}

func (p routerParams) parse() (c routerConfig, err error) {
	c.Config = host.Config{Name: p.Interface, MTU: p.MTU}
	c.network = p.NetworkName
	c.tags = map[string]string{
		tagType: typeRouter, tagNetwork: p.NetworkName, tagSuper: "1", tagMTU: strconv.Itoa(p.MTU),
	}
	locals, err := networks("localnet", p.LocalNet, false)
	if err != nil {
		return c, err
	}
	for _, l := range locals {
		if err := c.addLocal(l); err != nil {
			return c, err
		}
	}
	if c.tags[tagRoute+"_local"] == "" {
		return c, fmt.Errorf("localnet: expected an IPv4 network with 30 bits, such as 10.1.0.0/30, got %q", p.LocalNet)
	}
	routes, err := networks("routes", p.Routes, false)
	if err != nil {
		return c, err
	}
	if len(routes) > maxRoutes {
		return c, fmt.Errorf("routes: %d networks, at most %d can be told of", len(routes), maxRoutes)
	}
	for i, r := range routes {
		c.tags[tagOf(r)+"_"+strconv.Itoa(i)] = r.String()
		c.own = append(c.own, r)
	}
	return c, checkDevice(c.Config)
}

// addLocal gives the interface the first address of a network, of which the second is
// the gateway's.
func (c *routerConfig) addLocal(l netip.Prefix) error {
	if l.Addr().BitLen()-l.Bits() != 2 {
		return fmt.Errorf("localnet: expected networks of 4 addresses (/30, or /126 with IPv6), got %s", l)
	}
	tag := tagOf(l) + "_local"
	if c.tags[tag] != "" {
		return fmt.Errorf("localnet: expected one network of each kind, got %s and %s", c.tags[tag], l)
	}
	c.tags[tag] = l.String()
	c.own = append(c.own, l)
	c.Addresses = append(c.Addresses, host.Address{Prefix: netip.PrefixFrom(l.Addr().Next(), l.Bits())})
	return nil
}

func tagOf(p netip.Prefix) string {
	if p.Addr().Is4() {
		return tagRoute
	}
	return tagRoute6
}

// router is an ip-router.
type router struct {
	*line
	limits *Limits
	routes *routes
	config routerConfig

	known map[plug.Target]*peer // of the goroutine that calls peers
}

func (t *tun) runRouter(ctx context.Context, it *plug.Item, c routerConfig) error {
	l, err := t.open(it, c.Config)
	if err != nil {
		return err
	}
	for _, a := range c.Addresses {
		l.from = append(l.from, a.Prefix.Addr().Next()) // the gateway's
	}
	r := &router{line: l, limits: &t.settings.Limits, routes: newRoutes(l), config: c, known: map[plug.Target]*peer{}}
	ctx, cancel := context.WithCancel(ctx)
	var setting sync.WaitGroup
	setting.Go(func() { r.routes.run(ctx) })
	r.routes.set(nil, nil)
	err = l.run(ctx, plug.PacketService{
		Name: c.network, Advertise: true, Tags: c.tags,
		Watch: map[string]string{tagType: typeRouter, tagNetwork: c.network}, Peers: r.peers,
	})
	cancel()
	setting.Wait()
	return err
}

// peers takes what other sites there are: of those that have a network the cheapest to
// reach gets its packets.
func (r *router) peers(all []wire.PeerMatch) {
	ways := new(bart.Table[*peer])
	known := map[plug.Target]*peer{}
	var want []netip.Prefix
	var refused []error
	slices.SortStableFunc(all, func(a, b wire.PeerMatch) int { return compareCost(a.Cost, b.Cost) })
	for _, m := range all {
		if m.Cost < 0 {
			continue
		}
		p := r.peer(m)
		known[p.to] = p
		for _, network := range networksOf(m.Tags) {
			if slices.Contains(r.config.own, network) {
				continue
			}
			if _, taken := ways.Get(network); taken {
				continue
			}
			if err := r.limits.checkNetwork("route", network); err != nil {
				refused = append(refused, fmt.Errorf("%s: %w", m.Node, err))
				continue
			}
			if len(want) == maxNetworks {
				r.item.Count("routes_left_out", 1)
				continue
			}
			ways.Insert(network, p)
			want = append(want, network)
		}
	}
	r.known = known
	r.ways.Store(ways)
	r.routes.set(want, errors.Join(refused...))
}

func compareCost(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// peer is that of an advertisement, the one that was known if it was.
func (r *router) peer(m wire.PeerMatch) *peer {
	to := plug.Target{Node: m.Node, Service: m.Service}
	p := r.known[to]
	if p == nil {
		p = &peer{to: to}
	}
	mtu, _ := strconv.Atoi(m.Tags[tagMTU]) // 0 if it is none
	p.set(m.Tags[tagSuper] == "1", mtu)
	return p
}

// networksOf are the networks that tags name, sorted by tag.
func networksOf(tags map[string]string) (all []netip.Prefix) {
	var names []string
	for name := range tags {
		if strings.HasPrefix(name, tagRoute) || strings.HasPrefix(name, tagRoute6) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if p, err := netip.ParsePrefix(tags[name]); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}
