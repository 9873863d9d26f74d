package plughost

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// packets is a packet service of a plug, with its flows.
type packets struct {
	host    *Host
	guest   *guest
	item    string
	object  string
	service string
	main    *netceptor.PacketConn
	conn    *packetconn.Conn

	carried sync.WaitGroup // what reads from the mesh
	done    chan struct{}  // closed when the service is free again

	mu       sync.Mutex
	over     bool
	flows    map[uint32]*flow
	byRemote map[netceptor.Addr]*flow // those of the service itself
	last     uint32                   // handle that the core has made
	uses     uint64
}

// flow is one of them: where its datagrams go, and come from.
type flow struct {
	handle uint32
	remote netceptor.Addr
	local  *netceptor.PacketConn
	fresh  bool          // local is of this flow alone
	way    netceptor.Way // as the plug was told
	used   uint64        // by packets.uses: the smallest is the one that was idle longest
}

func newPackets(h *Host, g *guest, item, object string, main *netceptor.PacketConn, conn *packetconn.Conn) *packets {
	p := &packets{
		host: h, guest: g, item: item, object: object, main: main, conn: conn, done: make(chan struct{}),
		flows: make(map[uint32]*flow), byRemote: make(map[netceptor.Addr]*flow),
	}
	p.service = serviceOf(main)
	return p
}

func serviceOf(c *netceptor.PacketConn) string {
	a, _ := c.LocalAddr().(netceptor.Addr) // as PacketConn says
	return a.Service
}

// serve carries datagrams both ways until the connection or the service ends.
func (p *packets) serve() {
	p.carried.Go(func() {
		defer p.host.recovered("packets", "service", p.service)
		defer p.end()
		if err := p.conn.Write(); !errors.Is(err, net.ErrClosed) {
			p.guest.log.Debug("packet service ended", "service", p.service, "error", err)
		}
	})
	p.read(p.main, nil)
	for {
		if err := p.conn.Read(p.record); err != nil {
			var broken *wire.FormatError
			if told := (*wire.Error)(nil); errors.As(err, &broken) || errors.As(err, &told) {
				p.host.count("packet_protocol")
				p.guest.log.Warn("plug breaks the protocol of packets", "service", p.service, "error", err)
			}
			break
		}
	}
	p.end()
	p.carried.Wait()
}

// end ends the service; whoever serves it notices.
func (p *packets) end() {
	p.mu.Lock()
	p.over = true
	for _, f := range p.flows {
		p.close(f)
	}
	p.mu.Unlock()
	_ = p.main.Close() // it never fails
	_ = p.conn.Close() // likewise
}

// closed makes it known that the service is free again.
func (p *packets) closed() {
	p.end()
	p.host.mu.Lock()
	delete(p.host.packets, p.object)
	p.host.mu.Unlock()
	close(p.done)
}

// record takes a record of the plug's.
func (p *packets) record(h wire.RecordHeader, b []byte) error {
	switch h.Type {
	case wire.RecordData:
		p.send(h.Peer, b)
		return nil
	case wire.RecordPeer:
		return p.define(h.Peer, b)
	default: // GONE, as CheckPacket has looked
		p.mu.Lock()
		defer p.mu.Unlock()
		if f := p.flows[h.Peer]; f != nil {
			p.close(f)
		}
		return nil
	}
}

// send sends a datagram of the plug's into the mesh. What cannot be sent is dropped
// and counted, as on the way.
func (p *packets) send(handle uint32, b []byte) {
	p.mu.Lock()
	f := p.flows[handle]
	if f != nil {
		p.uses++
		f.used = p.uses
	}
	p.mu.Unlock()
	switch {
	case f == nil:
		p.host.count("packets_without_flow")
		return
	case len(b) > maxDatagram:
		p.host.count("packets_too_long")
		return
	}
	if _, err := f.local.WriteTo(b, f.remote); err != nil {
		p.host.count("packets_unsent")
		if errors.Is(err, netceptor.ErrServiceUnknown) {
			p.gone(f, wire.Gone{Code: wire.CodeUnreachable, Msg: "service unknown"})
		}
	}
}

// define takes a flow of the plug's, which replaces one that has its handle.
func (p *packets) define(handle uint32, b []byte) error {
	if handle%2 == 0 {
		return wire.NewError(wire.CodeInvalid, "PEER with handle %d: those of plugs are odd", handle)
	}
	var peer wire.Peer
	if err := json.Unmarshal(b, &peer); err != nil {
		return wire.NewError(wire.CodeInvalid, "PEER: %v", err)
	}
	f := &flow{handle: handle, remote: netceptor.Addr{Node: peer.Node, Service: peer.Service}, local: p.main}
	switch {
	case peer.Node == "" || peer.Service == "" || len(peer.Service) > 8:
		return p.refuse(handle, wire.CodeInvalid, "PEER needs a node and a service of 1 to 8 bytes")
	case peer.Local == wire.LocalFresh:
		fresh, err := p.host.node.ListenPacket("", netceptor.ListenOptions{})
		if err != nil {
			return p.refuse(handle, wire.CodeBusy, err.Error())
		}
		f.local, f.fresh = fresh, true
	case peer.Local != "" && peer.Local != p.service:
		return p.refuse(handle, wire.CodeDenied, fmt.Sprintf("service %q is not that of this connection", clip(peer.Local)))
	}
	if !p.add(f) {
		return nil // it is over
	}
	return p.tell(f)
}

// refuse tells that a flow cannot be.
func (p *packets) refuse(handle uint32, code, msg string) error {
	return p.control(wire.RecordGone, handle, wire.Gone{Code: code, Msg: clip(msg)})
}

// tell tells the plug of a flow.
func (p *packets) tell(f *flow) error {
	way := p.host.node.Way(f.remote.Node)
	p.mu.Lock()
	f.way = way
	p.mu.Unlock()
	return p.control(wire.RecordPeer, f.handle, wire.Peer{
		Local: serviceOf(f.local), Node: f.remote.Node, Service: f.remote.Service, MTU: maxDatagram, Caps: caps(way),
	})
}

// caps are what may be used on a way.
func caps(w netceptor.Way) []string {
	var caps []string
	if w.Modern {
		caps = append(caps, wire.CapModern)
	}
	if w.Whole {
		caps = append(caps, wire.CapWhole)
	}
	return caps
}

// retell tells the plug of the flows on whose way something else may be used now.
func (p *packets) retell() {
	p.mu.Lock()
	flows := slices.Collect(maps.Values(p.flows))
	p.mu.Unlock()
	for _, f := range flows {
		now := p.host.node.Way(f.remote.Node)
		p.mu.Lock()
		changed := p.flows[f.handle] == f && (f.way.Modern != now.Modern || f.way.Whole != now.Whole)
		p.mu.Unlock()
		if changed {
			_ = p.tell(f) // fails with the connection
		}
	}
}

func (p *packets) control(t wire.RecordType, handle uint32, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.conn.Control(t, handle, b)
}

// add makes a flow one of the service's; false: it is over. Of too many the one that
// was idle longest goes.
func (p *packets) add(f *flow) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.flows[f.handle]; old != nil {
		p.close(old)
	}
	if len(p.flows) >= wire.MaxFlows {
		idle := f
		for _, o := range p.flows {
			if idle == f || o.used < idle.used {
				idle = o
			}
		}
		p.host.count("packet_flows_evicted")
		p.close(idle)
		_ = p.conn.Control(wire.RecordGone, idle.handle, nil) // fails with the connection
	}
	p.uses++
	f.used = p.uses
	p.flows[f.handle] = f
	if f.fresh {
		p.read(f.local, f)
	} else {
		p.byRemote[f.remote] = f
	}
	if p.over {
		p.close(f)
	}
	return !p.over
}

// close forgets a flow. The caller holds mu.
func (p *packets) close(f *flow) {
	delete(p.flows, f.handle)
	if p.byRemote[f.remote] == f {
		delete(p.byRemote, f.remote)
	}
	if f.fresh {
		_ = f.local.Close() // it never fails
	}
}

// gone forgets a flow and says why.
func (p *packets) gone(f *flow, why wire.Gone) {
	p.mu.Lock()
	here := p.flows[f.handle] == f
	if here {
		p.close(f)
	}
	p.mu.Unlock()
	if here {
		_ = p.control(wire.RecordGone, f.handle, why) // fails with the connection
	}
}

// read has what comes from the mesh to a service sent to the plug: to the service of
// the connection, or (only) to that of a flow.
func (p *packets) read(from *netceptor.PacketConn, only *flow) {
	p.carried.Go(func() {
		defer p.host.recovered("packets", "service", p.service)
		from.Serve(
			func(b []byte, remote netceptor.Addr) { p.deliver(remote, only, b) },
			func(n netceptor.Notice) { p.unreachable(n, only) },
		)
		if only == nil {
			p.end()
		}
	})
}

// deliverWait is how long a datagram waits for a plug that does not read. What comes
// for its service meanwhile waits in the queue of that, which is larger, and nobody
// else's does.
const deliverWait = 20 * time.Millisecond

// deliver sends a datagram to the plug.
func (p *packets) deliver(remote netceptor.Addr, only *flow, b []byte) {
	f := only
	switch {
	case f == nil:
		if f = p.flowOf(remote); f == nil {
			return
		}
	case remote != f.remote:
		p.host.count("packets_of_others")
		return
	}
	if !p.conn.SendWait(f.handle, 0, b, deliverWait) {
		p.host.count("packets_dropped")
	}
}

// flowOf finds or makes the flow with a service elsewhere; nil: it is over.
func (p *packets) flowOf(remote netceptor.Addr) *flow {
	p.mu.Lock()
	f := p.byRemote[remote]
	if f != nil {
		p.uses++
		f.used = p.uses
		p.mu.Unlock()
		return f
	}
	for p.last += 2; p.last == 0 || p.flows[p.last] != nil; p.last += 2 {
	}
	f = &flow{handle: p.last, remote: remote, local: p.main}
	p.mu.Unlock()
	if !p.add(f) || p.tell(f) != nil {
		return nil
	}
	return f
}

// unreachable ends the flow that a notice is about.
func (p *packets) unreachable(n netceptor.Notice, only *flow) {
	p.mu.Lock()
	f := only
	if f == nil {
		f = p.byRemote[n.To]
	}
	p.mu.Unlock()
	if f != nil && n.To == f.remote {
		p.gone(f, wire.Gone{Code: wire.CodeUnreachable, Msg: clip(n.Problem)})
	}
}
