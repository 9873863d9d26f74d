package backendtcp

import (
	"context"
	"encoding/binary"
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
	return it.AcceptLinks(ctx, l, opening, func(ctx context.Context, sock net.Conn) {
		it.Up(addr)
		_ = carry(ctx, it, sock, plug.LinkInfo{Dir: "in", Remote: sock.RemoteAddr().String()}) // has been logged
	}, func(err error) { it.Degraded(addr, err) })
}

// opening tells whether a link may begin with these bytes: with a routing update,
// whole as far as it is shown, or with TLS. Which of them it has to be the core knows.
func opening(head []byte) plug.Verdict {
	if v := plug.OpensTLS(head); v != plug.NoLink {
		return v
	}
	const update = "\x01{" // behind the length: its type, and the first byte of an object
	if len(head) < 4 {
		return plug.TooShort
	}
	switch size := 2 + int(binary.LittleEndian.Uint16(head)); {
	case string(head[2:4]) != update:
		return plug.NoLink
	case len(head) < size:
		return plug.TooShort
	}
	return plug.MayBeLink
}

// carry runs a link over sock until it ends, and says why in the log.
func carry(ctx context.Context, it *plug.Item, sock net.Conn, i plug.LinkInfo) error {
	if err := plug.TuneLink(sock); err != nil {
		it.Log.Debug("cannot tune a socket", "error", err)
	}
	if err := it.Attached(ctx); err != nil { // the core may have gone since
		return errors.Join(err, sock.Close())
	}
	i.Local, i.Medium = sock.LocalAddr().String(), medium
	it.Log.Debug("link", "dir", i.Dir, "remote", i.Remote)
	err := it.CarryLink(ctx, sock, i)
	switch {
	case ctx.Err() != nil:
	case err != nil: // the core logs those whose peer is known; others anybody can make
		it.Log.Debug("link ended", "remote", i.Remote, "error", err)
	default:
		it.Log.Debug("link ended", "remote", i.Remote)
	}
	return err
}
