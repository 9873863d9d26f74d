package packet

import (
	"encoding/binary"
	"errors"
)

var (
	errNoFragments = errors.New("packet that may not be cut into fragments")
	errMTU         = errors.New("MTU too small for fragments")
)

// Fragment cuts an IPv4 packet without DF into fragments of at most mtu bytes
// (RFC 791 3.2) and calls emit for each, until that returns an error, which it returns.
// What emit gets is valid until it returns. A packet that fits is emitted as it is. The
// checksum of what it carries has to be whole (see Complete).
func Fragment(p []byte, mtu int, emit func([]byte) error) error {
	l, err := parse(p)
	if err != nil {
		return err
	}
	p = p[:l.end]
	if len(p) <= mtu {
		return emit(p)
	}
	if l.v6 || binary.BigEndian.Uint16(p[6:])&dontFragment != 0 {
		return errNoFragments
	}
	if mtu < minMTU {
		return errMTU
	}
	var first, later [60]byte // headers
	header := first[:copy(first[:], p[:l.transport])]
	rest := laterHeader(later[:0], header)
	flags := binary.BigEndian.Uint16(p[6:])
	offset := flags & fragmentOffset
	out := make([]byte, 0, mtu)
	for payload := p[l.transport:]; len(payload) > 0; {
		n := min(len(payload), (mtu-len(header))&^7) // offsets are in units of 8 bytes
		if int(offset)+n/8 > fragmentOffset {
			return errLength
		}
		out = append(append(out[:0], header...), payload[:n]...)
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		more := flags &^ fragmentOffset
		if n < len(payload) {
			more |= moreFragments
		}
		binary.BigEndian.PutUint16(out[6:], more|offset)
		clear(out[10:12])
		putChecksum(out[10:], sum(0, out[:len(header)]))
		if err := emit(out); err != nil {
			return err
		}
		payload, offset, header = payload[n:], offset+uint16(n/8), rest
	}
	return nil
}

// laterHeader appends to b the header of fragments behind the first, which has those
// options only whose kind says that all have them.
func laterHeader(b, header []byte) []byte {
	const copied = 0x80
	b = append(b, header[:ipv4Len]...)
	for options := header[ipv4Len:]; len(options) > 0 && options[0] != optionEnd; {
		n := 1
		if options[0] != optionPad {
			if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
				break // no options from here on
			}
			n = int(options[1])
		}
		if options[0]&copied != 0 {
			b = append(b, options[:n]...)
		}
		options = options[n:]
	}
	for len(b)%4 != 0 {
		b = append(b, optionEnd)
	}
	b[0] = b[0]&0xf0 | uint8(len(b)/4)
	return b
}
