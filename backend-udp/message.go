package backendudp

import (
	"encoding/binary"
	"encoding/json"
)

// maxMessage is the largest message that has a datagram, over IPv4 as over IPv6.
const maxMessage = 65_507

// lengthSize is that of a message's length in link framing, which the core reads
// and writes: 2 bytes, little-endian.
const lengthSize = 2

// The types of messages, their first byte, that mean something here.
const (
	typeData   = 0
	typeRoute  = 1 // a routing update, with which links begin
	typeReject = 3 // the end of a link
)

// farewell is the message that ends a link.
var farewell = []byte{typeReject, '[', ']'}

// appendFrame appends a message in link framing.
func appendFrame(b, msg []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(msg)))
	return append(b, msg...)
}

// cutFrame returns the first message of b, and its size in b; 0: it is not whole.
func cutFrame(b []byte) (msg []byte, size int) {
	if len(b) < lengthSize {
		return nil, 0
	}
	size = lengthSize + int(binary.LittleEndian.Uint16(b))
	if size > len(b) {
		return nil, 0
	}
	return b[lengthSize:size:size], size
}

// nodeOf is the node that a routing update is about; empty: it is none.
func nodeOf(msg []byte) string {
	var u struct{ NodeID string }
	if len(msg) == 0 || msg[0] != typeRoute || json.Unmarshal(msg[1:], &u) != nil {
		return ""
	}
	return u.NodeID
}

// lists tells whether msg is a routing update that names a link to a node.
func lists(msg []byte, node string) bool {
	var u struct{ Connections map[string]json.RawMessage }
	if len(msg) == 0 || msg[0] != typeRoute || json.Unmarshal(msg[1:], &u) != nil {
		return false
	}
	_, ok := u.Connections[node]
	return ok
}
