package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
)

// spec is a packet to be built, apart from the code that is tested.
type spec struct {
	src, dst   string // IPv4 unless they say otherwise
	protocol   uint8
	tos, ttl   uint8
	id         uint16
	fragment   uint16 // IPv4: flags and offset
	ipOptions  []byte // IPv4: options; IPv6: extension headers, the first of which is of kind extension
	extension  uint8
	seq, ack   uint32
	flags      uint8
	window     uint16
	tcpOptions []byte
	payload    []byte
}

// segment4 and the like are what most tests begin with.
func segment4(payload []byte) spec {
	return spec{
		src: "10.0.0.1", dst: "10.0.0.2", protocol: 6, ttl: 64, id: 7, fragment: 0x4000, seq: 1000, ack: 77, flags: flagACK, window: 500,
		tcpOptions: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, payload: payload,
	}
}

func segment6(payload []byte) spec {
	s := segment4(payload)
	s.src, s.dst = "fd00::1", "fd00::2"
	return s
}

func datagram4(payload []byte) spec {
	s := segment4(payload)
	s.protocol = 17
	return s
}

func datagram6(payload []byte) spec {
	s := segment6(payload)
	s.protocol = 17
	return s
}

func (s spec) with(change func(*spec)) spec {
	change(&s)
	return s
}

func (s spec) v6() bool { return netip.MustParseAddr(s.src).Is6() }

// build makes the packet, with whole checksums.
func (s spec) build() []byte {
	var t []byte
	at := 0 // of the checksum
	switch s.protocol {
	case 6:
		t = binary.BigEndian.AppendUint32(nil, 4000<<16|5000)
		t = binary.BigEndian.AppendUint32(t, s.seq)
		t = binary.BigEndian.AppendUint32(t, s.ack)
		t = append(t, uint8((20+len(s.tcpOptions))/4)<<4, s.flags)
		t = binary.BigEndian.AppendUint16(t, s.window)
		t = append(t, 0, 0, 0, 0)
		t = append(t, s.tcpOptions...)
		at = 16
	case 17:
		t = binary.BigEndian.AppendUint32(nil, 4000<<16|5000)
		t = binary.BigEndian.AppendUint16(t, uint16(8+len(s.payload)))
		t = append(t, 0, 0)
		at = 6
	}
	t = append(t, s.payload...)
	src, dst := netip.MustParseAddr(s.src).AsSlice(), netip.MustParseAddr(s.dst).AsSlice()
	if at > 0 && s.fragment&0x1fff == 0 {
		pseudo := append(bytes.Clone(src), dst...)
		pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(t)))
		pseudo = append(pseudo, 0, 0, 0, s.protocol)
		c := slowChecksum(append(pseudo, t...))
		if c == 0 && s.protocol == 17 {
			c = 0xffff
		}
		binary.BigEndian.PutUint16(t[at:], c)
	}
	if s.v6() {
		p := []byte{0x60 | s.tos>>4, s.tos << 4, 1, 2}
		p = binary.BigEndian.AppendUint16(p, uint16(len(s.ipOptions)+len(t)))
		next := s.protocol
		if len(s.ipOptions) > 0 {
			next = s.extension
		}
		p = append(p, next, s.ttl)
		p = append(append(p, src...), dst...)
		return append(append(p, s.ipOptions...), t...)
	}
	header := 20 + len(s.ipOptions)
	p := []byte{0x40 | uint8(header/4), s.tos}
	p = binary.BigEndian.AppendUint16(p, uint16(header+len(t)))
	p = binary.BigEndian.AppendUint16(p, s.id)
	p = binary.BigEndian.AppendUint16(p, s.fragment)
	p = append(p, s.ttl, s.protocol, 0, 0)
	p = append(append(append(p, src...), dst...), s.ipOptions...)
	binary.BigEndian.PutUint16(p[10:], slowChecksum(p))
	return append(p, t...)
}

// super makes a super-packet as Linux does: the checksum is the sum of the pseudo
// header, which is what is left of it without the header and the payload.
func (s spec) super(size int) (Header, []byte) {
	p := s.build()
	ip := 20 + len(s.ipOptions)
	if s.v6() {
		ip += 20
	}
	h := Header{Flags: NeedsChecksum, GSOSize: uint16(size), CsumStart: uint16(ip), CsumOffset: 6, GSOType: GSOUDP}
	h.HdrLen = h.CsumStart + 8
	if s.protocol == 6 {
		h.CsumOffset, h.GSOType = 16, GSOTCPv4
		h.HdrLen = h.CsumStart + 20 + uint16(len(s.tcpOptions))
		if s.v6() {
			h.GSOType = GSOTCPv6
		}
		if s.flags&flagCWR != 0 {
			h.GSOType |= GSOECN
		}
	}
	makePartial(h, p)
	return h, p
}

// makePartial takes the part of a checksum away that is to be completed.
func makePartial(h Header, p []byte) {
	at := h.CsumStart + h.CsumOffset
	clear(p[at : at+2])
	addresses := p[12:20]
	if p[0]>>4 == 6 {
		addresses = p[8:40]
	}
	protocol := map[uint16]uint8{16: 6, 6: 17}[h.CsumOffset]
	pseudo := binary.BigEndian.AppendUint32(bytes.Clone(addresses), uint32(len(p)-int(h.CsumStart)))
	binary.BigEndian.PutUint16(p[at:], ^slowChecksum(append(pseudo, 0, 0, 0, protocol)))
}

// slowChecksum is the checksum, as RFC 1071 words it.
func slowChecksum(b []byte) uint16 {
	s := 0
	for i, v := range b {
		if i%2 == 0 {
			s += int(v) << 8
		} else {
			s += int(v)
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// checkSums tells whether the checksums of a packet of TCP or UDP are whole.
func checkSums(p []byte) error {
	l, err := parse(p)
	if err != nil {
		return err
	}
	addresses := p[8:min(40, len(p))]
	if !l.v6 {
		addresses = p[12:20]
		if c := slowChecksum(p[:l.transport]); c != 0 {
			return fmt.Errorf("the IP header's checksum is off by %04x", c)
		}
	}
	pseudo := binary.BigEndian.AppendUint32(bytes.Clone(addresses), uint32(l.end-l.transport))
	pseudo = append(pseudo, 0, 0, 0, l.protocol)
	if c := slowChecksum(append(pseudo, p[l.transport:l.end]...)); c != 0 {
		return fmt.Errorf("the checksum of protocol %d is off by %04x", l.protocol, c)
	}
	return nil
}

// numbered is a payload in which no place is like another.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7
	}
	return b
}

// splitAll cuts a packet and keeps copies.
func splitAll(h Header, p []byte) (all [][]byte, err error) {
	err = Split(h, bytes.Clone(p), nil, func(b []byte) error {
		all = append(all, bytes.Clone(b))
		return nil
	})
	return all, err
}

// cloned is what a Coalescer emitted.
type cloned struct {
	h Header
	p []byte
}

func flushAll(t testing.TB, c *Coalescer) (all []cloned) {
	t.Helper()
	if err := c.Flush(func(h Header, p []byte) error {
		all = append(all, cloned{h, bytes.Clone(p)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}
