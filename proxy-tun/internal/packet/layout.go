package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Lengths of headers without options.
const (
	ipv4Len = 20
	ipv6Len = 40
	tcpLen  = 20
	udpLen  = 8
	icmpLen = 8
)

// Protocols, and the extension headers of IPv6 that are looked into.
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoTCP         = 6
	protoUDP         = 17
	protoRouting     = 43
	protoFragment    = 44
	protoICMPv6      = 58
	protoDestination = 60
)

// maxExtensions is how many extension headers of IPv6 are looked into. Nobody sends
// more than a few; a packet with more passes, as one of an unknown protocol.
const maxExtensions = 8

// layout is where things lie in a packet.
type layout struct {
	v6        bool
	protocol  uint8 // of what the IP headers carry
	transport int   // where that begins
	end       int   // of the packet, as it says itself
	fragment  bool  // it is part of a datagram
	later     bool  // and not its first part: no transport header
	routed    bool  // IPv6: the address in the header may not be the last one
}

var (
	errVersion = errors.New("neither IPv4 nor IPv6")
	errShort   = errors.New("packet is cut off")
	errLength  = errors.New("packet has a length that cannot be")
)

// parse looks into the IP headers of p.
func parse(p []byte) (layout, error) {
	if len(p) == 0 {
		return layout{}, errShort
	}
	switch p[0] >> 4 {
	case 4:
		return parse4(p)
	case 6:
		return parse6(p)
	}
	return layout{}, errVersion
}

// parse4 likewise for IPv4: version and header length 1, TOS 1, total length 2, ID 2,
// flags and fragment offset 2, TTL 1, protocol 1, checksum 2, source 4, destination 4,
// options.
func parse4(p []byte) (layout, error) {
	if len(p) < ipv4Len {
		return layout{}, errShort
	}
	l := layout{protocol: p[9], transport: int(p[0]&0xf) * 4, end: int(binary.BigEndian.Uint16(p[2:]))}
	if l.transport < ipv4Len || l.end < l.transport {
		return layout{}, errLength
	}
	if l.end > len(p) {
		return layout{}, errShort
	}
	fragment := binary.BigEndian.Uint16(p[6:])
	l.fragment = fragment&(moreFragments|fragmentOffset) != 0
	l.later = fragment&fragmentOffset != 0
	return l, nil
}

// Of the flags and fragment offset of IPv4.
const (
	dontFragment   = 0x4000
	moreFragments  = 0x2000
	fragmentOffset = 0x1fff // in units of 8 bytes
)

// parse6 likewise for IPv6: version, class and flow label 4, payload length 2, next
// header 1, hop limit 1, source 16, destination 16, extension headers.
func parse6(p []byte) (layout, error) {
	if len(p) < ipv6Len {
		return layout{}, errShort
	}
	l := layout{v6: true, protocol: p[6], transport: ipv6Len, end: ipv6Len + int(binary.BigEndian.Uint16(p[4:]))}
	if l.end > len(p) {
		return layout{}, errShort
	}
	for range maxExtensions {
		switch l.protocol {
		case protoHopByHop, protoRouting, protoDestination, protoFragment:
		default:
			return l, nil
		}
		if l.later {
			return l, nil // what follows is of the datagram's middle
		}
		b := p[l.transport:l.end] // next header 1, length 1 in units of 8 bytes without the first
		if len(b) < 8 {
			return layout{}, errShort
		}
		n := 8
		if l.protocol == protoFragment { // next header 1, 0 1, offset and M 2, ID 4
			fragment := binary.BigEndian.Uint16(b[2:])
			l.later = fragment>>3 != 0
			l.fragment = l.fragment || l.later || fragment&1 != 0
		} else {
			n += int(b[1]) * 8
			l.routed = l.routed || l.protocol == protoRouting && b[3] != 0
		}
		if len(b) < n {
			return layout{}, errShort
		}
		l.protocol = b[0]
		l.transport += n
	}
	return l, nil
}

// tcpHeader is the length of the TCP header of p, or 0 if there is no whole one.
func (l layout) tcpHeader(p []byte) int {
	if l.protocol != protoTCP || l.later || l.end-l.transport < tcpLen {
		return 0
	}
	n := int(p[l.transport+12]>>4) * 4
	if n < tcpLen || l.end-l.transport < n {
		return 0
	}
	return n
}

// Of a TCP header: source port 2, destination port 2, sequence number 4,
// acknowledgement 4, length and flags 2, window 2, checksum 2, urgent pointer 2,
// options. Of a UDP header: ports 4, length 2, checksum 2.
const (
	tcpFlags    = 13
	tcpChecksum = 16
	udpChecksum = 6

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10
	flagURG = 0x20
	flagCWR = 0x80
)

// Addresses returns the source and the destination of an IPv4 or IPv6 packet.
func Addresses(p []byte) (src, dst netip.Addr, err error) {
	l, err := parse(p)
	if err != nil {
		return src, dst, err
	}
	src, dst = l.addresses(p)
	return src, dst, nil
}

func (l layout) addresses(p []byte) (src, dst netip.Addr) {
	if l.v6 {
		return netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	}
	return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
}
