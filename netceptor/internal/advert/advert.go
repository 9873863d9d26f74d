// Package advert keeps service advertisements, as a machine: our own and those
// of the mesh. Messages and times go in, effects come out.
package advert

import (
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Timing of the legacy protocol.
const (
	FirstAfter = 5 * time.Second
	Period     = 60 * time.Second
)

// Send is a message to put on links.
type Send struct {
	To      string // a neighbour; empty: all established ones...
	Except  string // ...but this one
	Message []byte // with its type byte
}

// Effects is what the shell must do after an input.
type Effects struct {
	Send    []Send
	Changed bool   // Known has changed
	Ignored string // the message was dropped, for this reason (a counter's name)
}

// Machine keeps the advertisements of one node.
type Machine struct{}

// New makes a machine for the node self.
func New(self string) *Machine { return &Machine{} }

// Publish adds or replaces one of our services.
func (m *Machine) Publish(now time.Time, a wire.Advert) Effects { return Effects{} }

// Withdraw removes one of ours: it is no longer repeated (no Cancel is sent:
// it would circulate for ever in a mesh with a cycle of legacy nodes).
func (m *Machine) Withdraw(now time.Time, service string) Effects { return Effects{} }

// LinkUp sends what we know of our own services to a new neighbour.
func (m *Machine) LinkUp(now time.Time, peer string) Effects { return Effects{} }

// Receive takes a message, type byte included, from a neighbour. It retains msg.
func (m *Machine) Receive(now time.Time, from string, msg []byte) Effects { return Effects{} }

// Tick is called at or after Next.
func (m *Machine) Tick(now time.Time) Effects { return Effects{} }

// Next is when Tick wants to be called; zero: not before another input.
func (m *Machine) Next() time.Time { return time.Time{} }

// Known is a copy of all advertisements, sorted by node and service.
func (m *Machine) Known() []wire.Advert { return nil }
