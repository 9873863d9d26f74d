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

import (
	"context"
	"fmt"

	"github.com/project-receptor/receptor/plug"
)

// medium is what status and logs call these links.
const medium = "udp"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-udp",
		Kinds:   kinds(),
		Run:     run,
	}
}

func run(ctx context.Context, it *plug.Item) error {
	switch it.Kind {
	case kindListener:
		var p listenerParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		return listen(ctx, it, p)
	case kindPeer:
		var p peerParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		return keepLink(ctx, it, p)
	default:
		return fmt.Errorf("kind %s is not one of this plug", it.Kind)
	}
}
