package netceptor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

const (
	// What waits for the reader of a PacketConn, by number and by size: past either
	// datagrams are dropped and counted.
	packetQueue      = 256
	packetQueueBytes = 1 << 20

	// noticeQueue is how many notices wait for whoever wants them.
	noticeQueue = 16

	// maxPayload is the largest datagram.
	maxPayload = wire.MaxMessage - wire.HeaderSize
)

// Notice is what a node on the way, or the last one, said of a datagram of ours.
type Notice struct {
	From    string // the node that says it
	To      Addr   // where the datagram was to go
	Problem string // "service unknown", "message expired", "blocked by firewall"
}

// PacketConn sends and receives datagrams. It implements net.PacketConn.
type PacketConn struct {
	node       *Node
	service    wire.Service
	addr       Addr
	advertised bool

	packets chan packet
	queued  atomic.Int64 // bytes in packets
	notices chan Notice

	readBy, writeBy deadline
	closed          chan struct{}
	closing         sync.Once
}

var _ net.PacketConn = (*PacketConn)(nil)

// ListenPacket opens a datagram service; an empty name asks for a fresh one.
func (n *Node) ListenPacket(service string, o ListenOptions) (*PacketConn, error) {
	c, err := n.listenPacket(service, o)
	if err != nil {
		return nil, opError("listen", Addr{Node: n.config.NodeID, Service: service}, err)
	}
	return c, nil
}

func (n *Node) listenPacket(name string, o ListenOptions) (*PacketConn, error) {
	if !n.isRunning() {
		return nil, errNotRunning
	}
	c := &PacketConn{
		node:       n,
		advertised: o.Advertise,
		packets:    make(chan packet, packetQueue),
		notices:    make(chan Notice, noticeQueue),
		closed:     make(chan struct{}),
	}
	err := n.services.bind(name, func(service wire.Service) binding {
		c.service = service
		c.addr = Addr{Node: n.config.NodeID, Service: service.String()}
		return binding{packets: c}
	})
	if err != nil {
		return nil, err
	}
	if o.Advertise {
		n.publish(c.addr.Service, wire.ConnDatagram, o.Tags)
	}
	return c, nil
}

// receive queues a datagram, whose data it copies. It never waits.
func (c *PacketConn) receive(p packet) {
	size := int64(len(p.data))
	if c.queued.Add(size) > packetQueueBytes {
		c.queued.Add(-size)
		c.node.counters.add(countPacketQueue)
		return
	}
	p = p.keep()
	select {
	case c.packets <- p:
	default:
		p.release()
		c.queued.Add(-size)
		c.node.counters.add(countPacketQueue)
	}
}

// notice queues a notice; when nobody takes them, the newest are dropped.
func (c *PacketConn) notice(n Notice) {
	select {
	case c.notices <- n:
	default:
	}
}

// Done is closed when the PacketConn is.
func (c *PacketConn) Done() <-chan struct{} { return c.closed }

// Serve calls for each datagram that arrives, whose bytes are valid until the callee
// returns, and for each notice, until the PacketConn is closed. It takes the place of
// ReadFrom and Unreachable.
func (c *PacketConn) Serve(arrived func(b []byte, from Addr), notice func(Notice)) {
	for {
		select {
		case p := <-c.packets:
			c.queued.Add(-int64(len(p.data)))
			arrived(p.data, p.from)
			p.release()
		case n := <-c.notices:
			notice(n)
		case <-c.closed:
			return
		}
	}
}

// Unreachable gives what was said of datagrams that did not arrive. Reading it is
// optional. It is never closed.
func (c *PacketConn) Unreachable() <-chan Notice { return c.notices }

// ReadFrom waits for a datagram and copies it to b; what does not fit is lost.
// The address is an Addr.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p, err := c.next()
	if err != nil {
		return 0, nil, opError("read", c.addr, err)
	}
	defer p.release()
	return copy(b, p.data), p.from, nil
}

// next waits for a datagram.
func (c *PacketConn) next() (packet, error) {
	expired := c.readBy.done()
	if err := c.usable(expired); err != nil {
		return packet{}, err
	}
	select {
	case p := <-c.packets:
		c.queued.Add(-int64(len(p.data)))
		return p, nil
	case <-c.closed:
		return packet{}, net.ErrClosed
	case <-expired:
		return packet{}, os.ErrDeadlineExceeded
	}
}

// usable tells why a read or write cannot be begun.
func (c *PacketConn) usable(expired <-chan struct{}) error {
	switch {
	case isClosed(c.closed):
		return net.ErrClosed
	case isClosed(expired):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// WriteTo sends a datagram to addr, an Addr. It is held for a moment while the
// queue of the first link is full, and dropped after that. ErrNoRoute, ErrBlocked
// by our own rules and, for our own node, ErrServiceUnknown are told at once; see
// Unreachable.
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, ok := addr.(Addr)
	if !ok {
		return 0, opError("write", addr, errors.New("address is not one of the mesh"))
	}
	if err := c.usable(c.writeBy.done()); err != nil {
		return 0, opError("write", to, err)
	}
	if err := c.send(to, b, wire.DefaultHops); err != nil {
		return 0, opError("write", to, err)
	}
	return len(b), nil
}

// send sends a datagram with that many hops to live.
func (c *PacketConn) send(to Addr, b []byte, hops uint8) error {
	if len(b) > maxPayload {
		return fmt.Errorf("datagram of %d bytes is longer than %d", len(b), maxPayload)
	}
	service, err := parseService(to.Service)
	if err != nil {
		return err
	}
	name := c.node.resolve(to.Node)
	node := wire.NodeHash(name)
	if node == c.node.self && !c.node.services.has(service) {
		return ErrServiceUnknown
	}
	if known, ok := c.node.table.Load().Nodes[node]; ok && known.Name != name {
		return ErrNoRoute // another name with the same hash
	}
	return c.node.send(wire.Header{
		Hops: hops,
		From: c.node.self, FromService: c.service,
		To: node, ToService: service,
	}, b, 0, sendWait)
}

// Close frees the service.
func (c *PacketConn) Close() error {
	c.shut()
	return nil
}

func (c *PacketConn) shut() {
	c.closing.Do(func() {
		if c.advertised {
			c.node.withdraw(c.addr.Service)
		}
		c.node.services.unbind(c.service)
		close(c.closed)
	})
}

// LocalAddr is the service's address, an Addr.
func (c *PacketConn) LocalAddr() net.Addr { return c.addr }

// SetDeadline implements net.PacketConn.
func (c *PacketConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.PacketConn.
func (c *PacketConn) SetReadDeadline(t time.Time) error { return c.move(&c.readBy, t) }

// SetWriteDeadline implements net.PacketConn. No write is held for longer than a
// moment anyway.
func (c *PacketConn) SetWriteDeadline(t time.Time) error { return c.move(&c.writeBy, t) }

func (c *PacketConn) move(d *deadline, t time.Time) error {
	if isClosed(c.closed) {
		return opError("set", c.addr, net.ErrClosed)
	}
	d.set(t)
	return nil
}
