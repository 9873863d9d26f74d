package plughost

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The policy parameters of links.
const (
	paramCost         = "cost"
	paramNodeCost     = "nodecost"
	paramAllowedPeers = "allowedpeers"
)

// dirIn is the direction of a kind that accepts.
const dirIn = "in"

// PolicyParams are the parameters that the core adds to each kind of a role,
// and reads itself: for links cost, nodecost (accepting kinds only) and
// allowedpeers, for workers verifysignature and maxconcurrent.
func PolicyParams(k wire.Kind) []wire.Param {
	switch k.Role {
	case wire.RoleLink:
		return linkParams(k)
	case wire.RoleWorker:
		return []wire.Param{
			{Name: paramVerifySignature, Type: schema.TypeBool, Help: "take only work that is signed"},
			{Name: paramMaxConcurrent, Type: schema.TypeInt, Help: "units that run at a time, others wait in a queue (default: no limit)"},
		}
	default:
		return nil
	}
}

func linkParams(k wire.Kind) []wire.Param {
	params := []wire.Param{
		{Name: paramCost, Type: schema.TypeCost, Default: 1.0, Help: "cost of the links"},
		{Name: paramAllowedPeers, Type: schema.TypeList, Help: "node IDs that may be at the other end (default: any)"},
	}
	if k.Dir == dirIn {
		params = append(params, wire.Param{
			Name: paramNodeCost, Type: schema.TypeCosts, Help: "costs of the links to certain nodes, by node ID",
		})
	}
	return params
}

// withPolicyParams is the schema that items of kind k are checked against. A
// kind cannot have a parameter of its own where the core has one.
func withPolicyParams(k wire.Kind) (wire.Kind, error) {
	policy := PolicyParams(k)
	for _, p := range policy {
		if slices.ContainsFunc(k.Params, func(own wire.Param) bool { return own.Name == p.Name }) {
			return k, fmt.Errorf("its parameter %s is one that the core adds", p.Name)
		}
	}
	k.Params = slices.Concat(k.Params, policy)
	return k, nil
}

// takePolicy removes the policy parameters of a link from v and returns what
// they say; the rest is for the plug.
func takePolicy(k *wire.Kind, v schema.Values) netceptor.LinkConfig {
	var c netceptor.LinkConfig
	if k.Role != wire.RoleLink {
		return c
	}
	c.Cost, _ = v[paramCost].(float64)
	c.AllowedPeers, _ = v[paramAllowedPeers].([]string)
	if costs, ok := v[paramNodeCost].(map[string]any); ok {
		c.NodeCost = make(map[string]float64, len(costs))
		for node, cost := range costs {
			c.NodeCost[node], _ = cost.(float64)
		}
	}
	delete(v, paramCost)
	delete(v, paramAllowedPeers)
	delete(v, paramNodeCost)
	return c
}

// takeWorkPolicy removes the policy parameters of a worker from v and returns what
// they say; the rest is for the plug.
func takeWorkPolicy(k *wire.Kind, v schema.Values) (p workPolicy, err error) {
	if k.Role != wire.RoleWorker {
		return p, nil
	}
	p.secure, _ = v[paramVerifySignature].(bool)
	n, _ := v[paramMaxConcurrent].(int64)
	if p.maxConcurrent = int(n); n < 0 || n > math.MaxInt32 {
		return p, fmt.Errorf("parameter %s: %d, expected a number of units, or 0 for no limit", paramMaxConcurrent, n)
	}
	delete(v, paramVerifySignature)
	delete(v, paramMaxConcurrent)
	return p, nil
}

// itemTLS is the TLS of an item. The core speaks it: on its links, or on its
// streams through the mesh, as the server for those that come and as the client
// for those that go; and with the applications at the other ends of those.
type itemTLS struct {
	server *mtls.Server
	client *mtls.Client

	appServer *mtls.Server
	appClient *mtls.Client
	appHost   string // for appClient

	// The plug speaks it, within its medium.
	ofPlug  bool // its kind has such a parameter
	profile profile
}

// profile is one that is loaded, of either kind.
type profile interface {
	Name() string
	Warning() string
	Relaxed() bool
}

// takeTLS removes the parameters from v that name profiles of TLS, and finds
// those. Where the plug speaks it, it gets what the profile says instead.
func (h *Host) takeTLS(k *wire.Kind, v schema.Values) (t itemTLS, err error) {
	for i := range k.Params {
		p := &k.Params[i]
		name, _ := v[p.Name].(string)
		switch {
		case p.TLS == wire.TLSServer:
			t.server, err = h.tls.Server(name)
		case p.TLS == wire.TLSClient:
			t.client, err = h.tls.Client(name)
		case p.AppTLS == wire.TLSServer:
			t.appServer, err = h.tls.Server(name)
		case p.AppTLS == wire.TLSClient:
			t.appClient, err = h.tls.Client(name)
		case p.PlugTLS == wire.TLSServer:
			var s *mtls.Server
			if s, err = h.tls.Server(name); s != nil {
				t.profile, v[p.Name] = s, s.Profile()
			}
		case p.PlugTLS == wire.TLSClient:
			var c *mtls.Client
			if c, err = h.tls.Client(name); c != nil {
				t.profile, v[p.Name] = c, c.Profile()
			}
		default:
			continue
		}
		if t.ofPlug = t.ofPlug || p.PlugTLS != ""; p.PlugTLS == "" || t.profile == nil {
			delete(v, p.Name)
		}
		if err != nil {
			return itemTLS{}, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
	}
	return t, nil
}

// medium is the TLS of a link that a plug says to speak itself; nil: none.
func (t itemTLS) medium(req wire.Link, rule *Rule) (*netceptor.MediumTLS, error) {
	switch {
	case !req.Secured && t.profile != nil:
		return nil, wire.NewError(wire.CodeDenied, "item %q has TLS, and the link has not", clip(req.Item))
	case !req.Secured:
		return nil, nil //nolint:nilnil // no TLS
	case !t.ofPlug:
		return nil, wire.NewError(wire.CodeInvalid, "no TLS of links of item %q is the plug's", clip(req.Item))
	case len(req.Names) > maxNames:
		return nil, wire.NewError(wire.CodeLimit, "%d names in a certificate, at most %d are allowed", len(req.Names), maxNames)
	}
	m := &netceptor.MediumTLS{Profile: "of the plug"}
	if t.profile != nil {
		m.Profile = "of the plug: " + t.profile.Name()
	}
	if t.profile == nil || t.profile.Relaxed() {
		return m, nil
	}
	m.Names = req.Names
	for _, name := range req.Names {
		if rule.allowsName(name) {
			m.Proven = append(m.Proven, name)
		}
	}
	return m, nil
}

// hostIn is the host in an address, or in a URL; empty: there is none. secure
// tells whether it is a URL whose scheme says that there is TLS.
func hostIn(address string) (host string, secure bool) {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Hostname(), u.Scheme == "wss"
	}
	host, _, _ = net.SplitHostPort(address)
	return host, false
}

// hostOf is the host that an item connects to: that of its first address. Empty:
// it has none.
func hostOf(k *wire.Kind, v schema.Values) string {
	for i := range k.Params {
		if k.Params[i].Type != schema.TypeAddress {
			continue
		}
		address, _ := v[k.Params[i].Name].(string)
		if host, _, err := net.SplitHostPort(address); err == nil {
			return host
		}
	}
	return ""
}

// warning says what the TLS of a link item leaves open, with the host that it
// connects to or the address that it listens on; empty: nothing.
func (t itemTLS) warning(host string) string {
	switch {
	case t.server != nil:
		return t.server.Warning()
	case t.client != nil:
		return t.client.Warning()
	case t.profile != nil:
		return t.profile.Warning()
	case host == "" || isLoopback(host):
		return ""
	default:
		return "no TLS: who is at the other end is not known, and others may listen"
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
