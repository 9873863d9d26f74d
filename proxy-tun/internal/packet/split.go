package packet

import (
	"encoding/binary"
	"errors"
)

const (
	// minTCPSegment is the least payload that segments are cut to: what Linux takes, the
	// least MSS of 48 with 40 bytes of options. It bounds what a super-packet that
	// another node made up can be blown up to.
	minTCPSegment = 8

	// maxUDPSegments is how many datagrams a super-packet holds at most, as with Linux.
	// Their payloads may be of one byte each, so they need a bound of their own.
	maxUDPSegments = 128
)

var (
	errSuper = errors.New("super-packet that cannot be cut")
	errNoTCP = errors.New("super-packet without a whole header of TCP or UDP")
)

// Complete fills in the checksum that h says is missing, in place, for a packet that is
// not super. The checksum may be that of a packet within the packet, but not of p's own
// IP header: addresses that were looked at stay as they are.
func Complete(h Header, p []byte) error {
	if h.Super() {
		return errGSOType
	}
	end, err := h.alone(p)
	if err != nil || h.Flags&NeedsChecksum == 0 {
		return err
	}
	summed := p[h.CsumStart:end] // with the sum of the pseudo header, which lies where the checksum belongs
	putTransportChecksum(summed[h.CsumOffset:], sum(0, summed))
	return nil
}

// alone checks what h says of a packet that is not super, and returns that one's end.
func (h Header) alone(p []byte) (end int, err error) {
	if err := h.check(p); err != nil {
		return 0, err
	}
	l, err := parse(p)
	if err != nil {
		return 0, err
	}
	if h.Flags&NeedsChecksum != 0 && (int(h.CsumStart) < l.transport || int(h.CsumStart)+int(h.CsumOffset)+2 > l.end) {
		return 0, errChecksum
	}
	return l.end, nil
}

// Split cuts a super-packet into packets that have whole checksums and payloads of at
// most h.GSOSize, and calls emit for each in turn, until that returns an error, which it
// returns. A packet that is not super is completed in place and emitted as it is. What
// emit gets lies in scratch, or in new memory if that is too short, and is valid until
// it returns. An error of Split's own comes before anything is emitted.
func Split(h Header, p []byte, scratch []byte, emit func([]byte) error) error {
	if !h.Super() {
		if err := Complete(h, p); err != nil {
			return err
		}
		return emit(p)
	}
	c, err := h.cutter(p)
	if err != nil {
		return err
	}
	if longest := c.longest(h, p); cap(scratch) < longest {
		scratch = make([]byte, longest)
	}
	for off := c.headers; off < len(p); {
		n := min(int(h.GSOSize), len(p)-off)
		out := scratch[:c.headers+n]
		copy(out, p[:c.headers])
		copy(out[c.headers:], p[off:off+n])
		c.finish(out, off-c.headers, off+n == len(p))
		if err := emit(out); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// cutter makes headers for packets out of those of a super-packet.
type cutter struct {
	layout
	headers  int    // their length, down to TCP's or UDP's
	number   uint16 // of the next packet
	id       uint16 // IPv4: that of the first
	sequence uint32 // TCP: that of the first
	flags    uint8  // TCP
	ipSum    uint64 // IPv4: of the header without length, ID and checksum
	sum      uint64 // of pseudo header and header without length, sequence number, flags and checksum
}

// cutter checks a super-packet and what h says of it. (HdrLen is no more than a hint:
// of a packet that Linux forwards it says something else.)
func (h Header) cutter(p []byte) (c cutter, err error) {
	if err := h.check(p); err != nil {
		return c, err
	}
	if c.layout, err = parse(p); err != nil {
		return c, err
	}
	if c.end != len(p) || c.fragment || c.routed {
		return c, errSuper
	}
	var offset uint16
	switch h.GSOType {
	case GSOTCPv4, GSOTCPv6, GSOTCPv4 | GSOECN, GSOTCPv6 | GSOECN:
		if c.v6 != (h.GSOType&^GSOECN == GSOTCPv6) || c.protocol != protoTCP {
			return c, errGSOType
		}
		n := c.tcpHeader(p)
		if n == 0 {
			return c, errNoTCP
		}
		c.headers, offset = c.transport+n, tcpChecksum
		if h.GSOSize < minTCPSegment {
			return c, errGSOSize
		}
		if p[c.transport+tcpFlags]&(flagSYN|flagRST|flagURG) != 0 {
			return c, errSuper
		}
	case GSOUDP:
		if c.protocol != protoUDP {
			return c, errGSOType
		}
		if c.end-c.transport < udpLen {
			return c, errNoTCP
		}
		c.headers, offset = c.transport+udpLen, udpChecksum
		if h.GSOSize == 0 || len(p)-c.headers > maxUDPSegments*int(h.GSOSize) {
			return c, errGSOSize
		}
	default:
		return c, errGSOType
	}
	if h.Flags&NeedsChecksum == 0 || int(h.CsumStart) != c.transport || h.CsumOffset != offset {
		return c, errChecksum
	}
	if c.headers == len(p) {
		return c, errSuper
	}
	c.prepare(p)
	return c, nil
}

// prepare takes from p what all packets have in common, and sums it up.
func (c *cutter) prepare(p []byte) {
	if !c.v6 {
		var ip [60]byte
		n := copy(ip[:], p[:c.transport])
		c.id = binary.BigEndian.Uint16(ip[4:])
		clear(ip[2:6])
		clear(ip[10:12])
		c.ipSum = sum(0, ip[:n])
	}
	var t [60]byte
	n := copy(t[:], p[c.transport:c.headers])
	if c.protocol == protoTCP {
		c.sequence, c.flags = binary.BigEndian.Uint32(t[4:]), t[tcpFlags]
		clear(t[4:8])
		t[tcpFlags] = 0
		clear(t[tcpChecksum : tcpChecksum+2])
	} else {
		clear(t[4:8]) // length and checksum
	}
	c.sum = sum(c.pseudo(p, 0), t[:n])
}

// finish makes a packet of out, which has the headers of the super-packet and the
// payload of this one; done is the payload before it.
func (c *cutter) finish(out []byte, done int, last bool) {
	length := len(out) - c.transport
	if c.v6 {
		binary.BigEndian.PutUint16(out[4:], uint16(len(out)-ipv6Len))
	} else {
		id := c.id + c.number
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		binary.BigEndian.PutUint16(out[4:], id)
		putChecksum(out[10:], sum16(sum16(c.ipSum, uint16(len(out))), id))
	}
	c.number++
	t := out[c.transport:]
	acc := sum16(c.sum, uint16(length)) // of the pseudo header
	if c.protocol == protoUDP {
		binary.BigEndian.PutUint16(t[4:], uint16(length))
		acc = sum16(acc, uint16(length))
		putTransportChecksum(t[udpChecksum:], sum(acc, out[c.headers:]))
		return
	}
	sequence, flags := c.sequence+uint32(done), c.flags
	if done > 0 {
		flags &^= flagCWR
	}
	if !last {
		flags &^= flagFIN | flagPSH
	}
	binary.BigEndian.PutUint32(t[4:], sequence)
	t[tcpFlags] = flags
	acc = sum16(sum32(acc, sequence), uint16(flags))
	putChecksum(t[tcpChecksum:], sum(acc, out[c.headers:]))
}
