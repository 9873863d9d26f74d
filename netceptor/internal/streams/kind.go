package streams

import "encoding/binary"

// packetKind is what a packet may be, judged by what QUIC shows in clear.
type packetKind int

const (
	kindJunk    packetKind = iota // not QUIC
	kindOpening                   // from a client without a connection: Initial, 0-RTT, or of a version we do not know
	kindOther                     // of a connection that is, was, or is being made by us
)

// The versions of QUIC that quic-go speaks.
const (
	quicV1 = 1
	quicV2 = 0x6b3343cf
)

// minClientDestID is the shortest connection ID that a client may invent for a
// server it does not know yet (RFC 9000, section 7.2). Ours have 4 bytes, so an
// Initial that answers one of our dials never looks like a client's.
const minClientDestID = 8

// kindOf judges a packet.
func kindOf(b []byte) packetKind {
	if len(b) == 0 {
		return kindJunk
	}
	long, fixed := b[0]&0x80 != 0, b[0]&0x40 != 0
	switch {
	case !long && !fixed:
		return kindJunk
	case !long:
		return kindOther
	case len(b) < 6:
		return kindJunk
	}
	var initial, early byte // the numbers of the two packet types
	switch binary.BigEndian.Uint32(b[1:]) {
	case 0: // Version Negotiation, an answer
		return kindOther
	case quicV1:
		initial, early = 0, 1
	case quicV2:
		initial, early = 1, 2
	default:
		return kindOpening
	}
	switch b[0] >> 4 & 3 {
	case initial:
		if b[5] < minClientDestID {
			return kindOther
		}
		return kindOpening
	case early:
		return kindOpening
	}
	return kindOther
}
