package plug

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// portTime is how long the process before may take to let a port go: it has been told
	// already, and does nothing else. Whoever connects meanwhile is refused.
	portTime  = 2 * time.Second
	portRetry = 5 * time.Millisecond
)

// Listen opens a TCP listener of the item, whose Close has to be called. Where
// the core can, it keeps a duplicate, so that connections wait while this plug
// restarts: then Listen returns what an earlier process has left, the same port
// where the address names none. ctx is for the opening.
//
// Multipath TCP is off: such sockets cannot be handed over. Of an item that carries
// streams, what is accepted is an application's socket, and is armed before anybody
// has it: that of a process that dies in accept is reset, and does not end.
func (it *Item) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	key := network + " " + address
	l := takeSocket(ctx, it, key, net.FileListener)
	if l == nil {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		if it.role() == wire.RoleStream {
			lc.Control = armAccepted
		}
		var err error
		if l, err = it.listen(ctx, &lc, network, address); err != nil {
			return nil, err
		}
	}
	return &keptListener{l, it.keep(l, key)}, nil
}

// listen opens a listener. In a process that takes over, the one before may have the port
// for a moment still, where no core keeps it.
func (it *Item) listen(ctx context.Context, lc *net.ListenConfig, network, address string) (net.Listener, error) {
	end := time.Now().Add(portTime)
	for {
		l, err := lc.Listen(ctx, network, address)
		if err == nil || !it.runner.options.Takeover || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return l, err
		}
		if pause(ctx, portRetry) != nil {
			return nil, err
		}
	}
}

// ListenUnix opens a Unix socket of the item for applications, as of
// socket.ListenShared, and keeps it as Listen does. The path stays when the
// listener is closed: an application that connects while this plug restarts waits.
func (it *Item) ListenUnix(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	key := "unix " + path
	l := takeSocket(ctx, it, key, net.FileListener)
	if l != nil {
		if !socket.IsSocket(path) { // nobody could find what was kept
			_ = l.Close()
			l = nil
		} else if err := os.Chmod(path, mode); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if l == nil {
		fresh, err := socket.ListenShared(path, socket.Options{Mode: mode, Group: -1})
		if err != nil {
			return nil, err
		}
		l = fresh
	}
	return &keptListener{l, it.keep(l, key)}, nil
}

// keptListener is a listener of which each core that attaches gets a duplicate.
type keptListener struct {
	net.Listener
	keeping *keeping
}

// Close closes the listener here; the core's duplicate goes with the item, or
// when this plug does not come back.
func (k *keptListener) Close() error {
	return k.keeping.end(k.Listener.Close)
}

// UDPSocket is a bound UDP socket of which each core that attaches gets a duplicate.
type UDPSocket struct {
	*net.UDPConn
	keeping *keeping
}

// Close closes the socket here, as that of a listener.
func (s *UDPSocket) Close() error { return s.keeping.end(s.UDPConn.Close) }

// ListenUDP opens a UDP socket of the item, whose Close has to be called. The core
// keeps it as Listen says: it stays bound while this plug restarts, and what comes
// meanwhile waits in it, as far as it has room.
func (it *Item) ListenUDP(ctx context.Context, network, address string) (*UDPSocket, error) {
	key := network + " " + address
	c := takeSocket(ctx, it, key, net.FilePacketConn)
	if c == nil {
		var err error
		if c, err = new(net.ListenConfig).ListenPacket(ctx, network, address); err != nil {
			return nil, err
		}
	}
	sock, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen %s %s: not UDP", network, address), c.Close())
	}
	return &UDPSocket{sock, it.keep(sock, key)}, nil
}

// keeping is the goroutine that has a socket kept.
type keeping struct {
	stop context.CancelFunc
	done chan struct{}
}

// keep gives each core that attaches a duplicate of a socket, until end.
func (it *Item) keep(sock any, key string) *keeping {
	ctx, stop := context.WithCancel(context.Background())
	k := &keeping{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		if d, ok := sock.(session.Descriptor); ok {
			it.keepSocket(ctx, d, key)
		}
	}()
	return k
}

// end stops it and closes the socket.
func (k *keeping) end(closeSocket func() error) error {
	k.stop()
	err := closeSocket()
	<-k.done
	return err
}

// takeSocket returns the socket that the core has kept, made of its descriptor by
// open, or nil.
func takeSocket[T io.Closer](ctx context.Context, it *Item, key string, open func(*os.File) (T, error)) (sock T) {
	core, err := it.runner.attached()
	if err != nil || !core.handoff {
		return sock
	}
	files, err := core.session.CallFiles(ctx, wire.TypeTake, wire.Take{Item: it.ID, Key: key}, nil, nil)
	if err != nil {
		if told := (*wire.Error)(nil); !errors.As(err, &told) || told.Code != wire.CodeNotFound {
			it.Log.Debug("cannot take a kept socket", "error", err)
		}
		return sock
	}
	for i, f := range files { // one
		if i == 0 {
			if sock, err = open(f); err != nil {
				it.Log.Debug("cannot use a kept socket", "error", err)
			}
		}
		_ = f.Close() // a duplicate
	}
	return sock
}

// keepSocket gives each core that attaches a duplicate, until ctx is done.
func (it *Item) keepSocket(ctx context.Context, d session.Descriptor, key string) {
	var core *attachment
	for {
		var err error
		if core, err = it.runner.await(ctx, core); err != nil {
			return
		}
		if !core.handoff {
			continue
		}
		err = core.session.CallSocket(ctx, wire.TypeKeep, wire.Keep{Item: it.ID, Key: key}, nil, d)
		if err != nil && ctx.Err() == nil {
			it.Log.Debug("the core does not keep a socket", "error", err)
		}
	}
}
