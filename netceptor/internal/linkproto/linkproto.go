package linkproto

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
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

// Why a message is ignored: the names of counters.
const (
	IgnoredEmpty          = "empty_message"
	IgnoredUnknownType    = "unknown_type"
	IgnoredMalformed      = "malformed_update"
	IgnoredCost           = "bad_cost"
	IgnoredNotEstablished = "not_established"
	IgnoredNotListed      = "peer_does_not_list_us_yet"
	IgnoredClosed         = "link_closed"
)

// The reasons of Effects.Close that do not name anything of this link.
var (
	ErrRejected = errors.New("the peer rejected the link")
	ErrNoUpdate = fmt.Errorf("no routing update arrived within %v", InitTries*InitInterval)
	ErrIdle     = errors.New("the link was idle for too long")
)

// Config is what the machine must know.
type Config struct {
	Self         string
	Cost         float64            // of the link
	NodeCost     map[string]float64 // by peer, before Cost
	AllowedPeers []string           // empty: all
	MaxIdle      time.Duration      // 0: MinMaxIdle

	// Admit is asked when the peer's ID is known and allowed: an error refuses
	// the link (already connected). u is the peer's first own update. nil: all are
	// admitted.
	Admit func(peer string, u *wire.RoutingUpdate) error
}

// Effects is what the shell must do after an input, in the order of the fields.
type Effects struct {
	SendInit    bool                // send a fresh update about ourselves on this link
	Established bool                // the peer is accepted: Peer, Cost and Ext are known
	Route       *wire.RoutingUpdate // hand it to routing, which owns it
	Advert      []byte              // hand it to advertisements, which own it
	Ignored     string              // the message was dropped, for this reason (a counter's name)
	Reject      bool                // send a reject, flushed, before closing
	Close       error               // close the link, for this reason
}

type state int

const (
	connecting state = iota
	established
	closed
)

// Machine is the protocol of one link.
type Machine struct {
	config Config
	state  state
	next   time.Time
	tries  int // init messages sent

	// Once established:
	peer   string
	cost   float64
	ext    *wire.Ext
	listed bool // the peer's own updates have listed us
}

// New makes a machine; Start begins.
func New(c Config) *Machine {
	if c.MaxIdle == 0 {
		c.MaxIdle = MinMaxIdle
	}
	return &Machine{config: c}
}

// Start is called once the link can carry messages. What was spent until then, on
// a handshake, counts for the time in which the peer must be heard.
func (m *Machine) Start(now time.Time, spent time.Duration) Effects {
	m.tries = min(1+int(spent/InitInterval), InitTries)
	m.next = now.Add(InitInterval)
	return Effects{SendInit: true}
}

// Receive takes one message that is not data (data messages before Established
// are dropped by the shell). It does not retain msg.
func (m *Machine) Receive(now time.Time, msg []byte) Effects {
	switch {
	case m.state == closed:
		return Effects{Ignored: IgnoredClosed}
	case len(msg) == 0:
		return Effects{Ignored: IgnoredEmpty}
	case msg[0] == wire.TypeReject:
		return m.close(ErrRejected)
	case msg[0] == wire.TypeRoute:
		return m.receiveUpdate(now, msg)
	case m.state == connecting:
		return Effects{Ignored: IgnoredNotEstablished}
	case msg[0] == wire.TypeAdvert:
		return Effects{Advert: bytes.Clone(msg)}
	default:
		return Effects{Ignored: IgnoredUnknownType}
	}
}

func (m *Machine) receiveUpdate(now time.Time, msg []byte) Effects {
	u, err := wire.ParseRoutingUpdate(msg)
	switch {
	case errors.Is(err, wire.ErrCost):
		return Effects{Ignored: IgnoredCost}
	case err != nil:
		return Effects{Ignored: IgnoredMalformed}
	case m.state == connecting:
		return m.meet(now, u)
	default:
		return m.check(u)
	}
}

// meet handles the first updates, until one is the peer's own.
func (m *Machine) meet(now time.Time, u *wire.RoutingUpdate) Effects {
	peer := u.ForwardingNode
	if err := wire.CheckNodeID(peer); err != nil {
		return m.refuse(fmt.Errorf("the peer has no valid name: %w", err))
	}
	if peer == m.config.Self {
		return m.refuse(fmt.Errorf("the peer has our own node ID %q", peer))
	}
	if len(m.config.AllowedPeers) > 0 && !slices.Contains(m.config.AllowedPeers, peer) {
		return m.refuse(fmt.Errorf("node %.256q is not among the allowed peers", peer))
	}
	if u.NodeID != peer {
		// Relayed, since an own one was lost. The epoch and Ext of the peer are in
		// its own updates only, and the next is due.
		return Effects{Ignored: IgnoredNotEstablished}
	}
	if m.config.Admit != nil {
		if err := m.config.Admit(peer, u); err != nil {
			return m.refuse(err)
		}
	}
	m.state = established
	m.next = now.Add(IdleCheck)
	m.peer = peer
	m.ext = u.Ext
	m.cost = m.config.Cost
	if cost, ok := m.config.NodeCost[peer]; ok {
		m.cost = cost
	}
	e := Effects{Established: true}
	if cost, lists := u.Connections[m.config.Self]; lists && cost == m.cost {
		// The peer has heard of us before, as by a greeting, and says this once: the
		// next time is ten seconds away.
		m.listed, e.Route = true, u
	}
	return e
}

// check handles the updates of an established peer.
func (m *Machine) check(u *wire.RoutingUpdate) Effects {
	if u.ForwardingNode != m.peer {
		return m.refuse(fmt.Errorf("node %.256q sent an update in the name of %.256q", m.peer, u.ForwardingNode))
	}
	if u.NodeID != m.peer {
		return Effects{Route: u}
	}
	cost, lists := u.Connections[m.config.Self]
	switch {
	case lists && cost != m.cost:
		return m.refuse(fmt.Errorf("the cost of this link is %v here and %v at node %.256q: they must be equal", m.cost, cost, m.peer))
	case lists:
		m.listed = true
		return Effects{Route: u}
	case m.listed:
		return m.refuse(fmt.Errorf("node %.256q no longer lists this link", m.peer))
	default:
		return Effects{Ignored: IgnoredNotListed} // an init message that came late
	}
}

// Tick is called at or after Next. lastReceived is when anything last arrived,
// data included.
func (m *Machine) Tick(now, lastReceived time.Time) Effects {
	if m.state == closed || now.Before(m.next) {
		return Effects{}
	}
	if m.state == established {
		if now.Sub(lastReceived) > m.config.MaxIdle {
			return m.close(ErrIdle)
		}
		m.next = now.Add(IdleCheck)
		return Effects{}
	}
	if m.tries == InitTries {
		return m.close(ErrNoUpdate)
	}
	m.tries++
	m.next = now.Add(InitInterval)
	return Effects{SendInit: true}
}

func (m *Machine) refuse(reason error) Effects {
	e := m.close(reason)
	e.Reject = true
	return e
}

func (m *Machine) close(reason error) Effects {
	m.state = closed
	m.next = time.Time{}
	return Effects{Close: reason}
}

// Next is when Tick wants to be called; zero: never again.
func (m *Machine) Next() time.Time { return m.next }

// Peer is the neighbour's ID, once established.
func (m *Machine) Peer() string { return m.peer }

// Cost is the link's cost for that peer, once established.
func (m *Machine) Cost() float64 { return m.cost }

// Ext is what the peer said in its first update; nil: a legacy node.
func (m *Machine) Ext() *wire.Ext { return m.ext }

// Established tells whether the peer is accepted and the link not closed.
func (m *Machine) Established() bool { return m.state == established }
