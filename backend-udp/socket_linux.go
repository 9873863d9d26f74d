package backendudp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// receiveBatch and sendBatch are how many buffers one call takes.
	receiveBatch = 8
	sendBatch    = 64

	// maxSegments and maxSegmented bound what is sent as one buffer that the kernel
	// cuts: it takes no more.
	maxSegments  = 64
	maxSegmented = 65_000

	// sendPatience is how long a call may wait, in milliseconds, for room in the socket:
	// a slow way out is no reason to hold up the flows that take another.
	sendPatience = 20
)

// system is a socket as Linux has it.
type system struct {
	packets *ipv4.PacketConn // for IPv6 as well: only its addresses tell
	raw     syscall.RawConn
	segment atomic.Bool    // UDP_SEGMENT works, as far as is known
	in      []ipv4.Message // of receive
	out     sync.Pool      // of *outgoing
}

// outgoing is what one call of send needs.
type outgoing struct {
	messages []ipv4.Message
	buffers  [][]byte
	control  []byte
}

func (s *socket) prepare() (err error) {
	s.packets = ipv4.NewPacketConn(s.conn.UDPConn)
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return err
	}
	s.out.New = func() any { return new(outgoing) }
	s.in = make([]ipv4.Message, receiveBatch)
	for i := range s.in {
		s.in[i].Buffers = [][]byte{make([]byte, bufferSize)}
		s.in[i].OOB = make([]byte, unix.CmsgSpace(4))
	}
	if err := s.setWhole(true); err != nil {
		return err
	}
	// What an older kernel lacks is done without.
	s.segment.Store(s.option(unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil)
	_ = s.option(unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	if s.refused != nil {
		_ = s.option(unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		_ = s.option(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return nil
}

// option sets a socket option.
func (s *socket) option(level, name, value int) error {
	var set error
	err := s.raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, name, value) })
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

// setWhole says whether datagrams have to stay whole on their way. A socket for
// IPv6 may carry IPv4 as well.
func (s *socket) setWhole(whole bool) error {
	v4, v6 := unix.IP_PMTUDISC_DONT, unix.IPV6_PMTUDISC_DONT
	if whole {
		v4, v6 = unix.IP_PMTUDISC_DO, unix.IPV6_PMTUDISC_DO
	}
	err4 := s.option(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, v4)
	if err6 := s.option(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, v6); err6 == nil {
		return nil // of an IPv6-only socket the other does not matter
	}
	return err4
}

// receive waits for datagrams and calls each for all that are there. After an error
// that is transient it may be called again.
func (s *socket) receive(each received) error {
	n, err := s.packets.ReadBatch(s.in, 0)
	if err != nil {
		s.forgetErrors()
		if errors.Is(err, unix.ECONNREFUSED) && s.refused != nil {
			s.refused()
			return nil
		}
		return err
	}
	for i := range s.in[:n] {
		m := &s.in[i]
		a, ok := m.Addr.(*net.UDPAddr)
		if !ok {
			continue
		}
		each(addrPort(a.AddrPort()), m.Buffers[0][:m.N], segmentSize(m.OOB[:m.NN], m.N))
	}
	return nil
}

// segmentSize is the size of the datagrams that were put together, by the control
// message that says so; else it is all one.
func segmentSize(oob []byte, all int) int {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			return max(int(binary.NativeEndian.Uint32(data)), 1)
		}
		oob = rest
	}
	return max(all, 1)
}

// putSegmentSize makes b, which has room for it, the control message that has the
// kernel cut a buffer.
func putSegmentSize(b []byte, size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0])) //nolint:gosec // the layout is the system's
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
}

// send sends messages, none of which is empty, to one address. What cannot be sent
// is dropped and counted.
func (s *socket) send(to netip.AddrPort, msgs [][]byte) {
	o := s.out.Get().(*outgoing)
	defer s.out.Put(o)
	s.wholeness.RLock()
	tooLong := s.sendWhole(o, net.UDPAddrFromAddrPort(to), msgs)
	s.wholeness.RUnlock()
	for _, msg := range tooLong {
		if mayFragment(msg) {
			s.sendCut(to, msg)
		} else {
			s.count(countPath, 1)
		}
	}
}

// sendWhole sends what fits as it is, and returns what does not.
func (s *socket) sendWhole(o *outgoing, to net.Addr, msgs [][]byte) (tooLong [][]byte) {
	for len(msgs) > 0 {
		taken := s.pack(o, to, msgs)
		msgs = msgs[taken:]
		tooLong = append(tooLong, s.write(o, to)...)
	}
	return tooLong
}

// pack makes one call's messages of the first of msgs, and returns of how many.
// Those in a row that are of one size, the last of them perhaps shorter, make one
// buffer that the kernel cuts.
func (s *socket) pack(o *outgoing, to net.Addr, msgs [][]byte) (taken int) {
	o.messages, o.buffers = o.messages[:0], append(o.buffers[:0], msgs...)
	space := unix.CmsgSpace(2)
	if o.control == nil {
		o.control = make([]byte, sendBatch*space)
	}
	together := s.segment.Load()
	for taken < len(msgs) && len(o.messages) < sendBatch {
		n := 1
		if together {
			n = segments(msgs[taken:])
		}
		m := ipv4.Message{Addr: to, Buffers: o.buffers[taken : taken+n : taken+n]}
		if n > 1 {
			m.OOB = o.control[len(o.messages)*space:][:space:space]
			putSegmentSize(m.OOB, len(msgs[taken]))
		}
		o.messages = append(o.messages, m)
		taken += n
	}
	return taken
}

// segments is how many of the first of msgs may be one buffer.
func segments(msgs [][]byte) (n int) {
	size, total := len(msgs[0]), 0
	if size > largestPacket {
		return 1 // it may not fit
	}
	for _, msg := range msgs[:min(len(msgs), maxSegments)] {
		if len(msg) > size || total+len(msg) > maxSegmented {
			break
		}
		n++
		total += len(msg)
		if len(msg) < size {
			break
		}
	}
	return n
}

// write sends what is packed, and returns what is larger than the way takes.
func (s *socket) write(o *outgoing, to net.Addr) (tooLong [][]byte) {
	waited, refused := false, false
	for ms := o.messages; len(ms) > 0; {
		n, err := s.packets.WriteBatch(ms, unix.MSG_DONTWAIT)
		if n > 0 {
			ms = ms[n:]
			continue
		}
		first := &ms[0]
		switch {
		case errors.Is(err, unix.EAGAIN) && !waited:
			waited = true
			s.awaitRoom()
			continue
		case errors.Is(err, unix.ECONNREFUSED) && !refused:
			refused = true // what was sent before; receive does not see it any more
			if s.refused != nil {
				s.refused()
			}
			continue
		case len(first.Buffers) > 1 && (errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO)):
			// One by one. The device cannot cut, or one of them is too large.
			if errors.Is(err, unix.EIO) {
				s.segment.Store(false)
			}
			single := &outgoing{}
			for _, msg := range first.Buffers {
				single.messages = append(single.messages, ipv4.Message{Addr: to, Buffers: [][]byte{msg}})
			}
			tooLong = append(tooLong, s.write(single, to)...)
		case errors.Is(err, unix.EMSGSIZE):
			s.forgetErrors()
			tooLong = append(tooLong, first.Buffers[0])
		default:
			s.count(countUnsent, uint64(len(first.Buffers)))
		}
		ms = ms[1:]
	}
	return tooLong
}

// sendCut sends a message that may go in fragments.
func (s *socket) sendCut(to netip.AddrPort, msg []byte) {
	s.wholeness.Lock()
	defer s.wholeness.Unlock()
	err := s.setWhole(false)
	if err == nil {
		_, err = s.conn.WriteToUDPAddrPort(msg, to)
		err = errors.Join(err, s.setWhole(true))
	}
	if err != nil {
		s.count(countUnsent, 1)
	}
}

// awaitRoom waits until the socket takes something, or sendPatience is over.
func (s *socket) awaitRoom() {
	// Its error shows with the next call.
	_ = s.raw.Control(func(fd uintptr) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, sendPatience)
	})
}

// forgetErrors takes from the socket what it keeps of errors: that has been seen.
func (s *socket) forgetErrors() {
	if s.refused == nil {
		return
	}
	_ = s.raw.Control(func(fd uintptr) {
		var oob [512]byte
		for {
			if _, _, _, _, err := unix.Recvmsg(int(fd), nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err != nil {
				return
			}
		}
	})
}
