package backendtcp

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// maxLinks bounds the links of one listener. One more waits in the backlog
// until another ends.
const maxLinks = 4096

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
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }() // whoever leaves by an error has no use for it

	var links sync.WaitGroup
	defer links.Wait()
	free := make(chan struct{}, maxLinks)
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
		sock, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = sock.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			<-free
			it.Degraded(addr, err) // out of descriptors, as a rule
			if backoff.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		backoff.Reset()
		it.Up(addr)
		links.Go(func() {
			defer func() { <-free }()
			_ = carry(ctx, it, sock, "in") // has been logged
		})
	}
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
	case err != nil:
		it.Log.Warn("link ended", "remote", remote, "error", err)
	default:
		it.Log.Info("link ended", "remote", remote)
	}
	return err
}
