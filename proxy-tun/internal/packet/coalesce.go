package packet

import (
	"bytes"
	"encoding/binary"
)

// maxSuper is how long a super-packet is at most: its length has 16 bits.
const maxSuper = 0xffff

// Coalescer joins consecutive TCP segments of a batch of packets into super-packets,
// as Linux does for what comes from a network (GRO). What cannot be joined comes
// through as it is; packets of a flow keep their order. Cutting a super-packet up gives
// back the packets that it was made of, but for the IDs of IPv4 packets with DF, which
// mean nothing (RFC 6864).
//
// A super-packet's checksum is left to be completed. So only packets whose own is right
// are joined: none is mended that was damaged.
type Coalescer struct {
	max int
	udp bool

	bytes   []byte // of all packets of the batch
	packets []piece
	groups  []group      // what will be emitted, in order
	open    map[flow]int // the group of a flow that may go on
	out     []byte       // a super-packet, while it is emitted
}

// piece is a packet of the batch.
type piece struct {
	start, end int // in bytes
	next       int // that follows it in its group, or -1
}

// group is a packet, or some that will be joined.
type group struct {
	segment
	first, last int // packets
	count       int
	length      int // of all, with the headers of the first
}

// flow is one direction of a TCP connection, or of UDP between two ports.
type flow struct {
	addresses [32]byte
	ports     [4]byte
	protocol  uint8
	v6        bool
}

// segment is what is known of a packet with a flow.
type segment struct {
	layout
	headers int // their length, down to TCP's or UDP's
	payload int
}

// NewCoalescer makes a Coalescer of super-packets of up to max bytes, which is no more
// than 65,535; with udp it joins datagrams of equal length, too.
func NewCoalescer(max int, udp bool) *Coalescer {
	return &Coalescer{max: min(max, maxSuper), udp: udp, open: map[flow]int{}}
}

// Add adds a packet to the batch. It keeps a copy. Its checksums have to be whole.
func (c *Coalescer) Add(p []byte) {
	start := len(c.bytes)
	c.bytes = append(c.bytes, p...)
	at := len(c.packets)
	c.packets = append(c.packets, piece{start: start, end: len(c.bytes), next: -1})

	l, err := parse(p)
	if err != nil || l.protocol != protoTCP && (l.protocol != protoUDP || !c.udp) {
		c.alone(at)
		return
	}
	if l.fragment || l.end-l.transport < udpLen {
		clear(c.open) // whose it is, the ports would say
		c.alone(at)
		return
	}
	f := l.flow(p)
	s, joinable := l.segment(p)
	if !joinable {
		delete(c.open, f)
		c.alone(at)
		return
	}
	g, found := c.open[f]
	if found && c.follows(&c.groups[g], &s, p) {
		c.join(&c.groups[g], &s, at)
	} else {
		g = len(c.groups)
		c.groups = append(c.groups, group{segment: s, first: at, last: at, count: 1, length: l.end})
		c.open[f] = g
	}
	if s.payload < c.groups[g].payload || s.ends(p) {
		delete(c.open, f)
	}
}

// alone has a packet be emitted as it is.
func (c *Coalescer) alone(at int) {
	c.groups = append(c.groups, group{first: at, last: at, count: 1})
}

func (c *Coalescer) join(g *group, s *segment, at int) {
	c.packets[g.last].next = at
	g.last = at
	g.count++
	g.length += s.payload
}

// flow is that of a packet of TCP or UDP.
func (l layout) flow(p []byte) flow {
	f := flow{protocol: l.protocol, v6: l.v6, ports: [4]byte(p[l.transport:])}
	if l.v6 {
		f.addresses = [32]byte(p[8:])
	} else {
		copy(f.addresses[:], p[12:20])
	}
	return f
}

// segment tells whether p is such that it may be joined with others of its flow: no
// options of IP, no flags but those of a connection that goes on or ends, whole
// checksums, nothing behind its end.
func (l layout) segment(p []byte) (segment, bool) {
	s := segment{layout: l}
	if l.end != len(p) || l.protocol == protoTCP && l.tcpHeader(p) == 0 {
		return s, false
	}
	if l.v6 {
		if l.transport != ipv6Len {
			return s, false
		}
	} else if l.transport != ipv4Len || fold(sum(0, p[:ipv4Len])) != 0xffff {
		return s, false
	}
	t := p[l.transport:]
	if l.protocol == protoTCP {
		s.headers = l.transport + l.tcpHeader(p)
		if t[tcpFlags]&(flagSYN|flagRST|flagURG|flagACK) != flagACK {
			return s, false
		}
	} else {
		s.headers = l.transport + udpLen
		if int(binary.BigEndian.Uint16(t[4:])) != len(t) || t[udpChecksum] == 0 && t[udpChecksum+1] == 0 {
			return s, false
		}
	}
	s.payload = len(p) - s.headers
	return s, s.payload > 0 && fold(sum(l.pseudo(p, len(t)), t)) == 0xffff
}

// ends tells whether nothing may follow a segment in its super-packet.
func (s *segment) ends(p []byte) bool {
	return s.protocol == protoTCP && (s.payload < minTCPSegment || p[s.transport+tcpFlags]&(flagFIN|flagPSH) != 0)
}

// follows tells whether a packet of the same flow continues a group, so that cutting
// the group up would give it back.
func (c *Coalescer) follows(g *group, s *segment, p []byte) bool {
	if g.headers != s.headers || s.payload > g.payload || g.length+s.payload > c.max {
		return false
	}
	q := c.bytes[c.packets[g.first].start:] // the first
	if s.v6 {
		if !bytes.Equal(p[:4], q[:4]) || p[7] != q[7] { // class, flow label; hop limit
			return false
		}
	} else {
		fragment := binary.BigEndian.Uint16(p[6:])
		if p[1] != q[1] || fragment != binary.BigEndian.Uint16(q[6:]) || p[8] != q[8] { // TOS, DF, TTL
			return false
		}
		id := binary.BigEndian.Uint16(q[4:]) + uint16(g.count)
		if fragment&dontFragment == 0 && binary.BigEndian.Uint16(p[4:]) != id {
			return false
		}
	}
	if s.protocol == protoUDP {
		return g.count < maxUDPJoined
	}
	t, u := p[s.transport:s.headers], q[s.transport:s.headers]
	if binary.BigEndian.Uint32(t[4:]) != binary.BigEndian.Uint32(u[4:])+uint32(g.length-g.headers) {
		return false
	}
	// Acknowledgement, length; flags, where one of congestion begins a group and the
	// last two end it; window; options.
	return bytes.Equal(t[8:tcpFlags], u[8:tcpFlags]) &&
		t[tcpFlags]&^(flagFIN|flagPSH) == u[tcpFlags]&^flagCWR &&
		bytes.Equal(t[14:16], u[14:16]) && bytes.Equal(t[18:], u[18:])
}

// maxUDPJoined is how many datagrams are joined at most: as many as Linux joins itself.
const maxUDPJoined = 64

// Flush calls emit for each packet, alone or super, and the batch is empty. What emit
// gets is valid until it returns. An error of emit's is returned at once, and what had
// not been emitted is dropped.
func (c *Coalescer) Flush(emit func(h Header, p []byte) error) error {
	defer c.reset()
	for i := range c.groups {
		g := &c.groups[i]
		if g.count == 1 {
			first := c.packets[g.first]
			if err := emit(Header{}, c.bytes[first.start:first.end]); err != nil {
				return err
			}
			continue
		}
		if err := emit(c.super(g)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Coalescer) reset() {
	c.bytes, c.packets, c.groups = c.bytes[:0], c.packets[:0], c.groups[:0]
	clear(c.open)
}

// super joins a group.
func (c *Coalescer) super(g *group) (Header, []byte) {
	at := c.packets[g.first]
	c.out = append(c.out[:0], c.bytes[at.start:at.end]...)
	for at.next >= 0 {
		at = c.packets[at.next]
		c.out = append(c.out, c.bytes[at.start+g.headers:at.end]...)
	}
	out, t := c.out, c.out[g.transport:]
	h := Header{
		Flags: NeedsChecksum, HdrLen: uint16(g.headers), GSOSize: uint16(g.payload),
		CsumStart: uint16(g.transport),
	}
	if g.v6 {
		binary.BigEndian.PutUint16(out[4:], uint16(len(t)))
	} else {
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		clear(out[10:12])
		putChecksum(out[10:], sum(0, out[:ipv4Len]))
	}
	pseudo := fold(g.pseudo(out, len(t)))
	if g.protocol == protoUDP {
		h.GSOType, h.CsumOffset = GSOUDP, udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		h.GSOType, h.CsumOffset = GSOTCPv4, tcpChecksum
		if g.v6 {
			h.GSOType = GSOTCPv6
		}
		t[tcpFlags] |= c.bytes[at.start+g.transport+tcpFlags] & (flagFIN | flagPSH) // of the last
		if t[tcpFlags]&flagCWR != 0 {
			h.GSOType |= GSOECN
		}
	}
	binary.LittleEndian.PutUint16(t[h.CsumOffset:], pseudo)
	return h, out
}
