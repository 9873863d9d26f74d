package proxytcp

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// maxConns bounds the connections of one tcp-server. One more waits in the
// backlog until another ends.
const maxConns = 4096

// server carries the connections to a port into the mesh until ctx is done.
// They wait in the backlog while there is no core; one that waits for its
// stream holds up no other.
func server(ctx context.Context, it *plug.Item, p serverParams) error {
	l, err := it.Listen(ctx, "tcp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	target := plug.Target{Node: p.RemoteNode, Service: p.RemoteService}
	it.Log.Info("listening", "address", addr, "target", target.String())
	it.Up(addr)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }() // whoever leaves by an error has no use for it

	f := &failures{item: it, addr: addr}
	var conns sync.WaitGroup
	defer conns.Wait()
	free := make(chan struct{}, maxConns)
	backoff := plug.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if it.Attached(ctx) != nil {
			return nil
		}
		app, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			<-free
			f.failed(err) // out of descriptors, as a rule
			if backoff.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		backoff.Reset()
		conns.Go(func() {
			defer func() { <-free }()
			carry(ctx, it, app, target, f)
		})
	}
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
