package wire

import (
	"encoding/binary"
	"fmt"
)

// Magic is how every connection to a plug socket begins.
const Magic = "RCPTPLUG"

// PreambleSize is the length of a preamble in bytes.
const PreambleSize = 12

// ConnKind says what a connection is for.
type ConnKind uint8

// The kinds of connections.
const (
	ConnSession ConnKind = 1 // control frames for as long as it lasts
	ConnData    ConnKind = 2 // one frame each way, then the bytes of one object
)

// Preamble opens every connection, from the side that connects; a core sends
// its own only to refuse a major that it does not know. 12 bytes, frozen across
// majors:
//
//	magic    8  RCPTPLUG
//	major    1  1
//	kind     1  1 session, 2 data
//	reserved 2  0
type Preamble struct {
	Major uint8
	Kind  ConnKind
}

// Append appends the encoded preamble to b.
func (p Preamble) Append(b []byte) []byte {
	b = append(b, Magic...)
	return append(b, p.Major, uint8(p.Kind), 0, 0)
}

// ParsePreamble reads a preamble from the front of b and returns it with the
// bytes used. ErrShort means: read more and try again. What follows the major is
// checked only where this package speaks that major: the caller tells an
// unknown one from the Major field.
func ParsePreamble(b []byte) (Preamble, int, error) {
	if len(b) < PreambleSize {
		return Preamble{}, 0, ErrShort
	}
	if string(b[:8]) != Magic {
		return Preamble{}, 0, &FormatError{"magic", Magic, fmt.Sprintf("%q", b[:8])}
	}
	p := Preamble{Major: b[8], Kind: ConnKind(b[9])}
	if p.Major != Major {
		return p, PreambleSize, nil
	}
	if p.Kind != ConnSession && p.Kind != ConnData {
		return Preamble{}, 0, &FormatError{"connection kind", "1 or 2", fmt.Sprint(b[9])}
	}
	if r := binary.BigEndian.Uint16(b[10:]); r != 0 {
		return Preamble{}, 0, &FormatError{"reserved bytes of the preamble", "0", fmt.Sprint(r)}
	}
	return p, PreambleSize, nil
}
