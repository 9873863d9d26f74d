// Package proxyudp is the plug through which UDP applications talk over the mesh:
// udp-server listens on a port and carries each datagram to a service on a node,
// udp-client binds a service and carries each datagram to an address.
//
// Each application, and each service elsewhere, is a flow of its own, so that answers
// find their way back; a flow that carries nothing for a while is forgotten.
package proxyudp

import "github.com/project-receptor/receptor/plug"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-proxy-udp",
		Kinds:   kinds(),
		Run: plug.ByKind(map[string]plug.RunFunc{
			kindServer: plug.With(serve),
			kindClient: plug.With(carry),
		}),
	}
}
