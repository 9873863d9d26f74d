package proxyudp

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug.
const (
	kindServer = "udp-server"
	kindClient = "udp-client"
)

func kinds() []wire.Kind {
	idle := wire.Param{
		Name: "idletimeout", Type: schema.TypeDuration, Default: "5m",
		Help: "how long a flow is kept that carries nothing",
	}
	return []wire.Kind{
		{
			Kind:    kindServer,
			Aliases: []wire.Alias{{Kind: "udp-inbound-proxy", Defaults: map[string]any{"bindaddr": "localhost"}}},
			Role:    wire.RolePacket,
			Dir:     "in",
			Help:    "listen on a UDP port and carry each datagram to a service in the mesh",
			Params: []wire.Param{
				{Name: "port", Type: schema.TypePort, Key: true, Required: true, Help: "UDP port to listen on; 0 takes a free one"},
				{Name: "bindaddr", Type: schema.TypeString, Key: true, Default: "0.0.0.0", Help: "address or host name to listen on"},
				{Name: "remotenode", Type: schema.TypeNode, Required: true, Help: "node ID of the node to send to"},
				{Name: "remoteservice", Type: schema.TypeService, Required: true, Help: "service on that node"},
				idle,
			},
		},
		{
			Kind:    kindClient,
			Aliases: []wire.Alias{{Kind: "udp-outbound-proxy"}},
			Role:    wire.RolePacket,
			Dir:     "out",
			Help:    "bind a service in the mesh and carry each datagram to a UDP address",
			Params: []wire.Param{
				{Name: "service", Type: schema.TypeService, Key: true, Required: true, Help: "service name on this node"},
				{Name: "address", Type: schema.TypeAddress, Required: true, Help: "host:port to send to"},
				idle,
			},
		},
	}
}

// serverParams are the parameters of a udp-server.
type serverParams struct {
	Port          int             `json:"port"`
	BindAddr      string          `json:"bindaddr"`
	RemoteNode    string          `json:"remotenode"`
	RemoteService string          `json:"remoteservice"`
	IdleTimeout   schema.Duration `json:"idletimeout"`
}

// clientParams are the parameters of a udp-client.
type clientParams struct {
	Service     string          `json:"service"`
	Address     string          `json:"address"`
	IdleTimeout schema.Duration `json:"idletimeout"`
}
