package wire

// PBind opens a packet service of this node; records go both ways from there on. The
// service ends with its data connection.
type PBind struct {
	Session   string            `json:"session"`
	Item      string            `json:"item,omitempty"`
	Service   string            `json:"service,omitempty"` // empty: a fresh one
	Advertise bool              `json:"advertise,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`

	// Watch has PEERS tell of the services that are advertised with these tags. An
	// empty value stands for any.
	Watch map[string]string `json:"watch,omitempty"`
}

// PBound answers PBind.
type PBound struct {
	Object  string `json:"object"`
	Node    string `json:"node"`
	Service string `json:"service"`
	MTU     int    `json:"mtu"` // the largest datagram that may arrive anywhere, in bytes
}

// Peer is the payload of a PEER record: it makes the record's handle that of a flow,
// which is a service here and one elsewhere. Either side makes flows, plugs with odd
// handles, cores with even ones; datagrams of both directions have the handle.
type Peer struct {
	// Local is the service here: empty, or as the core says it, that of PBIND. "*"
	// from a plug asks for a fresh one, of this flow alone: PEER of the same handle
	// answers with its name.
	Local   string   `json:"local,omitempty"`
	Node    string   `json:"node"`
	Service string   `json:"service"`
	MTU     int      `json:"mtu,omitempty"`  // from the core
	Caps    []string `json:"caps,omitempty"` // from the core: what may be used on the way
}

// LocalFresh is the Local of a flow that is to have a service of its own.
const LocalFresh = "*"

// What caps say of a flow.
const (
	CapModern = "modern" // its way and its end speak all that this core does
	CapWhole  = "whole"  // a datagram of any size goes there in one piece: no medium on the way fragments it
)

// Gone is the payload of a GONE record: the flow is no more, and its handle free.
type Gone struct {
	Code string `json:"code,omitempty"` // empty: nothing is wrong
	Msg  string `json:"msg,omitempty"`
}

// Peers tells which services match a PBIND's Watch: all of them, whenever that changes.
type Peers struct {
	Object string      `json:"object"`
	Peers  []PeerMatch `json:"peers"`
}

// PeerMatch is one of them.
type PeerMatch struct {
	Node    string            `json:"node"`
	Service string            `json:"service"`
	Tags    map[string]string `json:"tags,omitempty"`
	Cost    float64           `json:"cost"` // of the way there; negative: there is none
	MTU     int               `json:"mtu"`
	Caps    []string          `json:"caps,omitempty"`
}
