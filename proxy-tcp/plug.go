// Package proxytcp is the plug through which TCP applications talk over the
// mesh: tcp-server listens on a port and carries each connection to a service
// on a node, tcp-client binds a service and carries each stream to an address.
// unix-socket-server and unix-socket-client do the same with Unix sockets.
//
// Ends are kept as they are: a half-close is one at the other application, and
// so is a reset. A connection that cannot be carried is reset, never ended. Only
// Unix sockets know no reset: there it looks like an end.
package proxytcp

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/project-receptor/receptor/plug"
)

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-proxy-tcp",
		Kinds:   kinds(),
		Check:   check,
		Run: plug.ByKind(map[string]plug.RunFunc{
			kindServer:     plug.With(serveTCP),
			kindUnixServer: plug.With(serveUnix),
			kindClient:     plug.With(connectTCP),
			kindUnixClient: plug.With(connectUnix),
		}),
	}
}

func serveTCP(ctx context.Context, it *plug.Item, p serverParams) error {
	l, err := it.Listen(ctx, "tcp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	return server(ctx, it, l, plug.Target{Node: p.RemoteNode, Service: p.RemoteService})
}

func serveUnix(ctx context.Context, it *plug.Item, p unixServerParams) error {
	l, err := it.ListenUnix(ctx, p.Filename, os.FileMode(p.Permissions)) //nolint:gosec // check has looked at it
	if err != nil {
		return err
	}
	return server(ctx, it, l, plug.Target{Node: p.RemoteNode, Service: p.RemoteService})
}

func connectTCP(ctx context.Context, it *plug.Item, p clientParams) error {
	return client(ctx, it, p.Service, tcpTarget(p.Address))
}

func connectUnix(ctx context.Context, it *plug.Item, p unixClientParams) error {
	return client(ctx, it, p.Service, unixTarget(p.Filename))
}

// check looks at an item before anything is applied.
func check(it *plug.Item) error {
	if it.Kind != kindUnixServer {
		return nil
	}
	var p unixServerParams
	if err := it.Decode(&p); err != nil {
		return err
	}
	if p.Permissions <= 0 || p.Permissions > 0o777 {
		return fmt.Errorf("parameter permissions: expected a mode from 0001 to 0777, got %#o", p.Permissions)
	}
	return nil
}
