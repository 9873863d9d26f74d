package plug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/plug/packetconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// PacketService is a packet service that a plug has on its node.
type PacketService struct {
	Name      string // empty: a fresh one
	Advertise bool
	Tags      map[string]string

	// Watch has Peers called with the services elsewhere that are advertised with all
	// of these tags, "" being any value: all of them, at first and at each change.
	Watch map[string]string
	Peers func([]wire.PeerMatch)
}

// PacketHandler gets what comes for a packet service, from one goroutine. It must not
// block for long: datagrams are dropped meanwhile.
type PacketHandler interface {
	// Packet is called for each datagram, whose bytes are valid until it returns.
	Packet(f *Flow, b []byte)
	// Batch is called when all datagrams that were there have been given: those that
	// were gathered should go out.
	Batch()
	// Gone tells that a flow is no more: why is nil if it was idle for too long among
	// too many. Nothing can be sent over it.
	Gone(f *Flow, why error)
}

// Packets is a packet service as long as it is attached to a core.
type Packets struct {
	Node    string // of the core
	Service string // what it is named
	MTU     int    // the largest datagram that is sure to arrive, in bytes

	conn    *packetconn.Conn
	handler PacketHandler

	mu    sync.Mutex
	last  uint32 // handle that this side has made
	flows map[uint32]*Flow
}

// Flow is what goes between a service here and one elsewhere.
type Flow struct {
	Remote Target
	Value  any // the handler's own

	packets *Packets
	handle  uint32
	caps    atomic.Pointer[[]string] // as the core last said; nil: not yet
}

// Has tells whether a capability (wire.CapModern...) may be used on the way of the flow
// now. The core says so soon after the flow was made, and again when that changes.
func (f *Flow) Has(capability string) bool {
	caps := f.caps.Load()
	return caps != nil && slices.Contains(*caps, capability)
}

// retryPackets is the pause before a packet service that has ended, though the core has
// not, is opened again.
const retryPackets = time.Second

// ServePackets keeps a packet service on the node until ctx is done (then it returns
// nil) or the core refuses it. Whenever a core is attached opened is called with the
// service, which returns who gets its datagrams; closed when that has ended, as with
// the core. The state of the item is theirs to tell.
func (it *Item) ServePackets(ctx context.Context, s PacketService, opened func(*Packets) PacketHandler, closed func()) error {
	var core *attachment
	for {
		var err error
		if core, err = it.runner.await(ctx, core); err != nil {
			return nil // ctx is done
		}
		for { // over one core; another connection if only that has ended
			err := it.servePackets(ctx, core, s, opened, closed)
			var refused *wire.Error
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.As(err, &refused) && !core.over():
				return fmt.Errorf("bind packet service %s: %w", s.Name, err)
			}
			it.Log.Debug("packet service ended", "service", s.Name, "error", err)
			select {
			case <-time.After(retryPackets):
				continue
			case <-core.session.Done(): // perhaps only now: the connection's end may be seen first
			case <-ctx.Done():
			}
			break
		}
	}
}

// servePackets keeps a packet service until it ends.
func (it *Item) servePackets(ctx context.Context, core *attachment, s PacketService, opened func(*Packets) PacketHandler, closed func()) error {
	conn, err := it.runner.options.Dial(ctx)
	if err != nil {
		return err
	}
	var bound wire.PBound
	req := wire.PBind{Session: core.secret, Item: it.ID, Service: s.Name, Advertise: s.Advertise, Tags: s.Tags, Watch: s.Watch}
	if err := session.OpenFor(ctx, conn, wire.TypePBind, req, &bound); err != nil {
		return errors.Join(err, conn.Close())
	}
	p := &Packets{
		Node: bound.Node, Service: bound.Service, MTU: bound.MTU,
		conn: packetconn.New(conn), flows: make(map[uint32]*Flow),
	}
	if s.Peers != nil {
		defer it.runner.watchPeers(bound.Object, s.Peers)()
	}
	var writing sync.WaitGroup
	writing.Go(func() { _ = p.conn.Write() }) // Read says why it ends
	defer writing.Wait()
	defer context.AfterFunc(ctx, func() { _ = p.conn.Close() })()
	defer p.conn.Close()
	p.handler = opened(p)
	defer closed()
	for {
		if err := p.conn.Read(p.record); err != nil {
			return err
		}
		p.handler.Batch()
	}
}

// record takes a record of the core's.
func (p *Packets) record(h wire.RecordHeader, b []byte) error {
	switch h.Type {
	case wire.RecordData:
		if f := p.flow(h.Peer); f != nil { // else it was just closed here
			p.handler.Packet(f, b)
		}
	case wire.RecordPeer:
		var peer wire.Peer
		if err := json.Unmarshal(b, &peer); err != nil {
			return fmt.Errorf("PEER of the core: %w", err)
		}
		p.mu.Lock()
		f := p.flows[h.Peer]
		if f == nil && h.Peer%2 == 0 {
			f = &Flow{Remote: Target{Node: peer.Node, Service: peer.Service}, packets: p, handle: h.Peer}
			p.flows[h.Peer] = f
		}
		p.mu.Unlock()
		if f != nil { // else it was just closed here
			f.caps.Store(&peer.Caps)
		}
	default: // GONE, as CheckPacket has looked
		p.mu.Lock()
		f := p.flows[h.Peer]
		delete(p.flows, h.Peer)
		p.mu.Unlock()
		if f == nil {
			return nil
		}
		var gone wire.Gone
		if err := json.Unmarshal(b, &gone); err != nil && len(b) > 0 {
			return fmt.Errorf("GONE of the core: %w", err)
		}
		var why error
		if gone.Code != "" {
			why = wire.NewError(gone.Code, "%s", gone.Msg)
		}
		p.handler.Gone(f, why)
	}
	return nil
}

func (p *Packets) flow(handle uint32) *Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flows[handle]
}

// Open makes a flow to a service elsewhere: from a fresh service of its own, so that
// what comes back for it is told from all else. value is the flow's Value.
func (p *Packets) Open(to Target, value any) (*Flow, error) {
	return p.open(wire.LocalFresh, to, value)
}

// OpenBound likewise makes a flow from the service itself: what comes from there for it
// is of that flow.
func (p *Packets) OpenBound(to Target, value any) (*Flow, error) {
	return p.open("", to, value)
}

func (p *Packets) open(local string, to Target, value any) (*Flow, error) {
	b, err := json.Marshal(wire.Peer{Local: local, Node: to.Node, Service: to.Service})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == 0 {
		p.last = 1 // the next is 3: any odd number
	}
	for p.last += 2; p.flows[p.last] != nil; p.last += 2 {
	}
	f := &Flow{Remote: to, Value: value, packets: p, handle: p.last}
	if err := p.conn.Control(wire.RecordPeer, f.handle, b); err != nil {
		return nil, err
	}
	p.flows[f.handle] = f
	return f, nil
}

// Send sends a datagram, which it copies. False: it is too long, or too much waits
// already, and it was dropped.
func (f *Flow) Send(b []byte) bool {
	return len(b) <= f.packets.MTU && f.packets.conn.Send(f.handle, 0, b)
}

// SendWait is Send that waits for room, at most that long: for who can hold in turn
// whoever sends to it, such as a network interface that is not read meanwhile.
func (f *Flow) SendWait(b []byte, wait time.Duration) bool {
	return len(b) <= f.packets.MTU && f.packets.conn.SendWait(f.handle, 0, b, wait)
}

// Close forgets the flow, here and at the core. Its handler is not told.
func (f *Flow) Close() {
	p := f.packets
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows[f.handle] == f {
		delete(p.flows, f.handle)
		_ = p.conn.Control(wire.RecordGone, f.handle, nil) // fails with the connection
	}
}

// Dropped is how many datagrams were not sent as too much waited.
func (p *Packets) Dropped() uint64 { return p.conn.Dropped() }
