package plughost

import (
	"context"
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// serveData serves a data connection: it becomes one object and ends with it.
func (h *Host) serveData(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) {
	var err error
	switch o.Type {
	case wire.TypeLink:
		err = h.serveLink(ctx, conn, cred, o)
	case wire.TypeDial:
		err = h.serveDial(ctx, conn, cred, o)
	case wire.TypeAttach:
		err = h.serveAttach(ctx, conn, cred, o)
	case wire.TypePBind:
		err = h.servePackets(ctx, conn, cred, o)
	default:
		err = wire.NewError(wire.CodeUnsupported, "%s opens no data connection", o.Type)
	}
	if err != nil {
		h.refuse(o, cred, err)
	}
}

// serveLink runs a link over conn. An error means that it was not answered.
func (h *Host) serveLink(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) error {
	var req wire.Link
	if err := o.Decode(&req); err != nil {
		return err
	}
	g, object, c, err := h.openLink(cred, req)
	if err != nil {
		return err
	}
	defer g.release(wire.RoleLink)

	// The answer is on the wire before the node writes its first frame.
	if err := o.Answer(wire.Opened{Object: object}); err != nil {
		g.log.Debug("plug went before its link began", "item", c.Item, "error", err)
		return nil
	}
	l, err := h.node.AddLink(conn, c)
	if err != nil {
		h.count("links_failed")
		level := hclog.Warn
		if errors.Is(err, netceptor.ErrPlain) {
			level = hclog.Debug // anybody can cause it, and the node has told
		}
		g.log.Log(level, "link refused by the node", "item", c.Item, "remote", c.Remote, "error", err)
		return nil
	}
	select {
	case <-l.Done():
	case <-ctx.Done():
		if err := l.Close(); err != nil {
			g.log.Debug("link did not close in order", "item", c.Item, "error", err)
		}
		<-l.Done()
	}
	return nil
}

// openLink checks a LINK against what the plug has, and reserves its place.
func (h *Host) openLink(cred socket.Cred, req wire.Link) (*guest, string, netceptor.LinkConfig, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var c netceptor.LinkConfig
	g, err := h.authorize(cred, req.Session)
	if err != nil {
		return nil, "", c, err
	}
	if _, c, err = g.linkItem(req); err != nil {
		return nil, "", c, err
	}
	if err := g.reserve(wire.RoleLink); err != nil {
		return nil, "", c, err
	}
	c.Mode = modeRelay
	return g, h.newObject(wire.RoleLink), c, nil
}

// How the bytes of a link get to the core, in status.
const (
	modeRelay   = "relay"   // through the plug
	modeHandoff = "handoff" // the core has the socket
)

// linkItem finds the item that a LINK names, and what the link is like. Callers
// hold mu.
func (g *guest) linkItem(req wire.Link) (*item, netceptor.LinkConfig, error) {
	it := g.carriedItem(req.Item)
	if it == nil || it.kind.Role != wire.RoleLink {
		return nil, netceptor.LinkConfig{}, wire.NewError(wire.CodeDenied, "%s has no item %q that makes links", g.hello.Name, clip(req.Item))
	}
	if req.Dir != dirIn && req.Dir != "out" || it.kind.Dir != "" && it.kind.Dir != req.Dir {
		return nil, netceptor.LinkConfig{}, wire.NewError(wire.CodeInvalid, "dir %q of a link of item %q", clip(req.Dir), it.id)
	}
	c := it.link
	c.Item, c.Dir = it.id, req.Dir
	c.Local, c.Remote, c.Medium = clip(req.Local), clip(req.Remote), clip(req.Medium)
	var err error
	if c.MediumTLS, err = it.tls.medium(req, g.rule); err != nil {
		return nil, netceptor.LinkConfig{}, err
	}
	return it, c, nil
}

// authorize finds the session that a data connection belongs to. Callers hold mu.
func (h *Host) authorize(cred socket.Cred, secret string) (*guest, error) {
	if g := h.guestBySecret(cred, secret); g != nil {
		return g, nil
	}
	return nil, wire.NewError(wire.CodeDenied, "no session of uid %d has that secret", cred.UID)
}
