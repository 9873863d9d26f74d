package plughost

import (
	"context"
	"net"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// maxDatagram is the largest datagram that arrives whatever the media on the way: one
// over UDP, without the header of the mesh.
const maxDatagram = 65507 - 36

// servePackets opens a packet service for a plug and carries its datagrams until the
// connection ends. An error means that the request was not answered.
func (h *Host) servePackets(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) error {
	var req wire.PBind
	if err := o.Decode(&req); err != nil {
		return err
	}
	p, err := h.openPackets(ctx, cred, req, packetconn.New(conn))
	if err != nil {
		return err
	}
	defer p.guest.release(wire.RolePacket)
	defer p.closed()
	bound := wire.PBound{Object: p.object, Node: h.node.NodeID(), Service: p.service, MTU: maxDatagram}
	if err := o.Answer(bound); err != nil {
		p.guest.log.Debug("plug went before its packet service began", "service", p.service, "error", err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	p.carried.Go(func() {
		defer h.recovered("peers", "service", p.service)
		p.watch(req.Watch)
	})
	p.serve()
	return nil
}

// openPackets checks a PBIND against what the plug may, reserves its place and binds
// the service. An earlier connection of the same item that has the service gives way:
// it is that of a process that has just died.
func (h *Host) openPackets(ctx context.Context, cred socket.Cred, req wire.PBind, conn *packetconn.Conn) (*packets, error) {
	for {
		p, older, err := h.tryPackets(cred, req, conn)
		if older == nil {
			return p, err
		}
		older.end()
		select {
		case <-older.done:
		case <-ctx.Done():
			return nil, errStopping()
		}
	}
}

func (h *Host) tryPackets(cred socket.Cred, req wire.PBind, conn *packetconn.Conn) (p, older *packets, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, err := h.authorize(cred, req.Session)
	if err != nil {
		return nil, nil, err
	}
	it, err := g.mayBindPackets(req)
	if err != nil {
		return nil, nil, err
	}
	for _, other := range h.packets {
		if req.Service != "" && other.service == req.Service && other.item == it.id && userKey(other.guest.cred) == userKey(cred) {
			return nil, other, nil
		}
	}
	if err := g.reserve(wire.RolePacket); err != nil {
		return nil, nil, err
	}
	main, err := h.node.ListenPacket(req.Service, netceptor.ListenOptions{Advertise: req.Advertise, Tags: req.Tags})
	if err != nil {
		g.objects[wire.RolePacket]--
		return nil, nil, bindError(err, req.Service)
	}
	p = newPackets(h, g, it.id, h.newObject(wire.RolePacket), main, conn)
	h.packets[p.object] = p
	return p, nil, nil
}

// mayBindPackets checks a PBIND, and returns its item. Callers hold mu.
func (g *guest) mayBindPackets(req wire.PBind) (*item, error) {
	it := g.carriedItem(req.Item)
	if it == nil || it.kind.Role != wire.RolePacket {
		return nil, wire.NewError(wire.CodeDenied, "%s has no item %q that carries packets", g.hello.Name, clip(req.Item))
	}
	if err := checkTags(req.Service, req.Tags); err != nil {
		return nil, err
	}
	if err := checkTags(req.Service, req.Watch); err != nil {
		return nil, err
	}
	rr, _ := g.rule.allowsRole(wire.RolePacket)
	if !rr.allowsBind(req.Service) {
		return nil, wire.NewError(wire.CodeDenied, "plugs-policy does not allow %s to bind service %q", g.hello.Name, clip(req.Service))
	}
	return it, nil
}
