package proxytcp

import (
	"context"
	"errors"
	"net"

	"github.com/project-receptor/receptor/plug"
)

// server carries the connections to a listener, which it owns, into the mesh until
// ctx is done. They wait in the backlog while there is no core; one that waits for
// its stream holds up no other.
func server(ctx context.Context, it *plug.Item, l net.Listener, target plug.Target) error {
	addr := l.Addr().String()
	it.Log.Info("listening", "address", addr, "target", target.String())
	it.Up(addr)
	f := &failures{item: it, addr: addr}
	return it.Accept(ctx, l, func(ctx context.Context, app net.Conn) {
		carry(ctx, it, app, target, f)
	}, f.failed)
}

// carry carries one connection.
func carry(ctx context.Context, it *plug.Item, app net.Conn, t plug.Target, f *failures) {
	from := app.RemoteAddr().String()
	err := it.Attached(ctx) // the core may have gone since it was accepted
	if err == nil {
		err = it.CarryDial(ctx, app, t, plug.DialOptions{OnOpen: f.succeeded})
	} else {
		_ = app.Close()
	}
	var dial *plug.DialError
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &dial):
		f.failed(dial)
	default:
		it.Log.Debug("stream ended early", "from", from, "error", err)
	}
}
