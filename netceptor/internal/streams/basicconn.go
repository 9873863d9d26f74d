package streams

import "net"

// sendFunc is Config.Send.
type sendFunc func(src, dst Endpoint, b []byte, segment int, ecn uint8)

// packetConn is what quic-go reads from and writes to.
type packetConn interface {
	net.PacketConn
	put(src, dst Endpoint, b []byte, ecn uint8)
}

// basicConn is the packet connection for systems where fastConn cannot be: one
// packet a call, no packet info, hence one for each local endpoint.
type basicConn struct {
	packetQueue
	self Endpoint
	addr *net.UDPAddr
	send sendFunc
}

// basicQueueSize is smaller than queueSize, since every service has a queue.
const basicQueueSize = queueSize / 4

func newBasicConn(self Endpoint, send sendFunc) *basicConn {
	c := &basicConn{self: self, addr: self.addr(), send: send}
	c.init(basicQueueSize)
	return c
}

// LocalAddr is the endpoint.
func (c *basicConn) LocalAddr() net.Addr { return c.addr }

// ReadFrom waits for a packet.
func (c *basicConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if err := c.wait(); err != nil {
		return 0, nil, err
	}
	defer c.mu.Unlock()
	n, src, _, _ := c.take(b)
	return n, src.addr(), nil
}

// WriteTo sends a packet.
func (c *basicConn) WriteTo(b []byte, a net.Addr) (int, error) {
	c.send(c.self, endpointOf(a), b, len(b), 0)
	return len(b), nil
}

// SetReadBuffer and SetWriteBuffer do nothing. Without them quic-go would write
// about buffer sizes to the standard logger.
func (c *basicConn) SetReadBuffer(int) error  { return nil }
func (c *basicConn) SetWriteBuffer(int) error { return nil }
