package packet

import (
	"encoding/binary"
	"net/netip"
)

// Types of ICMP and ICMPv6, and codes of theirs.
const (
	icmpUnreachable    = 3 // code 0: no route; code 4: too big
	icmpTooBig         = 4 // code
	icmpv6Unreachable  = 1 // code 0: no route
	icmpv6TooBig       = 2
	icmpv6FirstInquiry = 128 // those below are errors
	icmpv6Redirect     = 137
)

const (
	// maxQuote4 is how long an ICMP error is at most (RFC 1812 4.3.2.3): what every host takes.
	maxQuote4 = 576
	// maxQuote6 likewise for ICMPv6 (RFC 4443 2.4 c): the least MTU of IPv6.
	maxQuote6 = 1280

	icmpTTL = 64
	icmpTOS = 0xc0 // internetwork control (RFC 1812 4.3.2.5)
)

// TooBig appends the answer to p which says that only packets of up to mtu bytes
// go on: fragmentation needed (RFC 1191), or packet too big (RFC 4443 3.2), from that
// address. It returns false, and b as it was, where none may be sent: see Unreachable,
// and for IPv4 without DF, where Fragment helps. Packets of IPv6 to many may have it.
func TooBig(b, p []byte, mtu int, from netip.Addr) ([]byte, bool) {
	l, err := parse(p)
	if err != nil || !l.answerable(p, from, true) {
		return b, false
	}
	if l.v6 {
		return l.answer6(b, p, icmpv6TooBig, uint32(mtu), from), true
	}
	if binary.BigEndian.Uint16(p[6:])&dontFragment == 0 {
		return b, false
	}
	return l.answer4(b, p, icmpTooBig, uint32(min(mtu, 0xffff)), from), true
}

// Unreachable likewise says that there is no route (ICMP type 3, ICMPv6 type 1, both
// with code 0). None may be sent for an ICMP error, for what went to many, for what
// came from nobody in particular, nor for later fragments of IPv4 (RFC 1122 3.2.2,
// RFC 4443 2.4 e).
func Unreachable(b, p []byte, from netip.Addr) ([]byte, bool) {
	l, err := parse(p)
	if err != nil || !l.answerable(p, from, false) {
		return b, false
	}
	if l.v6 {
		return l.answer6(b, p, icmpv6Unreachable, 0, from), true
	}
	return l.answer4(b, p, 0, 0, from), true
}

// answerable tells whether an ICMP error may be sent from an address in answer to p.
func (l layout) answerable(p []byte, from netip.Addr, tooBig bool) bool {
	src, dst := l.addresses(p)
	if l.v6 != from.Is6() || !from.IsValid() || from.Is4In6() || from.IsUnspecified() || src.IsUnspecified() || src.IsMulticast() {
		return false
	}
	if l.v6 {
		return !l.icmpv6Error(p) && (tooBig || !dst.IsMulticast())
	}
	// 0/8 and 127/8 are nobody elsewhere, and above multicast (224/4) there is nobody.
	return !l.later && !l.icmpError(p) && p[12] != 0 && p[12] != 127 && p[12] < 224 && p[16] < 224
}

// icmpError tells whether p is an ICMP error; one that is cut off counts as such.
func (l layout) icmpError(p []byte) bool {
	if l.protocol != protoICMP {
		return false
	}
	if l.transport == l.end {
		return true
	}
	switch p[l.transport] {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18: // inquiries and their answers
		return false
	}
	return true
}

// icmpv6Error likewise; and any later fragment may be part of one.
func (l layout) icmpv6Error(p []byte) bool {
	if l.protocol != protoICMPv6 {
		return false
	}
	if l.later || l.transport == l.end {
		return true
	}
	t := p[l.transport]
	return t < icmpv6FirstInquiry || t == icmpv6Redirect
}

// answer4 appends an ICMP packet to the sender of p: type 1, code 1, checksum 2, for
// each code something 4 (0 2, MTU 2), as much of p as there is room for.
func (l layout) answer4(b, p []byte, code uint8, rest uint32, from netip.Addr) []byte {
	quote := p[:min(l.end, maxQuote4-ipv4Len-icmpLen)]
	start := len(b)
	b = append(b, 0x45, icmpTOS)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+icmpLen+len(quote)))
	b = append(b, 0, 0) // no ID: with DF nobody needs one (RFC 6864)
	b = binary.BigEndian.AppendUint16(b, dontFragment)
	b = append(b, icmpTTL, protoICMP, 0, 0)
	src := from.As4()
	b = append(b, src[:]...)
	b = append(b, p[12:16]...)
	putChecksum(b[start+10:], sum(0, b[start:]))

	start = len(b)
	b = append(b, icmpUnreachable, code, 0, 0)
	b = binary.BigEndian.AppendUint32(b, rest)
	b = append(b, quote...)
	putChecksum(b[start+2:], sum(0, b[start:]))
	return b
}

// answer6 likewise for ICMPv6: type 1, code 1, checksum 2, MTU or 0 4, p.
func (l layout) answer6(b, p []byte, kind uint8, rest uint32, from netip.Addr) []byte {
	quote := p[:min(l.end, maxQuote6-ipv6Len-icmpLen)]
	start := len(b)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(icmpLen+len(quote)))
	b = append(b, protoICMPv6, icmpTTL)
	src := from.As16()
	b = append(b, src[:]...)
	b = append(b, p[8:24]...)
	b = append(b, kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, rest)
	b = append(b, quote...)

	made := layout{v6: true, protocol: protoICMPv6}
	icmp := b[start+ipv6Len:]
	putChecksum(icmp[2:], sum(made.pseudo(b[start:], len(icmp)), icmp))
	return b
}
