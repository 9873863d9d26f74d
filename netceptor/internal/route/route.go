// Package route is the routing of a node, as a machine: what it knows of all
// nodes, when it tells others, and over which neighbour each can be reached.
// Messages and times go in, effects come out.
package route

import (
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Timing of the legacy protocol.
const (
	FloodDelay  = 100 * time.Millisecond // changes within it go out as one update
	FloodPeriod = 10 * time.Second       // after the previous flood
	SPFDelay    = 100 * time.Millisecond // at most, between a change and the new routes
	SeenFor     = time.Hour              // how long an UpdateID is remembered
)

// Config is what the machine must know.
type Config struct {
	Self  string
	Epoch uint64
	Ext   *wire.Ext     // said in our own updates to neighbours that may understand
	NewID func() string // a fresh random UpdateID, 8 of [0-9a-zA-Z]
}

// Send is an update to put on links.
type Send struct {
	To     string // a neighbour; empty: all established ones...
	Except string // ...but this one
	Update *wire.RoutingUpdate
}

// Effects is what the shell must do after an input.
type Effects struct {
	Send      []Send
	Learned   []string // node IDs that may now be used as source or destination
	Routes    bool     // Routes has changed
	Restarted []string // nodes that are known to be a new process: their old streams are dead
	Duplicate string   // a log line: another node claims our ID
	Ignored   string   // the update was dropped, for this reason (a counter's name)
}

// Machine is the routing of one node.
type Machine struct{}

// New makes a machine.
func New(c Config) *Machine { return &Machine{} }

// Init is a fresh update about ourselves for a link that is being set up.
func (m *Machine) Init() *wire.RoutingUpdate { return nil }

// LinkUp adds a neighbour. legacy: it must never be sent what legacy nodes do not know.
func (m *Machine) LinkUp(now time.Time, peer string, cost float64, legacy bool) Effects {
	return Effects{}
}

// LinkDown removes a neighbour.
func (m *Machine) LinkDown(now time.Time, peer string) Effects { return Effects{} }

// Receive takes an update that came from an established neighbour. It owns u.
func (m *Machine) Receive(now time.Time, from string, u *wire.RoutingUpdate) Effects {
	return Effects{}
}

// Tick is called at or after Next.
func (m *Machine) Tick(now time.Time) Effects { return Effects{} }

// Next is when Tick wants to be called; zero: not before another input.
func (m *Machine) Next() time.Time { return time.Time{} }

// Routes is a copy of the routing table: destination to neighbour.
func (m *Machine) Routes() map[string]string { return nil }

// Costs is a copy of what each known node says about its links, for status.
func (m *Machine) Costs() map[string]map[string]float64 { return nil }

// Epoch is the last known epoch of a node; false: unknown.
func (m *Machine) Epoch(node string) (uint64, bool) { return 0, false }

// Ext is what a node said in its own updates; nil: a legacy node, or only known
// through one.
func (m *Machine) Ext(node string) *wire.Ext { return nil }
