package plughost

import (
	"context"
	"net"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// serveDial opens a stream through the mesh for a plug and carries it. An error
// means that the request was not answered.
func (h *Host) serveDial(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) error {
	var req wire.Dial
	if err := o.Decode(&req); err != nil {
		return err
	}
	g, object, err := h.openDial(cred, req)
	if err != nil {
		return err
	}
	defer g.release(wire.RoleStream)

	// A plug that goes takes its request with it.
	dctx, cancel := context.WithTimeout(o.WithHangup(ctx), timeoutOf(req))
	st, tls, err := g.dialNode(dctx, req)
	cancel()
	g.endDial(req)
	if err != nil {
		return dialError(err, req.Node, req.Service)
	}
	if err := o.Answer(wire.Opened{Object: object}); err != nil {
		_ = st.Reset() // nobody is left to hear of an error
		return nil
	}
	app, err := h.withApplication(ctx, req.Item, tls, relayed{recordconn.New(conn)})
	if err != nil {
		_ = st.Reset()
		return nil
	}
	h.relay(ctx, app, st)
	return nil
}

// relay joins an application behind a data connection to its stream, and waits
// for the end, which comes with that of ctx as well.
func (h *Host) relay(ctx context.Context, app application, st *netceptor.Conn) {
	over := make(chan struct{})
	j := h.join(app, st, func() { close(over) })
	stop := context.AfterFunc(ctx, j.abort)
	<-over
	stop()
}

// openDial checks a DIAL against what the plug may, and reserves its place.
func (h *Host) openDial(cred socket.Cred, req wire.Dial) (*guest, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, err := h.authorize(cred, req.Session)
	if err != nil {
		return nil, "", err
	}
	if err := g.mayDial(req); err != nil {
		return nil, "", err
	}
	if err := g.reserve(wire.RoleStream); err != nil {
		return nil, "", err
	}
	if err := g.beginOpen(dialKey(req)); err != nil {
		g.objects[wire.RoleStream]--
		return nil, "", err
	}
	return g, h.newObject(wire.RoleStream), nil
}

// mayDial checks a DIAL against what the plug may. Callers hold mu.
func (g *guest) mayDial(req wire.Dial) error {
	if err := g.checkItem(req.Item); err != nil {
		return err
	}
	if req.Node == "" || req.Service == "" {
		return wire.NewError(wire.CodeInvalid, "DIAL needs a node and a service")
	}
	if rr, _ := g.rule.allowsRole(wire.RoleStream); !rr.allowsDial(req.Node, req.Service) {
		return wire.NewError(wire.CodeDenied, "plugs-policy does not allow %s to dial service %q on node %q",
			g.hello.Name, clip(req.Service), clip(req.Node))
	}
	return nil
}

// dialNode opens a stream with the TLS of the item that a DIAL names, and returns
// that.
func (g *guest) dialNode(ctx context.Context, req wire.Dial) (*netceptor.Conn, itemTLS, error) {
	t, err := g.ofItem(req.Item)
	if err != nil {
		return nil, t, err
	}
	st, err := g.host.node.DialWith(ctx, req.Node, req.Service, netceptor.DialOptions{TLS: t.client})
	return st, t, err
}

// dialKey is what pending dials are counted by.
func dialKey(req wire.Dial) string { return "dial " + req.Item }

// checkItem checks the item that a request of role stream names, if any: one of
// that role, or of a worker, which may serve and dial as well. Callers hold mu.
func (g *guest) checkItem(id string) error {
	if id == "" {
		return nil
	}
	if it := g.carriedItem(id); it == nil || it.kind.Role != wire.RoleStream && it.kind.Role != wire.RoleWorker {
		return wire.NewError(wire.CodeDenied, "%s has no item %q that carries streams", g.hello.Name, clip(id))
	}
	return nil
}

// timeoutOf is how long a DIAL may take.
func timeoutOf(req wire.Dial) time.Duration {
	if req.TimeoutMS <= 0 {
		return wire.DialTimeout
	}
	return time.Duration(min(req.TimeoutMS, int64(maxDialTimeout/time.Millisecond))) * time.Millisecond
}
