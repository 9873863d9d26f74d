// Package wiretest reads what nodes say to each other on a link just as a Node of
// package netceptor does, for tests that hold the reading of another
// implementation against ours. Programs have no use for it.
package wiretest

import "github.com/project-receptor/receptor/netceptor/internal/wire"

// What is read: the fixed part of a data message, routing updates, service
// advertisements, and what is said of messages that did not arrive.
type (
	Header        = wire.Header
	RoutingUpdate = wire.RoutingUpdate
	Advert        = wire.Advert
	Notice        = wire.Notice
)

// What is accepted at most, where existing nodes have no such limit.
const (
	MaxMessage  = wire.MaxMessage
	MaxNodeID   = wire.MaxNodeID
	MaxUpdateID = wire.MaxUpdateID
	MaxExt      = wire.MaxExt
	MaxCost     = wire.MaxCost
)

// CutFrame returns the first message in b, of a link over a byte stream, and what
// follows it; ok is false as long as there is no whole one.
func CutFrame(b []byte) (message, rest []byte, ok bool) { return wire.CutFrame(b) }

// ParseHeader reads the fixed part of a data message, type byte included.
func ParseHeader(message []byte) (Header, error) { return wire.ParseHeader(message) }

// ParseRoutingUpdate reads a routing update, type byte included.
func ParseRoutingUpdate(message []byte) (*RoutingUpdate, error) {
	return wire.ParseRoutingUpdate(message)
}

// ParseAdvert reads a service advertisement, type byte included.
func ParseAdvert(message []byte) (*Advert, error) { return wire.ParseAdvert(message) }

// ParseNotice reads the payload of a data message to the service unreach.
func ParseNotice(payload []byte) (*Notice, error) { return wire.ParseNotice(payload) }
