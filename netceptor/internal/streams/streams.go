// Package streams carries byte streams between services over the mesh's
// datagrams. It is the only package that names quic-go; no QUIC type shows
// above it, so that another carrier can take its place between our own nodes.
//
// The Carrier of a node speaks two protocols over QUIC, chosen by ALPN. With our
// own nodes it is receptor-mux/1: many streams share a connection, and a stream
// is open when the far side says so (docs/wire-streams.md). With existing nodes
// it is netceptor: one connection a stream.
//
// Packets come and go through one packet connection of our own, which looks to
// quic-go like a UDP socket with segmentation offload: node hash and service
// name make 16 bytes, as long as an IPv6 address. Where a system cannot do that,
// each service has a plain packet connection of its own.
//
// What holds everywhere: a stream that was cut off never looks complete (io.EOF
// means that the far side ended it in order), Deliver never blocks, and every
// goroutine ends before Carrier.Close returns.
package streams

import (
	"encoding/binary"
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"
)

// Endpoint is a service on a node as on the wire: the node's hash, big-endian,
// and the padded service name.
type Endpoint [16]byte

// MakeEndpoint joins a node's hash and a padded service name.
func MakeEndpoint(node uint64, service [8]byte) Endpoint {
	var e Endpoint
	binary.BigEndian.PutUint64(e[:8], node)
	copy(e[8:], service[:])
	return e
}

// Node is the node's hash.
func (e Endpoint) Node() uint64 { return binary.BigEndian.Uint64(e[:8]) }

// Service is the padded service name.
func (e Endpoint) Service() [8]byte { return [8]byte(e[8:]) }

// mapped tells of the few endpoints (one hash in 2^64) that read as an
// IPv4-mapped address. quic-go would take them for IPv4, so they are not served.
func (e Endpoint) mapped() bool {
	return [12]byte(e[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// addr is the endpoint as quic-go sees it. Addresses are never changed once made.
func (e Endpoint) addr() *net.UDPAddr {
	return &net.UDPAddr{IP: append(make(net.IP, 0, net.IPv6len), e[:]...), Port: overlayPort}
}

// overlayPort is the port of every overlay address: any value will do but 0.
const overlayPort = 1

// endpointOf is the endpoint of an address made by addr.
func endpointOf(a net.Addr) Endpoint {
	var e Endpoint
	if u, ok := a.(*net.UDPAddr); ok {
		copy(e[:], u.IP.To16())
	}
	return e
}

// Config joins the carrier to a node.
type Config struct {
	NodeID   string
	Self     uint64 // the node's own hash
	ResetKey [32]byte
	Logger   hclog.Logger // nil: silent

	// Send puts packets on their way: b is cut into packets of segment bytes, the
	// last may be short. It copies before it returns, and never fails: what
	// cannot go is dropped and counted. ecn is the packets' ECN field, 2 bits.
	Send func(src, dst Endpoint, b []byte, segment int, ecn uint8)

	// Modern tells whether a node is one of ours with only ours on the way, so
	// that the path MTU can be probed. Nil means never.
	Modern func(node uint64) bool

	// Reached tells whether there is a route to a node. Nil means always.
	Reached func(node uint64) bool

	// Name is the ID of a node that packets come from or are sent to, which its
	// certificate must name.
	Name func(node uint64) string

	// Basic turns the fast packet connection off, as on systems without it.
	Basic bool
}

// The errors of a stream; the root package re-exports them.
var (
	ErrRefused        = errors.New("connection refused by the remote service")
	ErrServiceUnknown = errors.New("service unknown")
	ErrReset          = errors.New("stream reset by the remote side")
	ErrInUse          = errors.New("service is already in use")
	ErrUntrusted      = errors.New("one side has not proven to the other who it is")
)
