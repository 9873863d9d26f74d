package wire

import (
	"fmt"
	"time"
)

// Advert is a service advertisement. Relays pass the original bytes on.
type Advert struct {
	NodeID       string
	Service      string
	Time         time.Time // when it was made; of two, the later holds
	ConnType     int       // ConnDatagram, ConnStream, ConnStreamTLS
	Tags         map[string]string
	WorkCommands []WorkCommand
	Cancel       bool // the service is withdrawn
	Gone         bool `json:",omitempty"` // likewise, in a way that legacy nodes relay once (docs/wire-extensions.md)
}

// The connection types of an Advert.
const (
	ConnDatagram  = 0
	ConnStream    = 1
	ConnStreamTLS = 2
)

// WorkCommand is one type of work that a node offers.
type WorkCommand struct {
	WorkType string
	Secure   bool // a signature is required
}

// Append appends the message with its type byte, all keys present: a legacy node
// dies of one without them. The year of Time must be in [0, 9999], else it
// appends nothing.
func (a *Advert) Append(b []byte) []byte { return appendJSON(b, TypeAdvert, a) }

// ParseAdvert reads a message, type byte included. One that does not name node,
// service and time is an error: it cannot be kept, and must not reach a legacy
// node. It does not retain m.
func ParseAdvert(m []byte) (*Advert, error) {
	a := new(Advert)
	if err := parseJSON(m, TypeAdvert, a); err != nil {
		return nil, fmt.Errorf("parse service advertisement: %w", err)
	}
	switch {
	case a.NodeID == "" || len(a.NodeID) > MaxNodeID:
		return nil, fmt.Errorf("service advertisement names node %.256q, not 1 to %d bytes", a.NodeID, MaxNodeID)
	case a.Service == "" || len(a.Service) > len(Service{}):
		return nil, fmt.Errorf("service advertisement of node %.256q names service %.256q, not 1 to %d bytes",
			a.NodeID, a.Service, len(Service{}))
	case a.Time.IsZero():
		return nil, fmt.Errorf("service advertisement of node %.256q, service %q, has no time", a.NodeID, a.Service)
	}
	return a, nil
}
