package wire

import (
	"errors"
	"time"
)

var errStub = errors.New("not built yet")

// The types of a link message, its first byte.
const (
	TypeData   = 0 // data message: Header and payload
	TypeRoute  = 1 // JSON RoutingUpdate
	TypeAdvert = 2 // JSON Advert
	TypeReject = 3 // JSON, in practice []
)

// Sizes and defaults of the wire.
const (
	HeaderSize  = 36    // of a data message
	MaxMessage  = 65535 // the framing's length field has 16 bits
	LengthSize  = 2     // of the framing on stream links, little-endian
	DefaultHops = 30    // hops to live of a message that this node makes
)

// The reserved datagram services.
const (
	ServicePing    = "ping"
	ServiceUnreach = "unreach"
)

// Service is a service name as on the wire: up to 8 bytes, padded with NUL.
type Service [8]byte

// ParseService checks the length of a name and pads it.
func ParseService(name string) (Service, error) { return Service{}, errStub }

// String is the name without trailing NULs.
func (s Service) String() string { return "" }

// NodeHash is a node ID's address on the wire: HighwayHash-64 with an all-zero key.
func NodeHash(id string) uint64 { return 0 }

// Header is the fixed part of a data message, HeaderSize bytes with its type.
type Header struct {
	Hops        uint8
	ECN         uint8 // 2 bits, in reserved byte 2; only between our nodes (docs/wire-extensions.md)
	From, To    uint64
	FromService Service
	ToService   Service
}

// Append appends the message's type byte and header. It does not retain b.
func (h *Header) Append(b []byte) []byte { return b }

// ParseHeader reads the header of a data message, type byte included.
func ParseHeader(m []byte) (Header, error) { return Header{}, errStub }

// RoutingUpdate is what a node says about itself, or relays of another.
type RoutingUpdate struct {
	NodeID             string
	UpdateID           string
	UpdateEpoch        uint64
	UpdateSequence     uint64
	Connections        map[string]float64
	ForwardingNode     string
	SuspectedDuplicate uint64
	Ext                *Ext // nil: the originator is a legacy node, or a legacy node relayed it
}

// Ext is what the originator of an update says beyond the legacy fields. Legacy
// nodes ignore it and drop it when they relay. See docs/wire-extensions.md.
type Ext struct {
	V    int      `json:"v"`
	Caps []string `json:"caps,omitempty"`
}

// Append appends the message with its type byte, keys in the legacy order, Ext
// last and only when not nil.
func (u *RoutingUpdate) Append(b []byte) []byte { return b }

// ParseRoutingUpdate reads a message, type byte included. Keys match in any
// letter case, unknown ones are ignored, missing ones are zero. Costs that are
// not in (0, 1e9] are an error.
func ParseRoutingUpdate(m []byte) (*RoutingUpdate, error) { return nil, errStub }

// Advert is a service advertisement. Relays pass the original bytes on.
type Advert struct {
	NodeID       string
	Service      string
	Time         time.Time
	ConnType     int // ConnDatagram, ConnStream, ConnStreamTLS
	Tags         map[string]string
	WorkCommands []WorkCommand
	Cancel       bool
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
	Secure   bool
}

// Append appends the message with its type byte, all keys present.
func (a *Advert) Append(b []byte) []byte { return b }

// ParseAdvert reads a message, type byte included.
func ParseAdvert(m []byte) (*Advert, error) { return nil, errStub }

// Notice is the payload of a data message from unreach to unreach.
type Notice struct {
	FromNode, ToNode       string
	FromService, ToService string
	Problem                string
}

// The problems of a Notice.
const (
	ProblemServiceUnknown = "service unknown"
	ProblemExpired        = "message expired"
	ProblemFirewall       = "blocked by firewall"
)

// Append appends the JSON.
func (n *Notice) Append(b []byte) []byte { return b }

// ParseNotice reads the JSON.
func ParseNotice(b []byte) (*Notice, error) { return nil, errStub }
