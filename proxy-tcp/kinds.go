package proxytcp

import (
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The kinds of items of this plug. The core reads all that names TLS, and speaks
// it: on the streams through the mesh, and with the applications.
const (
	kindServer     = "tcp-server"
	kindClient     = "tcp-client"
	kindUnixServer = "unix-socket-server"
	kindUnixClient = "unix-socket-client"
)

func kinds() []wire.Kind {
	return []wire.Kind{
		{
			Kind:    kindServer,
			Aliases: []wire.Alias{{Kind: "tcp-inbound-proxy", Defaults: map[string]any{"bindaddr": "localhost"}}},
			Role:    wire.RoleStream,
			Dir:     "in",
			Help:    "listen on a TCP port and carry each connection to a service in the mesh",
			Params: []wire.Param{
				{Name: "port", Type: schema.TypePort, Key: true, Required: true, Help: "TCP port to listen on; 0 takes a free one"},
				{Name: "bindaddr", Type: schema.TypeString, Key: true, Default: "0.0.0.0", Help: "address or host name to listen on"},
				{Name: "remotenode", Type: schema.TypeNode, Required: true, Help: "node ID of the node to connect to"},
				{Name: "remoteservice", Type: schema.TypeService, Required: true, Help: "service on that node"},
				{Name: "tlsclient", Type: schema.TypeString, TLS: wire.TLSClient, Help: "tls-client of the streams to that service (default: encrypted, but nobody has to prove who it is)"},
				{Name: "tlsserver", Type: schema.TypeString, AppTLS: wire.TLSServer, Help: "tls-server whose TLS the applications speak that connect (default: none)"},
			},
		},
		{
			Kind:    kindClient,
			Aliases: []wire.Alias{{Kind: "tcp-outbound-proxy"}},
			Role:    wire.RoleStream,
			Dir:     "out",
			Help:    "bind a service in the mesh and carry each stream to a TCP address",
			Params: []wire.Param{
				{Name: "service", Type: schema.TypeService, Key: true, Required: true, Help: "service name on this node"},
				{Name: "address", Type: schema.TypeAddress, Required: true, Help: "host:port to connect to"},
				{Name: "tlsserver", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server of the service (default: encrypted, but nobody has to prove who it is)"},
				{Name: "tlsclient", Type: schema.TypeString, AppTLS: wire.TLSClient, Help: "tls-client whose TLS is spoken with the address (default: none)"},
			},
		},
		{
			Kind: kindUnixServer,
			Role: wire.RoleStream,
			Dir:  "in",
			Help: "listen on a Unix socket and carry each connection to a service in the mesh",
			Params: []wire.Param{
				{Name: "filename", Type: schema.TypePath, Key: true, Required: true, Help: "path of the socket"},
				{Name: "permissions", Type: schema.TypeInt, Default: "0600", Help: "mode of the socket"},
				{Name: "remotenode", Type: schema.TypeNode, Required: true, Help: "node ID of the node to connect to"},
				{Name: "remoteservice", Type: schema.TypeService, Required: true, Help: "service on that node"},
				{Name: "tls", Type: schema.TypeString, TLS: wire.TLSClient, Help: "tls-client of the streams to that service (default: encrypted, but nobody has to prove who it is)"},
			},
		},
		{
			Kind: kindUnixClient,
			Role: wire.RoleStream,
			Dir:  "out",
			Help: "bind a service in the mesh and carry each stream to a Unix socket",
			Params: []wire.Param{
				{Name: "service", Type: schema.TypeService, Key: true, Required: true, Help: "service name on this node"},
				{Name: "filename", Type: schema.TypePath, Required: true, Help: "path of the socket to connect to"},
				{Name: "tls", Type: schema.TypeString, TLS: wire.TLSServer, Help: "tls-server of the service (default: encrypted, but nobody has to prove who it is)"},
			},
		},
	}
}

// serverParams are the parameters of a tcp-server.
type serverParams struct {
	Port          int    `json:"port"`
	BindAddr      string `json:"bindaddr"`
	RemoteNode    string `json:"remotenode"`
	RemoteService string `json:"remoteservice"`
}

// clientParams are the parameters of a tcp-client.
type clientParams struct {
	Service string `json:"service"`
	Address string `json:"address"`
}

// unixServerParams are the parameters of a unix-socket-server.
type unixServerParams struct {
	Filename      string `json:"filename"`
	Permissions   int64  `json:"permissions"`
	RemoteNode    string `json:"remotenode"`
	RemoteService string `json:"remoteservice"`
}

// unixClientParams are the parameters of a unix-socket-client.
type unixClientParams struct {
	Service  string `json:"service"`
	Filename string `json:"filename"`
}
