package wire

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the length of a control frame header in bytes.
const HeaderSize = 12

// Flags of a control frame.
type Flags uint8

// The flags.
const (
	FlagResponse Flags = 1 << 0 // answers the request of that ID
	FlagError    Flags = 1 << 1 // the body is an Error; with FlagResponse only
)

// Header is the fixed part of a control frame; Length bytes of JSON follow, one
// object. 12 bytes, big-endian, frozen across majors:
//
//	length   4  of the body, at most MaxBody
//	type     1  a Type
//	flags    1  bit 0 response, bit 1 error, others 0
//	fds      1  descriptors that belong to this frame, at most MaxFDs
//	reserved 1  0
//	id       4  of the request: odd from the plug, even from the core; 0 is a notification
type Header struct {
	Length uint32
	Type   Type
	Flags  Flags
	FDs    uint8
	ID     uint32
}

// Append appends the encoded header to b.
func (h Header) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.Length)
	b = append(b, uint8(h.Type), uint8(h.Flags), h.FDs, 0)
	return binary.BigEndian.AppendUint32(b, h.ID)
}

// ParseHeader reads a header from the front of b and returns it with the bytes
// used. ErrShort means: read more and try again. It checks all that does not
// depend on the state of the connection; a type that it does not know is no error.
func ParseHeader(b []byte) (Header, int, error) {
	if len(b) < HeaderSize {
		return Header{}, 0, ErrShort
	}
	h := Header{
		Length: binary.BigEndian.Uint32(b),
		Type:   Type(b[4]),
		Flags:  Flags(b[5]),
		FDs:    b[6],
		ID:     binary.BigEndian.Uint32(b[8:]),
	}
	if h.Length > MaxBody {
		return Header{}, 0, &FormatError{"body length", fmt.Sprintf("at most %d", MaxBody), fmt.Sprint(h.Length)}
	}
	switch h.Flags {
	case 0:
	case FlagResponse, FlagResponse | FlagError:
		if h.ID == 0 {
			return Header{}, 0, &FormatError{"id of a response", "that of a request", "0"}
		}
	default:
		return Header{}, 0, &FormatError{"flags", "0, 1 or 3", fmt.Sprint(b[5])}
	}
	if h.FDs > MaxFDs {
		return Header{}, 0, &FormatError{"descriptors", fmt.Sprintf("at most %d", MaxFDs), fmt.Sprint(b[6])}
	}
	if b[7] != 0 {
		return Header{}, 0, &FormatError{"reserved byte of the frame header", "0", fmt.Sprint(b[7])}
	}
	return h, HeaderSize, nil
}
