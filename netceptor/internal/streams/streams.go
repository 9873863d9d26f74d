// Package streams carries byte streams between services over the mesh's
// datagrams. It is the only package that names quic-go; no QUIC type shows
// above it, so that another carrier can take its place between our own nodes.
package streams

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

var errStub = errors.New("not built yet")

// Endpoint is a service on a node as on the wire: the node's hash, big-endian,
// and the padded service name.
type Endpoint [16]byte

// Config joins the carrier to a node.
type Config struct {
	NodeID   string
	Self     uint64 // the node's own hash
	ResetKey [32]byte
	Logger   hclog.Logger

	// Send puts packets on their way: b is cut into packets of segment bytes, the
	// last may be short. It copies before it returns, and never fails: what
	// cannot go is dropped and counted. ecn is the packets' ECN field, 2 bits.
	Send func(src, dst Endpoint, b []byte, segment int, ecn uint8)

	// Modern tells whether a node is one of ours with only ours on the way, so
	// that the path MTU can be probed.
	Modern func(node uint64) bool

	// Basic turns the fast packet connection off, as on systems without it.
	Basic bool
}

// The errors of a stream; the root package re-exports them.
var (
	ErrRefused        = errors.New("connection refused by the remote service")
	ErrServiceUnknown = errors.New("service unknown")
	ErrReset          = errors.New("stream reset by the remote side")
	ErrInUse          = errors.New("service is already in use")
)

// Carrier is the streams of one node.
type Carrier struct{}

// New prepares a carrier; Start brings it to life.
func New(c Config) (*Carrier, error) { return nil, errStub }

// Start starts the carrier's goroutines.
func (c *Carrier) Start() error { return errStub }

// Close ends all streams (as resets) and waits.
func (c *Carrier) Close() error { return errStub }

// Deliver takes a packet that arrived for one of this node's stream services or
// for the service that this node dials from. It copies the payload and never
// blocks. It returns false if nothing here wants it: the service is not bound
// and the packet would open a connection, or nothing ever was there.
func (c *Carrier) Deliver(src, dst Endpoint, payload []byte, ecn uint8) bool { return false }

// Unreachable tells of a notice about a packet from one of our services.
func (c *Carrier) Unreachable(src, dst Endpoint, problem string) {}

// Restarted tells that a node is a new process: streams with the old one end
// as resets at once.
func (c *Carrier) Restarted(node uint64) {}

// Dial opens a stream. ErrServiceUnknown, ErrRefused and the context's error
// are told apart.
func (c *Carrier) Dial(ctx context.Context, dst Endpoint) (*Stream, error) { return nil, errStub }

// Listen binds a stream service.
func (c *Carrier) Listen(service [8]byte) (*Listener, error) { return nil, errStub }

// Listener is a bound stream service.
type Listener struct{}

// Next waits for the next stream.
func (l *Listener) Next(ctx context.Context) (*Incoming, error) { return nil, errStub }

// Close unbinds the service; its accepted streams live on. Next returns net.ErrClosed.
func (l *Listener) Close() error { return errStub }

// Incoming is a stream that waits to be accepted.
type Incoming struct{}

// Remote is the dialling endpoint.
func (i *Incoming) Remote() Endpoint { return Endpoint{} }

// Accept takes the stream.
func (i *Incoming) Accept() (*Stream, error) { return nil, errStub }

// Refuse turns it away.
func (i *Incoming) Refuse() {}

// Stream is a byte stream. It has the methods of net.Conn but for the addresses.
type Stream struct{}

// Read reads; io.EOF is a clean end only.
func (s *Stream) Read(p []byte) (int, error) { return 0, errStub }

// Write writes; it blocks while the other side does not read.
func (s *Stream) Write(p []byte) (int, error) { return 0, errStub }

// CloseWrite ends the writing direction.
func (s *Stream) CloseWrite() error { return errStub }

// Close ends both directions in order.
func (s *Stream) Close() error { return errStub }

// Reset aborts both directions.
func (s *Stream) Reset() error { return errStub }

// SetDeadline, SetReadDeadline and SetWriteDeadline are as of net.Conn.
func (s *Stream) SetDeadline(t time.Time) error      { return errStub }
func (s *Stream) SetReadDeadline(t time.Time) error  { return errStub }
func (s *Stream) SetWriteDeadline(t time.Time) error { return errStub }

// Local and Remote are the stream's ends.
func (s *Stream) Local() Endpoint  { return Endpoint{} }
func (s *Stream) Remote() Endpoint { return Endpoint{} }

var _ = net.ErrClosed
