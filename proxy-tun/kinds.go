package proxytun

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug.
const (
	kindRouter = "ip-router"
	kindTunnel = "tun-proxy"
)

// defaultMTU has a packet, with what the mesh puts around it, fit into one of a network
// with the usual 1,500 bytes, also over a UDP link.
const defaultMTU = 1400

func kinds() []wire.Kind {
	device := wire.Param{
		Name: "interface", Type: schema.TypeString,
		Help: "name of the network interface; none: the first free of tun0, tun1, ...",
	}
	mtu := wire.Param{Name: "mtu", Type: schema.TypeInt, Default: defaultMTU, Help: "largest IP packet of the interface, in bytes"}
	return []wire.Kind{
		{
			Kind: kindRouter,
			Role: wire.RolePacket,
			Dir:  "out",
			Help: "route IP networks of sites through the mesh: each site's go to all others of that network name",
			Params: []wire.Param{
				{Name: "networkname", Type: schema.TypeService, Key: true, Required: true, Help: "name that the sites have in common, and of the service of each"},
				device,
				{Name: "localnet", Type: schema.TypeString, Required: true, Help: "an IPv4 /30 network, whose first address the interface gets; may be followed by a comma and an IPv6 /126"},
				{Name: "routes", Type: schema.TypeString, Help: "networks of this site, separated by commas"},
				mtu,
			},
		},
		{
			Kind:    kindTunnel,
			Aliases: []wire.Alias{{Kind: "ip-tunnel"}},
			Role:    wire.RolePacket,
			Dir:     "out",
			Help:    "a network interface here whose other end is one on another node",
			Params: []wire.Param{
				device,
				{Name: "service", Type: schema.TypeService, Key: true, Required: true, Help: "service name on this node"},
				{Name: "remotenode", Type: schema.TypeNode, Required: true, Help: "node ID of the other end"},
				{Name: "remoteservice", Type: schema.TypeService, Required: true, Help: "service of the other end"},
				{Name: "ifaddress", Type: schema.TypeString, Help: "addresses of the interface, separated by commas, each with or without its prefix length"},
				{Name: "destaddress", Type: schema.TypeString, Help: "addresses of the other end, separated by commas"},
				{Name: "route", Type: schema.TypeString, Help: "networks to be reached through the other end, separated by commas"},
				mtu,
			},
		},
	}
}

// routerParams are the parameters of an ip-router.
type routerParams struct {
	NetworkName string `json:"networkname"`
	Interface   string `json:"interface"`
	LocalNet    string `json:"localnet"`
	Routes      string `json:"routes"`
	MTU         int    `json:"mtu"`
}

// tunnelParams are the parameters of a tun-proxy.
type tunnelParams struct {
	Interface     string `json:"interface"`
	Service       string `json:"service"`
	RemoteNode    string `json:"remotenode"`
	RemoteService string `json:"remoteservice"`
	IfAddress     string `json:"ifaddress"`
	DestAddress   string `json:"destaddress"`
	Route         string `json:"route"`
	MTU           int    `json:"mtu"`
}
