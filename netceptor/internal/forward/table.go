package forward

import (
	"encoding/binary"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Where the fields of a data message are that forwarding looks at; package wire
// has the whole layout.
const (
	offsetHops     = 1
	offsetReserved = 2
	offsetFrom     = 4
	offsetTo       = 12
)

// Table is what forwarding knows: an immutable snapshot, replaced as a whole when
// routing learns something.
type Table struct {
	Self  uint64
	Nodes map[uint64]Entry // by hash; our own node is in it
	Made  time.Time
}

// Entry is a known node.
type Entry struct {
	Name string
	Next *Link     // to the next hop; nil: no route
	Lost time.Time // since when there is none, if there is none; the node may only just have been heard of

	// Part is the part of the mesh that the node is in. Parts are what the mesh
	// falls into without us: nodes of one part reach each other, and us, through any
	// neighbour in it. 0: there is no way to the node.
	Part uint32
}

// Name is the name of a node, empty if it is not known.
func (t *Table) Name(node uint64) string { return t.Nodes[node].Name }

// Verdict is what is to become of a message.
type Verdict int

// The verdicts, in the order of the checks. What a firewall says counts before
// Local and all further ones.
const (
	Short    Verdict = iota // shorter than a header: drop
	Unknown                 // source or destination never heard of: drop silently
	Spoofed                 // says that it comes from us, but came over a link: drop
	WrongWay                // says that it comes from where that neighbour cannot lead: drop
	Local                   // for us
	Expired                 // no hops left: drop, tell the source
	NoRoute                 // known, but not reachable now: drop
	Forward                 // to the next hop; hops are decremented, reserved bytes zero
)

// Route decides about a data message that arrived from the neighbour via. For
// Forward it has edited msg and returns the link to the next hop.
func (t *Table) Route(msg []byte, via uint64) (Verdict, *Link) {
	if len(msg) < wire.HeaderSize {
		return Short, nil
	}
	from := binary.BigEndian.Uint64(msg[offsetFrom:])
	to := binary.BigEndian.Uint64(msg[offsetTo:])
	dst, known := t.Nodes[to]
	src, ok := t.Nodes[from]
	if !ok || !known {
		return Unknown, nil
	}
	switch {
	case from == t.Self:
		return Spoofed, nil
	case from != via && (src.Part == 0 || src.Part != t.Nodes[via].Part):
		return WrongWay, nil
	case to == t.Self:
		return Local, nil
	case msg[offsetHops] == 0:
		return Expired, nil
	case dst.Next == nil:
		return NoRoute, nil
	}
	msg[offsetHops]--
	msg[offsetReserved], msg[offsetReserved+1] = 0, 0
	return Forward, dst.Next
}
