package legacy

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Addr is the address of a service.
type Addr struct{ Node, Service string }

// Network implements net.Addr.
func (a Addr) Network() string { return "receptor" }

// String implements net.Addr: node:service.
func (a Addr) String() string { return a.Node + ":" + a.Service }

// inboxSize is how many datagrams may wait to be read. An existing node would
// have the link wait with them; here the rest is lost.
const inboxSize = 4096

type datagram struct {
	from    Addr
	payload []byte
}

// PacketConn sends and receives datagrams as a service.
type PacketConn struct {
	node     *Node
	name     string
	inbox    chan datagram
	closed   chan struct{}
	once     sync.Once
	deadline deadline

	mu       sync.Mutex
	hops     uint8
	onNotice func(Notice)
}

var _ net.PacketConn = (*PacketConn)(nil)

// ListenPacket opens a service; an empty name gets one that nobody was given.
func (n *Node) ListenPacket(name string) (*PacketConn, error) {
	switch {
	case len(name) > maxService:
		return nil, ErrServiceTooLong
	case name == servicePing || name == serviceUnreach:
		return nil, fmt.Errorf("service %q is reserved", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, n.Err()
	}
	for name == "" || n.services[name] != nil {
		if name != "" {
			return nil, fmt.Errorf("service %q is in use", name)
		}
		if try := randomName(); n.services[try] == nil {
			name = try
		}
	}
	c := &PacketConn{
		node: n, name: name, hops: maxHops,
		inbox: make(chan datagram, inboxSize), closed: make(chan struct{}),
	}
	n.names.learn(name)
	n.services[name] = c
	return c, nil
}

// Advertise advertises the service with these tags.
func (c *PacketConn) Advertise(connType int, tags map[string]string, work []WorkCommand) {
	n := c.node
	n.mu.Lock()
	n.adverts.add(time.Now(), Advert{NodeID: n.config.ID, Service: c.name, ConnType: connType, Tags: tags, WorkCommands: work})
	n.mu.Unlock()
	n.rouse()
}

// OnNotice has f called when a message of this service did not get through.
func (c *PacketConn) OnNotice(f func(Notice)) {
	c.mu.Lock()
	c.onNotice = f
	c.mu.Unlock()
}

// SetHops says how far the messages may travel from now on.
func (c *PacketConn) SetHops(hops uint8) {
	c.mu.Lock()
	c.hops = hops
	c.mu.Unlock()
}

func (c *PacketConn) notice(n Notice) {
	c.mu.Lock()
	f := c.onNotice
	c.mu.Unlock()
	if f != nil {
		f(n)
	}
}

func (c *PacketConn) put(d datagram) {
	select {
	case c.inbox <- d:
	default:
	}
}

// ReadFrom implements net.PacketConn. What does not fit into b is cut off.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select { // a deadline that is over wins
	case <-c.deadline.over():
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case d := <-c.inbox:
		return copy(b, d.payload), d.from, nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	case <-c.deadline.over():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo implements net.PacketConn. It may wait for room on a link.
func (c *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(Addr)
	if !ok {
		return 0, fmt.Errorf("%v is no address of a service", to)
	}
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	default:
	}
	c.mu.Lock()
	hops := c.hops
	c.mu.Unlock()
	if err := c.node.sendMessage(hops, c.name, service{a.Node, a.Service}, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (c *PacketConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		n := c.node
		n.mu.Lock()
		delete(n.services, c.name)
		n.adverts.remove(c.name)
		n.mu.Unlock()
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *PacketConn) LocalAddr() net.Addr { return Addr{c.node.config.ID, c.name} }

// SetDeadline implements net.PacketConn.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.deadline.set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn; it has no effect.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer have no effect. QUIC calls them.
func (c *PacketConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is as SetReadBuffer.
func (c *PacketConn) SetWriteBuffer(int) error { return nil }
