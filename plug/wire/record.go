package wire

import (
	"encoding/binary"
	"fmt"
)

// RecordSize is the length of a record header in bytes.
const RecordSize = 8

// RecordType is the type of a record.
type RecordType uint8

// The types of records.
const (
	RecordData  RecordType = 1 // bytes of the stream, or a datagram
	RecordEnd   RecordType = 2 // empty: nothing more will come in this direction
	RecordReset RecordType = 3 // Reset as JSON, at most MaxReset: both directions are over
	RecordPeer  RecordType = 4 // Peer as JSON, at most MaxPeer: a flow
	RecordGone  RecordType = 5 // Gone as JSON, at most MaxReset, or empty: it is no more
)

// RecordHeader is the fixed part of a record; Length bytes of payload follow.
// 8 bytes, big-endian:
//
//	length 2  payload bytes that follow
//	type   1  a RecordType
//	flags  1  0 (bits 0-1 of a datagram: ECN)
//	peer   4  0 of a stream; the handle of a flow
type RecordHeader struct {
	Length uint16
	Type   RecordType
	Flags  uint8
	Peer   uint32
}

// Append appends the encoded header to b.
func (h RecordHeader) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.Length)
	b = append(b, uint8(h.Type), h.Flags)
	return binary.BigEndian.AppendUint32(b, h.Peer)
}

// ParseRecordHeader reads a header from the front of b and returns it with the
// bytes used. ErrShort means: read more and try again. Whether a type is at its
// place is for CheckStream, or the reader of packets, to say.
func ParseRecordHeader(b []byte) (RecordHeader, int, error) {
	if len(b) < RecordSize {
		return RecordHeader{}, 0, ErrShort
	}
	return RecordHeader{
		Length: binary.BigEndian.Uint16(b),
		Type:   RecordType(b[2]),
		Flags:  b[3],
		Peer:   binary.BigEndian.Uint32(b[4:]),
	}, RecordSize, nil
}

// CheckStream reports what is wrong with h as a record of a stream.
func (h RecordHeader) CheckStream() error {
	limit := uint16(0)
	switch h.Type {
	case RecordData:
		limit = MaxRecord
	case RecordEnd:
	case RecordReset:
		limit = MaxReset
	case RecordPeer, RecordGone:
		fallthrough
	default:
		return &FormatError{"record type of a stream", "1, 2 or 3", fmt.Sprint(uint8(h.Type))}
	}
	if h.Length > limit {
		return &FormatError{"record length", fmt.Sprintf("at most %d", limit), fmt.Sprint(h.Length)}
	}
	if h.Flags != 0 {
		return &FormatError{"record flags of a stream", "0", fmt.Sprint(h.Flags)}
	}
	if h.Peer != 0 {
		return &FormatError{"record peer of a stream", "0", fmt.Sprint(h.Peer)}
	}
	return nil
}

// CheckPacket reports what is wrong with h as a record of a packet service.
func (h RecordHeader) CheckPacket() error {
	var limit uint16
	var flags uint8
	switch h.Type {
	case RecordData:
		limit, flags = MaxRecord, ECNMask
	case RecordPeer:
		limit = MaxPeer
	case RecordGone:
		limit = MaxReset
	case RecordEnd, RecordReset:
		fallthrough
	default:
		return &FormatError{"record type of a packet service", "1, 4 or 5", fmt.Sprint(uint8(h.Type))}
	}
	if h.Length > limit {
		return &FormatError{"record length", fmt.Sprintf("at most %d", limit), fmt.Sprint(h.Length)}
	}
	if h.Flags&^flags != 0 {
		return &FormatError{"record flags", fmt.Sprintf("within %d", flags), fmt.Sprint(h.Flags)}
	}
	if h.Peer == 0 {
		return &FormatError{"record handle of a flow", "not 0", "0"}
	}
	return nil
}
