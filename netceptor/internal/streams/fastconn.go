//go:build linux || darwin || freebsd

package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// maxPeerAddrs bounds the addresses that are kept, so that received packets
// share one each. Over it all are forgotten: they are cheap to make again.
const maxPeerAddrs = 4096

// fastConn is a packet connection that quic-go takes for a UDP socket of
// Linux or a BSD: it reads and writes several packets a call, and carries the
// local endpoint and the ECN bits of packets in control messages. One serves all
// services of a node.
//
// Socket options go to a dummy: a UDP socket on the loopback interface,
// connected to itself so that nobody can fill its buffer. No data ever passes it.
type fastConn struct {
	packetQueue
	self  Endpoint // the source of packets that name none: those of dialled connections
	send  sendFunc
	dummy *net.UDPConn
	sized atomic.Bool // see SyscallConn

	// Only of ReadBatch, which one goroutine of quic-go calls.
	addrs    map[Endpoint]*net.UDPAddr
	template oobTemplate
}

var (
	_ quic.OOBCapablePacketConn = (*fastConn)(nil)

	errUnsized = errors.New("buffers are not sized yet")
)

func newFastConn(self Endpoint, send sendFunc) (packetConn, error) {
	template, err := newOOBTemplate()
	if err != nil {
		return nil, err
	}
	dummy, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("making the dummy socket: %w", err)
	}
	if err := connectToSelf(dummy); err != nil {
		return nil, errors.Join(fmt.Errorf("connecting the dummy socket: %w", err), dummy.Close())
	}
	c := &fastConn{
		self: self, send: send, dummy: dummy,
		addrs: make(map[Endpoint]*net.UDPAddr), template: template,
	}
	c.init(queueSize)
	return c, nil
}

func connectToSelf(u *net.UDPConn) error {
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	to := unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: u.LocalAddr().(*net.UDPAddr).Port}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Connect(int(fd), &to) }); err != nil {
		return err
	}
	return failed
}

// LocalAddr is unspecified: that is how quic-go knows to ask for the local
// address of every packet.
func (c *fastConn) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv6unspecified, Port: overlayPort}
}

// SyscallConn is the dummy's, once the buffers have been sized. quic-go sizes
// them first; with a socket in hand it would check what came of it, and complain
// on the standard logger about buffers that nothing uses.
func (c *fastConn) SyscallConn() (syscall.RawConn, error) {
	if !c.sized.Load() {
		return nil, errUnsized
	}
	return c.dummy.SyscallConn()
}

// SetReadBuffer does nothing: the queue has a fixed size.
func (c *fastConn) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing, and tells that quic-go is done with sizing.
func (c *fastConn) SetWriteBuffer(int) error {
	c.sized.Store(true)
	return nil
}

// Close ends reading and closes the dummy.
func (c *fastConn) Close() error {
	return errors.Join(c.packetQueue.Close(), c.dummy.Close())
}

// ReadBatch waits for a packet and takes what there is, up to len(ms).
func (c *fastConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	n := 0
	for n < len(ms) && c.used > 0 {
		m := &ms[n]
		size, src, dst, ecn := c.take(m.Buffers[0])
		m.N = size
		m.Addr = c.peerAddr(src)
		m.NN = c.template.fill(m.OOB, dst, ecn)
		n++
	}
	return n, nil
}

func (c *fastConn) peerAddr(e Endpoint) *net.UDPAddr {
	if a := c.addrs[e]; a != nil {
		return a
	}
	if len(c.addrs) >= maxPeerAddrs {
		clear(c.addrs)
	}
	a := e.addr()
	c.addrs[e] = a
	return a
}

// ReadMsgUDP reads one packet. quic-go reads batches instead.
func (c *fastConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	if err := c.wait(); err != nil {
		return 0, 0, 0, nil, err
	}
	defer c.mu.Unlock()
	n, src, dst, ecn := c.take(b)
	return n, c.template.fill(oob, dst, ecn), 0, src.addr(), nil
}

// ReadFrom reads one packet.
func (c *fastConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, _, addr, err := c.ReadMsgUDP(b, nil)
	if err != nil {
		return 0, nil, err
	}
	return n, addr, nil
}

// WriteTo sends one packet from the default source.
func (c *fastConn) WriteTo(b []byte, a net.Addr) (int, error) {
	c.send(c.self, endpointOf(a), b, len(b), 0)
	return len(b), nil
}

// WriteMsgUDP sends a packet, or several of equal size. It fails only on control
// messages that do not parse: any error would end the QUIC connection.
func (c *fastConn) WriteMsgUDP(b, oob []byte, a *net.UDPAddr) (int, int, error) {
	src, segment, ecn, err := parseOOB(oob)
	if err != nil {
		return 0, 0, err
	}
	if src == (Endpoint{}) {
		src = c.self
	}
	if segment == 0 {
		segment = len(b)
	}
	if segment > maxSent { // a probe, as it seems
		return len(b), len(oob), nil
	}
	c.send(src, endpointOf(a), b, segment, ecn)
	return len(b), len(oob), nil
}

// parseOOB reads the control messages of a packet to send: source, segment size
// and ECN bits, zero where there is none.
func parseOOB(oob []byte) (src Endpoint, segment int, ecn uint8, err error) {
	for len(oob) > 0 {
		h, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return Endpoint{}, 0, 0, fmt.Errorf("reading control messages: %w", err)
		}
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(body) >= 16:
			src = Endpoint(body[:16])
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(body) >= 4:
			ecn = uint8(binary.NativeEndian.Uint32(body)) & 3
		case isSegmentSize(&h) && len(body) >= 2:
			segment = int(binary.NativeEndian.Uint16(body))
		}
		oob = rest
	}
	return src, segment, ecn, nil
}

// oobTemplate is the control messages of a received packet with two gaps: its
// destination and its ECN bits.
type oobTemplate struct {
	bytes   []byte
	dst     int // offset of the destination
	traffic int // offset of the traffic class
}

// newOOBTemplate has the messages written by the library that also knows how
// each system lays them out, and finds the gaps by parsing them.
func newOOBTemplate() (oobTemplate, error) {
	m := ipv6.ControlMessage{TrafficClass: 3, Src: net.IPv6loopback}
	t := oobTemplate{bytes: m.Marshal(), dst: -1, traffic: -1}
	for rest := t.bytes; len(rest) > 0; {
		h, body, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return oobTemplate{}, fmt.Errorf("laying out control messages: %w", err)
		}
		at := len(t.bytes) - len(rest) + unix.CmsgLen(0)
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(body) == 20:
			t.dst = at
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(body) == 4:
			t.traffic = at
		}
		rest = next
	}
	if t.dst < 0 || t.traffic < 0 {
		return oobTemplate{}, errors.New("laying out control messages: this system has no packet info")
	}
	return t, nil
}

// fill writes the messages to oob and returns their length, 0 if oob is too short.
func (t *oobTemplate) fill(oob []byte, dst Endpoint, ecn uint8) int {
	if len(oob) < len(t.bytes) {
		return 0
	}
	copy(oob, t.bytes)
	copy(oob[t.dst:], dst[:])
	binary.NativeEndian.PutUint32(oob[t.traffic:], uint32(ecn))
	return len(t.bytes)
}
