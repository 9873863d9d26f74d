package wire

import (
	"encoding/binary"
	"fmt"
)

// HeaderSize is the size of the fixed part of a data message, its type included.
const HeaderSize = 36

// DefaultHops is hops to live of a message that a node makes.
const DefaultHops = 30

// Where the fields of a data message are.
const (
	offHops        = 1
	offReserved    = 2
	offFrom        = 4
	offTo          = 12
	offFromService = 20
	offToService   = 28
)

const ecnMask = 0b11

// Header is the fixed part of a data message, big-endian:
//
//	type         1  TypeData
//	hops         1  links that it may still pass
//	reserved     2  bits 0-1 of the first byte: ECN; all others 0
//	from         8  NodeHash of the source
//	to           8  NodeHash of the destination
//	fromService  8
//	toService    8
type Header struct {
	Hops        uint8
	ECN         uint8 // 2 bits, in reserved byte 2; only between our nodes (docs/wire-extensions.md)
	From, To    uint64
	FromService Service
	ToService   Service
}

// Append appends the message's type byte and header. It does not retain b.
func (h *Header) Append(b []byte) []byte {
	b = append(b, TypeData, h.Hops, h.ECN&ecnMask, 0)
	b = binary.BigEndian.AppendUint64(b, h.From)
	b = binary.BigEndian.AppendUint64(b, h.To)
	b = append(b, h.FromService[:]...)
	return append(b, h.ToService[:]...)
}

// ParseHeader reads the header of a data message, type byte included.
func ParseHeader(m []byte) (Header, error) {
	d, err := AsData(m)
	if err != nil {
		return Header{}, err
	}
	return Header{
		Hops:        d.Hops(),
		ECN:         d[offReserved] & ecnMask,
		From:        d.From(),
		To:          d.To(),
		FromService: d.FromService(),
		ToService:   d.ToService(),
	}, nil
}

// Data is a data message where it lies, for those who only pass it on: its
// methods read and edit in place and allocate nothing. It has at least HeaderSize
// bytes, which AsData has checked.
type Data []byte

// AsData checks that m is a data message with a whole header. The result is m.
func AsData(m []byte) (Data, error) {
	if len(m) < HeaderSize {
		return nil, fmt.Errorf("data message of %d bytes has no whole header", len(m))
	}
	if m[0] != TypeData {
		return nil, fmt.Errorf("message of type %d is not data", m[0])
	}
	return Data(m), nil
}

// Hops is how many links the message may still pass.
func (d Data) Hops() uint8 { return d[offHops] }

// From is the hash of the source node.
func (d Data) From() uint64 { return binary.BigEndian.Uint64(d[offFrom:]) }

// To is the hash of the destination node.
func (d Data) To() uint64 { return binary.BigEndian.Uint64(d[offTo:]) }

// FromService is the source service.
func (d Data) FromService() Service { return Service(d[offFromService:]) }

// ToService is the destination service.
func (d Data) ToService() Service { return Service(d[offToService:]) }

// Payload is what follows the header, a part of d.
func (d Data) Payload() []byte { return d[HeaderSize:] }

// DecrementHops takes one from the hops, as on every link. It tells whether there
// was one left; if not, the message has expired and is unchanged.
func (d Data) DecrementHops() bool {
	if d[offHops] == 0 {
		return false
	}
	d[offHops]--
	return true
}

// ClearReserved zeroes the reserved bytes, as every legacy node does.
func (d Data) ClearReserved() { d[offReserved], d[offReserved+1] = 0, 0 }
