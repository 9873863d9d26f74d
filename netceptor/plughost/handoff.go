package plughost

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/internal/adopted"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// handLink answers LINK on a session: the link runs over the socket that came
// with it.
func (g *guest) handLink(ctx context.Context, r *session.Request) (any, error) {
	var req wire.Link
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	sock, err := g.adopt(r.TakeFiles(), adopted.Internet)
	if err != nil {
		return nil, err
	}
	o, c, err := g.holdLink(req)
	if err != nil {
		_ = sock.Close() // nothing was done with it: the plug may relay its own copy
		return nil, err
	}
	opened := make(chan error, 1)
	if !g.host.spawn(func() { g.runLink(ctx, o, c, &linkSocket{Conn: sock, residual: req.Residual}, opened) }) {
		_ = sock.Close()
		g.host.letGo(o)
		return nil, errStopping()
	}
	return g.answered(ctx, o, opened)
}

// holdLink checks a LINK against what the plug has, and counts it.
func (g *guest) holdLink(req wire.Link) (*handed, netceptor.LinkConfig, error) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	if len(req.Residual) > maxResidual {
		return nil, netceptor.LinkConfig{}, wire.NewError(wire.CodeInvalid, "residual has %d bytes, at most %d are allowed", len(req.Residual), maxResidual)
	}
	it, c, err := g.linkItem(req)
	if err != nil {
		return nil, c, err
	}
	c.Mode = modeHandoff
	o, err := g.hold(g.host.newObject(wire.RoleLink), wire.RoleLink, it, req.Remote)
	return o, c, err
}

// runLink runs a handed-over link to its end. request is that of the LINK,
// which ends when the answer has been sent.
func (g *guest) runLink(request context.Context, o *handed, c netceptor.LinkConfig, sock *linkSocket, opened chan<- error) {
	h := g.host
	defer h.letGo(o)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	h.stopBy(o, cancel)
	l, err := h.node.AddLink(sock, c)
	if err != nil {
		h.count("links_failed")
		_ = sock.Reset() // whatever it says: the link has failed
		opened <- wire.NewError(wire.CodeInternal, "link refused by the node: %v", err)
		return
	}
	opened <- nil
	select {
	case <-l.Done():
	case <-ctx.Done():
		_ = l.Close() // it never fails
	}
	sock.farewell()
	<-request.Done() // CLOSED comes after the answer
	h.tellClosed(o, l.Err())
}

// linkSocket is the socket of a link that was handed over.
type linkSocket struct {
	*adopted.Conn
	residual []byte // what the plug had read already; for Read only
}

// Read implements net.Conn.
func (s *linkSocket) Read(p []byte) (int, error) {
	if len(s.residual) > 0 {
		n := copy(p, s.residual)
		s.residual = s.residual[n:]
		return n, nil
	}
	return s.Conn.Read(p)
}

// Close ends the writing direction, and unblocks Read and Write; farewell
// closes the socket. It fails only where there is nothing left to end.
func (s *linkSocket) Close() error {
	_ = s.CloseWrite()
	_ = s.SetDeadline(time.Unix(1, 0))
	return nil
}

// farewell closes the socket once the other node has read what was written last,
// such as why it is refused: a socket that is closed with bytes unread resets, and
// that would overtake them.
func (s *linkSocket) farewell() {
	if s.SetReadDeadline(time.Now().Add(linkFarewell)) == nil {
		_, _ = s.WriteTo(io.Discard) // ends by the deadline at the latest
	}
	_ = s.Conn.Close()
}

// handDial answers DIAL on a session: the stream is joined to the socket that
// came with it.
func (g *guest) handDial(r *session.Request) (any, error) {
	var req wire.Dial
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	sock, err := g.adoptApplication(r.TakeFiles())
	if err != nil {
		return nil, err
	}
	o, err := g.holdDial(req)
	if err != nil {
		_ = sock.Close() // armed: a reset
		return nil, err
	}
	answer := r.Later(func() { g.host.end(o) })
	if !g.host.spawn(func() { g.runDial(o, req, sock, answer) }) {
		_ = sock.Close()
		g.endDial(req)
		g.host.letGo(o)
		_ = answer(nil, errStopping()) // the session ends as well
	}
	return nil, nil
}

// holdDial checks a DIAL against what the plug may, and counts it.
func (g *guest) holdDial(req wire.Dial) (*handed, error) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	if err := g.mayDial(req); err != nil {
		return nil, err
	}
	if err := g.beginOpen(dialKey(req)); err != nil {
		return nil, err
	}
	o, err := g.hold(g.host.newObject(wire.RoleStream), wire.RoleStream, g.carriedItem(req.Item), req.Node)
	if err != nil {
		g.endOpen(dialKey(req))
	}
	return o, err
}

// runDial opens a stream for an application's socket, answers, and has the
// stream carried.
func (g *guest) runDial(o *handed, req wire.Dial, sock *adopted.Conn, answer session.AnswerFunc) {
	h := g.host
	ctx, cancel := context.WithTimeout(h.ctx, timeoutOf(req))
	h.stopBy(o, cancel)
	st, tls, err := g.dialNode(ctx, req)
	cancel()
	g.endDial(req)
	if err != nil {
		_ = sock.Close() // armed: a reset
		h.letGo(o)
		_ = answer(nil, dialError(err, req.Node, req.Service)) // fails where nobody waits for it
		return
	}
	err = answer(wire.Opened{Object: o.object}, nil)
	if err != nil && !errors.Is(err, session.ErrClosed) { // it was withdrawn in the last moment
		_ = st.Reset()
		_ = sock.Close()
		h.letGo(o)
		return
	}
	app, err := h.secure(h.ctx, o, tls, sock)
	if err != nil {
		_ = st.Reset()
		h.letGo(o)
		return
	}
	h.carry(o, app, st)
}

// secure is withApplication for a handed-over socket; the end of the object ends
// it.
func (h *Host) secure(ctx context.Context, o *handed, tls itemTLS, sock *adopted.Conn) (application, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.stopBy(o, cancel)
	return h.withApplication(ctx, o.item, tls, direct{sock})
}

// carry joins an application, whose socket was handed over, to its stream.
func (h *Host) carry(o *handed, app application, st *netceptor.Conn) {
	j := h.join(app, st, func() { h.letGo(o) })
	h.stopBy(o, j.abort)
}

// endDial is the counterpart of the beginOpen of a DIAL.
func (g *guest) endDial(req wire.Dial) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	g.endOpen(dialKey(req))
}

// adoptApplication takes over an application's socket. From here on it is reset
// unless both directions end in order.
func (g *guest) adoptApplication(files []*os.File) (*adopted.Conn, error) {
	sock, err := g.adopt(files, adopted.Internet, adopted.Unix)
	if err != nil {
		return nil, err
	}
	if err := sock.ArmReset(); err != nil {
		_ = sock.Reset()
		return nil, wire.NewError(wire.CodeInternal, "%v", err)
	}
	return sock, nil
}

// takeHanded joins an offered stream to the socket that came with the answer to
// ACCEPT. It owns the files. An error means that the stream is still offered.
func (g *guest) takeHanded(b *bind, o *offer, a wire.Accept, files []*os.File) error {
	sock, err := g.adoptApplication(files)
	if err != nil {
		return err
	}
	held, err := g.holdOffer(b, o, a)
	if err != nil {
		_ = sock.Close() // armed: a reset
		return err
	}
	// The remote side is told that it is open when it is, as far as the application.
	app, err := g.host.secure(g.host.ctx, held, o.tls, sock)
	if err != nil {
		o.in.Refuse()
		g.host.letGo(held)
		return nil
	}
	st, err := o.in.Accept()
	if err != nil {
		g.log.Debug("the remote side of a stream has given up", "object", a.Object, "error", err)
		_ = app.Close() // armed: a reset
		g.host.letGo(held)
		return nil
	}
	g.host.carry(held, app, st)
	return nil
}

// holdOffer claims an offered stream, and counts it.
func (g *guest) holdOffer(b *bind, o *offer, a wire.Accept) (*handed, error) {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offers[a.Object] != o {
		return nil, wire.NewError(wire.CodeGone, "stream %q was attached to already", a.Object)
	}
	held, err := g.hold(a.Object, wire.RoleStream, g.itemOf(b.req.Item), a.Remote.Node)
	if err != nil {
		return nil, err
	}
	delete(h.offers, a.Object)
	close(o.taken)
	return held, nil
}
