// Package backendtcp is the plug that makes links between nodes over TCP:
// tcp-listener accepts them, tcp-peer makes them. A link's bytes are the core's
// business: this package opens sockets and hands them to the SDK.
package backendtcp

import (
	"context"
	"fmt"

	"github.com/project-receptor/receptor/plug"
)

// medium is what status and logs call these links.
const medium = "tcp"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-tcp",
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
