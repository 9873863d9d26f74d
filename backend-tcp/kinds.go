package backendtcp

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug. Cost, nodecost and allowedpeers are the
// core's: it adds them to every kind of link, and reads them itself. It also reads
// and speaks tls.
const (
	kindListener = "tcp-listener"
	kindPeer     = "tcp-peer"
)

func kinds() []wire.Kind {
	return []wire.Kind{
		{
			Kind: kindListener,
			Role: wire.RoleLink,
			Dir:  "in",
			Help: "accept links from other nodes over TCP",
			Params: []wire.Param{
				{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true, Help: "TCP port to listen on; 0 takes a free one"},
				{Name: "bindaddr", Type: schema.TypeString, Key: true, Default: "0.0.0.0", Help: "address or host name to listen on"},
				{Name: "tls", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server whose TLS the links have (default: none)"},
			},
		},
		{
			Kind: kindPeer,
			Role: wire.RoleLink,
			Dir:  "out",
			Help: "make a link to a node that listens on TCP",
			Params: []wire.Param{
				{Name: "address", Type: schema.TypeAddress, Key: true, Required: true, Bare: true, Help: "host:port to connect to"},
				{Name: "redial", Type: schema.TypeBool, Default: true, Help: "connect again whenever the link ends"},
				{Name: "proxy", Type: schema.TypeString, Help: "http:// or socks5:// URL of a proxy to connect through (default: none)"},
				{Name: "tls", Type: schema.TypeString, TLS: wire.TLSClient, Help: "tls-client whose TLS the link has (default: none)"},
			},
		},
	}
}

// listenerParams are the parameters of a tcp-listener.
type listenerParams struct {
	Port     int    `json:"port"`
	BindAddr string `json:"bindaddr"`
}

// peerParams are the parameters of a tcp-peer.
type peerParams struct {
	Address string `json:"address"`
	Redial  bool   `json:"redial"`
	Proxy   string `json:"proxy"`
}
