package plug

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// relayBuffer is what one direction of a link is copied with, once that has
	// filled relayQuiet: most links carry little.
	relayBuffer = 64 << 10
	relayQuiet  = 4 << 10

	// linkBuffer bounds what waits in a link's data connection, so that control
	// frames do not wait behind bulk. As fast as eight times as much.
	linkBuffer = 32 << 10

	// linkFarewell is how long the other node may take to read the last frames
	// of a link, such as the one that refuses it, before its socket is closed.
	linkFarewell = time.Second
)

// LinkInfo describes a link for status and logs.
type LinkInfo struct {
	Dir           string // "in" or "out"
	Local, Remote string
	Medium        string

	// Of a medium that has TLS of its own, which the plug speaks: that it does, and
	// the node IDs in the certificate of the other side, if that was verified.
	Secured bool
	Names   []string
}

// Target is a service on a node.
type Target struct{ Node, Service string }

// String is the target as people write it.
func (t Target) String() string { return t.Node + "/" + t.Service }

// linkBody is what LINK says.
func (it *Item) linkBody(core *attachment, i LinkInfo) wire.Link {
	return wire.Link{
		Session: core.secret, Item: it.ID, Dir: i.Dir, Local: i.Local, Remote: i.Remote, Medium: i.Medium,
		Secured: i.Secured, Names: i.Names,
	}
}

// OpenLink opens a data connection that carries link framing, for a plug that
// makes frames itself. The caller owns the connection. A refusal by the core is
// a *wire.Error; without a core it fails at once.
func (it *Item) OpenLink(ctx context.Context, i LinkInfo) (net.Conn, error) {
	core, err := it.runner.attached()
	var conn net.Conn
	if err == nil {
		conn, err = it.runner.open(ctx, wire.TypeLink, it.linkBody(core, i))
	}
	if err != nil {
		return nil, fmt.Errorf("open link: %w", err)
	}
	if b, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		if err := b.SetWriteBuffer(linkBuffer); err != nil {
			it.Log.Debug("cannot bound the buffer of a link", "error", err)
		}
	}
	return conn, nil
}

// CarryLink gives a connected stream socket, from which nothing was read, to the
// core as a link and returns when the link has ended, nil if that was in order.
// It owns sock from now on. ctx is for the opening.
//
// A TCP socket is handed over where the core takes it: then the core carries the
// link, which outlives this process. CarryLink returns all the same when the item
// is stopped or drained: see Item.Live. Bytes of other sockets are relayed until either side
// ends or the item is stopped.
func (it *Item) CarryLink(ctx context.Context, sock net.Conn, i LinkInfo) error {
	if core, err := it.runner.attached(); err == nil {
		o, handed, err := core.handOver(ctx, sock, wire.TypeLink, it.linkBody(core, i))
		if handed {
			_ = sock.Close() // the core has it
			if err != nil {
				return fmt.Errorf("open link: %w", err)
			}
			return it.runner.links.opened(it.ID, wire.Live{Object: o.Object, Remote: i.Remote}).wait(it.accept)
		}
	}
	core, err := it.OpenLink(ctx, i)
	if err != nil {
		return errors.Join(err, sock.Close())
	}
	return it.relay(sock, core)
}

// relay carries a link's bytes both ways until either side ends, then closes both.
func (it *Item) relay(sock, core net.Conn) error {
	stop := context.AfterFunc(it.relays, func() {
		_ = sock.Close()
		_ = core.Close()
	})
	defer stop()
	var in error // how the socket ended
	var wg sync.WaitGroup
	wg.Go(func() {
		var failed error
		in, failed = copyBytes(core, sock)
		// A core that takes no more has closed: the other direction sees that
		// after its last words.
		if failed == nil {
			_ = core.Close() // ends the other direction, and tells the core
		}
	})
	out, failed := copyBytes(StallWriter{sock}, core)
	// A Unix socket that was closed with bytes unread says ECONNRESET.
	byCore := failed == nil && (out == nil || errors.Is(out, syscall.ECONNRESET))
	if byCore {
		farewell(sock)
	}
	_ = sock.Close()
	_ = core.Close()
	wg.Wait()
	switch {
	case it.relays.Err() != nil:
		return context.Cause(it.relays)
	case byCore:
		return nil
	case failed != nil:
		return failed
	case errors.Is(out, net.ErrClosed): // by the other direction
		return in
	default:
		return out
	}
}

// farewell lets the other node read what was written last: a socket that is
// closed with bytes unread resets, and that would overtake them.
func farewell(sock net.Conn) {
	if c, ok := sock.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	if sock.SetReadDeadline(time.Now().Add(linkFarewell)) == nil {
		_, _ = io.Copy(io.Discard, sock) // ends by the deadline at the latest
	}
}

// copyBytes copies from src until it ends, in order if ended is nil, or dst has
// failed. io.Copy would splice, whose pipes are few and can lose what is in them.
func copyBytes(dst io.Writer, src io.Reader) (ended, failed error) {
	buf := make([]byte, relayQuiet)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return nil, err
			}
		}
		if n == len(buf) && n < relayBuffer {
			buf = make([]byte, relayBuffer)
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}

// Dial opens a stream through the mesh; the caller owns it. The answer means
// that it is open: a target that is not there, or refuses, is a *wire.Error.
// Without a core it fails at once. While the item has wire.MaxOpensPerItem
// dials without an answer others wait for them; the 15 s in all stay.
func (it *Item) Dial(ctx context.Context, t Target) (*recordconn.Conn, error) {
	var mesh *recordconn.Conn
	err := it.dial(ctx, t, func(_ *attachment, d wire.Dial) (err error) {
		mesh, err = it.runner.openStream(ctx, wire.TypeDial, d)
		return err
	})
	return mesh, err
}

// dial has send send DIAL when it is its turn, and wait for the answer.
func (it *Item) dial(ctx context.Context, t Target, send func(core *attachment, d wire.Dial) error) error {
	end := time.Now().Add(wire.DialTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if err := it.awaitTurn(ctx, end); err != nil {
		return fmt.Errorf("dial %s: %w", t, err)
	}
	defer func() { <-it.dials }()
	core, err := it.runner.attached()
	if err == nil {
		err = send(core, wire.Dial{
			Session: core.secret, Item: it.ID, Node: t.Node, Service: t.Service, TimeoutMS: max(time.Until(end).Milliseconds(), 1),
		})
	}
	if err != nil {
		return fmt.Errorf("dial %s: %w", t, err)
	}
	return nil
}

// awaitTurn takes a place among the dials that wait for their answers, until
// end at the latest: the core refuses what is more.
func (it *Item) awaitTurn(ctx context.Context, end time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case it.dials <- struct{}{}: // as a rule
		return nil
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	select {
	case it.dials <- struct{}{}:
		return nil
	case <-ctx.Done():
		return wire.NewError(wire.CodeTimeout, "%d dials before it have no answer yet", cap(it.dials))
	}
}

// DialOptions are what CarryDial can be told besides.
type DialOptions struct {
	OnOpen func() // called when the stream is open; nil: nothing
}

// CarryDial opens a stream through the mesh and joins it to an application's
// socket, from which nothing was read: half-closes are kept, a reset on one side
// is a reset on the other. It owns app from now on; when the stream cannot be
// opened app is reset, and the error is a *DialError. ctx is for the opening.
//
// A TCP or Unix socket is handed over where the core takes it: CarryDial returns
// nil once the stream is open, and the core carries it, whatever becomes of the
// item or this process. Else the bytes are relayed: CarryDial returns when both
// directions have ended, or with what went wrong, which may be the item's stop.
func (it *Item) CarryDial(ctx context.Context, app net.Conn, t Target, o DialOptions) error {
	armReset(app)
	var mesh *recordconn.Conn // nil: app is handed over
	err := it.dial(ctx, t, func(core *attachment, d wire.Dial) error {
		_, handed, err := core.handOver(ctx, app, wire.TypeDial, d)
		if !handed {
			mesh, err = it.runner.openStream(ctx, wire.TypeDial, d)
		}
		return err
	})
	if err != nil {
		_ = app.Close() // a reset: all that can be told there
		return &DialError{err}
	}
	if o.OnOpen != nil {
		o.OnOpen()
	}
	if mesh == nil {
		_ = app.Close() // the core has it
		return nil
	}
	return it.join(app, mesh)
}

// DialError tells that a stream or its local target could not be opened, as
// opposed to one that broke later.
type DialError struct{ Err error }

// Error implements error.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *DialError) Unwrap() error { return e.Err }

// open opens a data connection.
func (r *runner) open(ctx context.Context, t wire.Type, body any) (net.Conn, error) {
	conn, err := r.options.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := session.Open(ctx, conn, t, body); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// openStream opens a data connection that carries records.
func (r *runner) openStream(ctx context.Context, t wire.Type, body any) (*recordconn.Conn, error) {
	conn, err := r.open(ctx, t, body)
	if err != nil {
		return nil, err
	}
	return recordconn.New(conn), nil
}
