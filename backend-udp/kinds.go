package backendudp

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug. Cost, nodecost and allowedpeers are the
// core's: it adds them to every kind of link, and reads them itself.
const (
	kindListener = "udp-listener"
	kindPeer     = "udp-peer"
)

func kinds() []wire.Kind {
	return []wire.Kind{
		{
			Kind: kindListener,
			Role: wire.RoleLink,
			Dir:  "in",
			Help: "accept links from other nodes over UDP",
			Params: []wire.Param{
				{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true, Help: "UDP port to listen on; 0 takes a free one"},
				{Name: "bindaddr", Type: schema.TypeString, Key: true, Default: "0.0.0.0", Help: "address or host name to listen on"},
			},
		},
		{
			Kind: kindPeer,
			Role: wire.RoleLink,
			Dir:  "out",
			Help: "make a link to a node that listens on UDP",
			Params: []wire.Param{
				{Name: "address", Type: schema.TypeAddress, Key: true, Required: true, Bare: true, Help: "host:port to send to"},
				{Name: "redial", Type: schema.TypeBool, Default: true, Help: "make the link again whenever it ends"},
			},
		},
	}
}

// listenerParams are the parameters of a udp-listener.
type listenerParams struct {
	Port     int    `json:"port"`
	BindAddr string `json:"bindaddr"`
}

// peerParams are the parameters of a udp-peer.
type peerParams struct {
	Address string `json:"address"`
	Redial  bool   `json:"redial"`
}
