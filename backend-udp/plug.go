// Package backendudp is the plug that makes links between nodes over UDP:
// udp-listener accepts them, udp-peer makes them.
//
// A datagram is one message of a link. Each item has one socket, on which a
// goroutine receives, many datagrams at once, and sorts them by their source: the
// flow of a source is a link, whose bytes the SDK relays to the core. A flow's
// queue is bounded, so whoever is slow loses datagrams and holds up nobody.
//
// UDP shows neither that a source is real nor that a link has ended. So an unknown
// source gets a greeting at first, and a link only when it goes on speaking (see
// listener); and a flow that ends here sends the message that every node takes for
// the end of a link.
package backendudp

import "github.com/project-receptor/receptor/plug"

// medium is what status and logs call these links.
const medium = "udp"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-udp",
		Kinds:   kinds(),
		Run: plug.ByKind(map[string]plug.RunFunc{
			kindListener: plug.With(listen),
			kindPeer:     plug.With(keepLink),
		}),
	}
}
