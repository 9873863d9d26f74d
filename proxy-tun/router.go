package proxytun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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
	grace  time.Duration

	mu     sync.Mutex
	latest []wire.PeerMatch // of this core
	before []wire.PeerMatch // of the one before, which this one may not have heard of yet
	known  map[plug.Target]*peer
}

// graceTime is how long sites are kept of which a core has heard nothing that has just
// begun: advertisements come with the first links, and from behind others soon after.
const graceTime = 15 * time.Second

func (t *tun) runRouter(ctx context.Context, it *plug.Item, c routerConfig) error {
	l, err := t.open(it, c.Config)
	if err != nil {
		return err
	}
	for _, a := range c.Addresses {
		l.from = append(l.from, a.Prefix.Addr().Next()) // the gateway's
	}
	r := &router{line: l, limits: &t.settings.Limits, routes: newRoutes(l), config: c, grace: t.grace, known: map[plug.Target]*peer{}}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.routes.run(ctx) })
	l.attached = func() { running.Go(func() { r.settle(ctx) }) }
	l.detached = r.keep
	r.routes.set(nil, nil)
	err = l.run(ctx, plug.PacketService{
		Name: c.network, Advertise: true, Tags: c.tags,
		Watch: map[string]string{tagType: typeRouter, tagNetwork: c.network}, Peers: r.peers,
	})
	cancel()
	running.Wait()
	return err
}

// peers takes what other sites there are.
func (r *router) peers(all []wire.PeerMatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = all
	r.apply()
}

// keep keeps the sites of a core that has gone.
func (r *router) keep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.latest = r.sites(), nil
}

// settle gives up, after a while, sites of which only the core before has heard.
func (r *router) settle(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(r.grace):
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before != nil {
		r.before = nil
		r.apply()
	}
}

// sites are those that there are, for all we know, the cheapest first. The caller
// holds mu.
func (r *router) sites() []wire.PeerMatch {
	all := slices.Clone(r.latest)
	for _, b := range r.before {
		if !slices.ContainsFunc(r.latest, func(m wire.PeerMatch) bool { return m.Node == b.Node && m.Service == b.Service }) {
			all = append(all, b)
		}
	}
	slices.SortStableFunc(all, func(a, b wire.PeerMatch) int { return cmp.Compare(a.Cost, b.Cost) })
	return all
}

// apply makes it so: of the sites that have a network the cheapest to reach gets its
// packets. The caller holds mu.
func (r *router) apply() {
	ways := new(bart.Table[*peer])
	known := map[plug.Target]*peer{}
	var want []netip.Prefix
	var refused []error
	for _, m := range r.sites() {
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
				r.item.Count(countLeftOut, 1)
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

// peer is that of an advertisement, the one that was known if it was.
func (r *router) peer(m wire.PeerMatch) *peer {
	to := plug.Target{Node: m.Node, Service: m.Service}
	p := r.known[to]
	if p == nil {
		p = &peer{to: to}
	}
	p.set(m.Tags)
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
