package legacy

import (
	"encoding/json"
	"fmt"
	"math"
)

// The types of messages on a link: the first byte.
const (
	typeData    = 0
	typeRouting = 1 // JSON: Update
	typeAdvert  = 2 // JSON: Advert
	typeReject  = 3 // the empty list, which nobody reads
)

// rejectMessage is how a link is refused.
var rejectMessage = [...]byte{typeReject, '[', ']'}

// Update is a routing update, in the order of its keys on the wire.
type Update struct {
	NodeID             string             // originator
	UpdateID           string             // 8 random characters
	UpdateEpoch        uint64             // of the originating process; exceeds 2^53
	UpdateSequence     uint64             // from 1
	Connections        map[string]float64 // originator's links: peer to cost
	ForwardingNode     string             // who put it on this link
	SuspectedDuplicate uint64             // 0, or the epoch of the other node of that name
}

// Append appends the message to b.
func (u *Update) Append(b []byte) []byte {
	v := *u
	if v.Connections == nil {
		v.Connections = map[string]float64{}
	}
	return appendJSON(append(b, typeRouting), v)
}

// parseUpdate reads a message of typeRouting. Costs that are not positive, which
// would have an existing node compute for ever, make it an error.
func parseUpdate(msg []byte) (*Update, error) {
	u := new(Update)
	if err := json.Unmarshal(msg[1:], u); err != nil {
		return nil, fmt.Errorf("read a routing update: %w", err)
	}
	for peer, cost := range u.Connections {
		if !(cost > 0) || math.IsInf(cost, 0) {
			return nil, fmt.Errorf("read a routing update: the cost %v of %q is not positive", cost, peer)
		}
	}
	return u, nil
}

// appendJSON appends what cannot fail to be JSON.
func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("legacy: %T is no JSON: %v", v, err))
	}
	return append(b, text...)
}
