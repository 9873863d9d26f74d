// Package linkproto is the protocol of one link, as a machine without clock,
// socket or goroutine: who the neighbour is, whether it is let in, and when the
// link must end. Messages and times go in, effects come out.
//
//	connecting --first routing update of the peer--> established --> closed
package linkproto

import (
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Timing of the legacy protocol.
const (
	InitInterval = time.Second      // between init messages
	InitTries    = 10               // after which the link is given up at the next one
	IdleCheck    = 5 * time.Second  // between looks at the idle time
	MinMaxIdle   = 21 * time.Second // two routing periods and a second
)

// Config is what the machine must know.
type Config struct {
	Self         string
	Cost         float64            // of the link
	NodeCost     map[string]float64 // by peer, before Cost
	AllowedPeers []string           // empty: all
	MaxIdle      time.Duration      // 0: MinMaxIdle

	// Admit is asked when the peer's ID is known and allowed: an error refuses
	// the link (already connected). epoch is the peer's.
	Admit func(peer string, epoch uint64) error
}

// Effects is what the shell must do after an input, in the order of the fields.
type Effects struct {
	SendInit    bool                // send a fresh update about ourselves on this link
	Established bool                // the peer is accepted: Peer, Cost and Ext are known
	Route       *wire.RoutingUpdate // hand it to routing
	Advert      []byte              // hand it to advertisements
	Ignored     string              // the message was dropped, for this reason (a counter's name)
	Reject      bool                // send a reject, flushed, before closing
	Close       error               // close the link, for this reason
}

// Machine is the protocol of one link.
type Machine struct{}

// New makes a machine; Start begins.
func New(c Config) *Machine { return &Machine{} }

// Start is called once the link can carry messages.
func (m *Machine) Start(now time.Time) Effects { return Effects{} }

// Receive takes one message that is not data (data messages before Established
// are dropped by the shell). It does not retain msg, but Effects.Advert does.
func (m *Machine) Receive(now time.Time, msg []byte) Effects { return Effects{} }

// Tick is called at or after Next. lastReceived is when anything last arrived,
// data included.
func (m *Machine) Tick(now, lastReceived time.Time) Effects { return Effects{} }

// Next is when Tick wants to be called.
func (m *Machine) Next() time.Time { return time.Time{} }

// Peer is the neighbour's ID, once established.
func (m *Machine) Peer() string { return "" }

// Cost is the link's cost for that peer, once established.
func (m *Machine) Cost() float64 { return 0 }

// Ext is what the peer said in its first update; nil: a legacy node.
func (m *Machine) Ext() *wire.Ext { return nil }

// Established tells whether the peer is accepted and the link not closed.
func (m *Machine) Established() bool { return false }
