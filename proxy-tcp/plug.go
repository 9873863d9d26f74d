// Package proxytcp is the plug through which TCP applications talk over the
// mesh: tcp-server listens on a port and carries each connection to a service
// on a node, tcp-client binds a service and carries each stream to an address.
//
// Ends are kept as they are: a half-close is one at the other application, and
// so is a reset. A connection that cannot be carried is reset, never ended.
package proxytcp

import (
	"context"
	"fmt"

	"github.com/project-receptor/receptor/plug"
)

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-proxy-tcp",
		Kinds:   kinds(),
		Run:     run,
	}
}

func run(ctx context.Context, it *plug.Item) error {
	switch it.Kind {
	case kindServer:
		var p serverParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		return server(ctx, it, p)
	case kindClient:
		var p clientParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		return client(ctx, it, p)
	default:
		return fmt.Errorf("kind %s is not one of this plug", it.Kind)
	}
}
