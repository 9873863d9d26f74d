package plug

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
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
	l := it.takeListener(ctx, key)
	if l == nil {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		if it.role() == wire.RoleStream {
			lc.Control = armAccepted
		}
		var err error
		if l, err = lc.Listen(ctx, network, address); err != nil {
			return nil, err
		}
	}
	return it.keep(l, key), nil
}

// ListenUnix opens a Unix socket of the item for applications, as of
// socket.ListenShared, and keeps it as Listen does. The path stays when the
// listener is closed: an application that connects while this plug restarts waits.
func (it *Item) ListenUnix(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	key := "unix " + path
	l := it.takeListener(ctx, key)
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
	return it.keep(l, key), nil
}

// keep has each core that attaches keep a duplicate of l, until it is closed.
func (it *Item) keep(l net.Listener, key string) *keptListener {
	k := &keptListener{Listener: l, done: make(chan struct{})}
	var keeping context.Context
	keeping, k.stop = context.WithCancel(context.Background()) // until Close
	go func() {
		defer close(k.done)
		it.keepListener(keeping, l, key)
	}()
	return k
}

// keptListener is a listener of which each core that attaches gets a duplicate.
type keptListener struct {
	net.Listener
	stop context.CancelFunc
	done chan struct{}
}

// Close closes the listener here; the core's duplicate goes with the item, or
// when this plug does not come back.
func (k *keptListener) Close() error {
	k.stop()
	err := k.Listener.Close()
	<-k.done
	return err
}

// takeListener returns the listener that the core has kept, or nil.
func (it *Item) takeListener(ctx context.Context, key string) net.Listener {
	core, err := it.runner.attached()
	if err != nil || !core.handoff {
		return nil
	}
	files, err := core.session.CallFiles(ctx, wire.TypeTake, wire.Take{Item: it.ID, Key: key}, nil, nil)
	if err != nil {
		if told := (*wire.Error)(nil); !errors.As(err, &told) || told.Code != wire.CodeNotFound {
			it.Log.Debug("cannot take a kept listener", "error", err)
		}
		return nil
	}
	var l net.Listener
	for _, f := range files { // one
		if l == nil {
			if l, err = net.FileListener(f); err != nil {
				it.Log.Debug("cannot use a kept listener", "error", err)
			}
		}
		_ = f.Close() // a duplicate
	}
	return l
}

// keepListener gives each core that attaches a duplicate of l, until ctx is done.
func (it *Item) keepListener(ctx context.Context, l net.Listener, key string) {
	d, ok := l.(session.Descriptor)
	if !ok {
		return
	}
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
			it.Log.Debug("the core does not keep a listener", "error", err)
		}
	}
}
