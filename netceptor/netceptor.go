// Package netceptor is the mesh: a Node with links to its neighbours, routing
// between all nodes, datagrams and streams.
//
// A Node owns no backend. Links are given to it by AddLink as connections that
// carry length-prefixed frames, whoever made them. Several nodes can live in one
// process; the package has no state of its own, reads no files and no flags.
package netceptor

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

var errStub = errors.New("not built yet")

// Addr is a service on a node. It implements net.Addr.
type Addr struct{ Node, Service string }

// Network implements net.Addr.
func (a Addr) Network() string { return "receptor" }

// String is node:service.
func (a Addr) String() string { return a.Node + ":" + a.Service }

// Config is what a node needs. The zero value of each field but NodeID is usable.
type Config struct {
	NodeID string       // required; any text but "localhost"
	Logger hclog.Logger // nil: none

	// Epoch identifies this run of the node. It must be greater than any that the
	// node had before, or the mesh ignores it: see NextEpoch. 0: from the clock.
	Epoch uint64

	// StatelessResetKey lets peers notice at once that this node has restarted;
	// keep it over restarts. Zero: random.
	StatelessResetKey [32]byte

	Version string // reported in status

	// MaxIdle closes a link on which nothing was received for that long.
	// 0: 21 s; not less (two periods of routing updates and a second).
	MaxIdle time.Duration
}

// Validate checks c and names the field that is wrong.
func (c *Config) Validate() error { return errStub }

// NextEpoch is the epoch for a node that starts now and whose greatest epoch so
// far was last (0: unknown): Unix seconds shifted left 24 bits plus random bits,
// or last+1 where that is greater.
func NextEpoch(now time.Time, last uint64) uint64 { return 0 }

// Node is one node of the mesh.
type Node struct{}

// New makes a node; Start brings it to life.
func New(c Config) (*Node, error) { return nil, errStub }

// Start starts the node's goroutines.
func (n *Node) Start() error { return errStub }

// Close ends all links, streams and goroutines and waits for them.
func (n *Node) Close() error { return errStub }

// NodeID returns the node's ID.
func (n *Node) NodeID() string { return "" }

// LinkConfig says how a link is to be used, and describes it for status.
type LinkConfig struct {
	Cost          float64            // > 0; 0 means 1
	NodeCost      map[string]float64 // by peer, before Cost
	AllowedPeers  []string           // empty: all
	Item          string             // the item that made it
	Dir           string             // "in" or "out"
	Local, Remote string
	Medium        string
}

// Link is one link to a neighbour.
type Link struct{}

// AddLink runs a link over conn, which it owns from now on, and returns at once.
func (n *Node) AddLink(conn net.Conn, c LinkConfig) (*Link, error) { return nil, errStub }

// Done is closed when the link has ended; Err then says why (nil: in order).
func (l *Link) Done() <-chan struct{} { return nil }

// Err says why the link ended.
func (l *Link) Err() error { return nil }

// Peer is the neighbour's node ID, empty until it is known.
func (l *Link) Peer() string { return "" }

// Close ends the link.
func (l *Link) Close() error { return nil }

// Errors that callers branch on. All network errors match net.ErrClosed where
// the local end was closed, and implement Timeout.
var (
	ErrNoRoute        = errors.New("no route to node")
	ErrServiceUnknown = errors.New("service unknown")
	ErrRefused        = errors.New("connection refused by the remote service")
	ErrReset          = errors.New("stream reset by the remote side")
	ErrInUse          = errors.New("service is already in use")
	ErrTooLong        = errors.New("service name is longer than 8 bytes")
)

// Conn is a stream through the mesh. It implements net.Conn. Close ends both
// directions in order (what was written arrives); Reset aborts both, which the
// other side sees as ErrReset, never as an end.
type Conn struct{ net.Conn }

// CloseWrite ends the writing direction; reading goes on.
func (c *Conn) CloseWrite() error { return errStub }

// Reset aborts both directions.
func (c *Conn) Reset() error { return errStub }

// Dial opens a stream to a service. It fails at once with ErrNoRoute or
// ErrServiceUnknown where that is known, else by ctx or after 15 s.
func (n *Node) Dial(ctx context.Context, node, service string) (*Conn, error) { return nil, errStub }

// ListenOptions say how a service shows in the mesh.
type ListenOptions struct {
	Advertise bool
	Tags      map[string]string
}

// Listener accepts the streams of a service. It implements net.Listener.
type Listener struct{}

// Listen serves streams under a service name; an empty name asks for a fresh one.
func (n *Node) Listen(service string, o ListenOptions) (*Listener, error) { return nil, errStub }

// Next waits for the next stream, which the caller then accepts or refuses.
func (l *Listener) Next(ctx context.Context) (*Incoming, error) { return nil, errStub }

// Accept waits for the next stream and accepts it.
func (l *Listener) Accept() (net.Conn, error) { return nil, errStub }

// Close stops listening; accepted streams live on.
func (l *Listener) Close() error { return errStub }

// Addr is the service's address.
func (l *Listener) Addr() net.Addr { return nil }

// Incoming is a stream that has arrived and waits to be accepted: the dialling
// side's Dial returns when it is (between our own nodes).
type Incoming struct{}

// Remote is the dialling side's address.
func (i *Incoming) Remote() Addr { return Addr{} }

// Accept takes the stream.
func (i *Incoming) Accept() (*Conn, error) { return nil, errStub }

// Refuse turns it away; the dialling side gets ErrRefused.
func (i *Incoming) Refuse() {}

// PacketConn sends and receives datagrams. It implements net.PacketConn.
type PacketConn struct{}

// ListenPacket opens a datagram service; an empty name asks for a fresh one.
func (n *Node) ListenPacket(service string, o ListenOptions) (*PacketConn, error) {
	return nil, errStub
}

// PingResult is the answer to a ping.
type PingResult struct {
	From string        // who answered
	Time time.Duration // round trip
}

// Ping sends an empty datagram to the ping service of a node with that many
// hops to live and waits for the answer, 10 s at most. The error of a notice is
// its problem's text ("message expired"); From is set then, too.
func (n *Node) Ping(ctx context.Context, node string, hops uint8) (PingResult, error) {
	return PingResult{}, errStub
}

// Status is what is known at the node, a copy.
type Status struct {
	NodeID               string
	Version              string
	Epoch                uint64
	Connections          []Connection // sorted by node
	RoutingTable         map[string]string
	Advertisements       []Advertisement // sorted by node, service
	KnownConnectionCosts map[string]map[string]float64
	Links                []LinkStatus
	Counters             map[string]uint64 // drops by reason and such
}

// Connection is an established link to a neighbour, as legacy status has it.
type Connection struct {
	NodeID string
	Cost   float64
}

// Advertisement is a service that a node told the mesh about. The JSON names
// and their order are those of the legacy status answer.
type Advertisement struct {
	NodeID       string
	Service      string
	Time         time.Time
	ConnType     int
	Tags         map[string]string
	WorkCommands []WorkCommand
}

// WorkCommand is one type of work in an advertisement.
type WorkCommand struct {
	WorkType string
	Secure   bool
}

// LinkStatus is the state of one link.
type LinkStatus struct {
	Peer           string    `json:"peer,omitempty"`
	State          string    `json:"state"` // "connecting", "established"
	Legacy         bool      `json:"legacy"`
	Cost           float64   `json:"cost"`
	Item           string    `json:"item,omitempty"`
	Dir            string    `json:"dir,omitempty"`
	Medium         string    `json:"medium,omitempty"`
	Local          string    `json:"local,omitempty"`
	Remote         string    `json:"remote,omitempty"`
	Since          time.Time `json:"since"`
	BytesIn        uint64    `json:"bytes_in"`
	BytesOut       uint64    `json:"bytes_out"`
	FramesIn       uint64    `json:"frames_in"`
	FramesOut      uint64    `json:"frames_out"`
	FramesDropped  uint64    `json:"frames_dropped"`
	Authentication string    `json:"authentication"` // "none" until links speak TLS
}

// Status returns the node's state.
func (n *Node) Status() Status { return Status{} }
