package backendtcp

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/project-receptor/receptor/plug"
)

// listen accepts links until ctx is done. Connections wait in the backlog
// while there is no core.
func listen(ctx context.Context, it *plug.Item, p listenerParams) error {
	l, err := it.Listen(ctx, "tcp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	it.Log.Info("listening", "address", addr)
	it.Up(addr)
	return it.Accept(ctx, l, func(ctx context.Context, sock net.Conn) {
		it.Up(addr)
		_ = carry(ctx, it, sock, "in") // has been logged
	}, func(err error) { it.Degraded(addr, err) })
}

// carry runs a link over sock until it ends, and says why in the log.
func carry(ctx context.Context, it *plug.Item, sock net.Conn, dir string) error {
	if err := tune(sock); err != nil {
		it.Log.Debug("cannot tune a socket", "error", err)
	}
	if err := it.Attached(ctx); err != nil { // the core may have gone since
		return errors.Join(err, sock.Close())
	}
	local, remote := sock.LocalAddr().String(), sock.RemoteAddr().String()
	it.Log.Debug("link", "dir", dir, "remote", remote)
	err := it.CarryLink(ctx, sock, plug.LinkInfo{Dir: dir, Local: local, Remote: remote, Medium: medium})
	switch {
	case ctx.Err() != nil:
	case err != nil: // the core logs those whose peer is known; others anybody can make
		it.Log.Debug("link ended", "remote", remote, "error", err)
	default:
		it.Log.Debug("link ended", "remote", remote)
	}
	return err
}
