package wire

import (
	"encoding/binary"
)

// Sizes of the framing on stream links: a length of LengthSize bytes,
// little-endian, and a message of that many bytes.
const (
	LengthSize = 2
	MaxMessage = 65535 // what the length can say; more would desynchronise the link
)

// AppendFrame appends the length of message and message, which must not be
// longer than MaxMessage.
func AppendFrame(b, message []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}

// CutFrame returns the first message in b and what follows it; both are parts of
// b. The message may be empty: a peer may send a length of 0. If b does not hold
// a whole frame yet, ok is false.
func CutFrame(b []byte) (message, rest []byte, ok bool) {
	if len(b) < LengthSize {
		return nil, b, false
	}
	end := LengthSize + int(binary.LittleEndian.Uint16(b))
	if len(b) < end {
		return nil, b, false
	}
	return b[LengthSize:end:end], b[end:], true
}

// AppendReject appends a reject message, as existing nodes send it.
func AppendReject(b []byte) []byte { return append(b, TypeReject, '[', ']') }
