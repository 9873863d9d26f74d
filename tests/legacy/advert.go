package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The values of Advert.ConnType.
const (
	ConnDatagram  = 0
	ConnStream    = 1 // without a TLS configuration
	ConnStreamTLS = 2
)

// Advert is a service advertisement, in the order of its keys on the wire.
type Advert struct {
	NodeID       string
	Service      string
	Time         time.Time // the latest counts
	ConnType     int
	Tags         map[string]string
	WorkCommands []WorkCommand // of control services only
	Cancel       bool
}

// WorkCommand is a type of work that a node takes.
type WorkCommand struct {
	WorkType string
	Secure   bool // a signature is required
}

// Append appends the message to b.
func (a *Advert) Append(b []byte) []byte { return appendJSON(append(b, typeAdvert), a) }

// parseAdvert reads a message of typeAdvert.
func parseAdvert(msg []byte) (*Advert, error) {
	a := new(Advert)
	if err := json.Unmarshal(msg[1:], a); err != nil {
		return nil, fmt.Errorf("read an advertisement: %w", err)
	}
	if a.NodeID == "" && a.Service == "" {
		return nil, errors.New("read an advertisement: it names nothing")
	}
	return a, nil
}
