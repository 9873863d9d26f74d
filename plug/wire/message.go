package wire

import "encoding/json"

// Type is the type of a control frame.
type Type uint8

// The message types of wire major 1: who sends it, and the bodies of request
// and response. P is the plug, C the core; R a request, N a notification, O
// opens a data connection.
const (
	TypeHello  Type = 0x01 // P R Hello -> Welcome
	TypePing   Type = 0x02 // both R {} -> {}
	TypeStatus Type = 0x03 // P N Status
	TypeConfig Type = 0x04 // C R Config -> ConfigResult
	TypeDrain  Type = 0x05 // both R Drain -> {}
	TypeKeep   Type = 0x06 // P R reserved: kept listeners
	TypeTake   Type = 0x07 // P R reserved: kept listeners
	TypeClosed Type = 0x08 // C N Closed
	TypeCancel Type = 0x09 // both N Cancel
	TypeError  Type = 0x0f // both N Error, then close; frozen across majors
	TypeLink   Type = 0x10 // P O Link -> Opened, then link framing
	TypeDial   Type = 0x20 // P O Dial -> Opened, then records
	TypeBind   Type = 0x21 // P R Bind -> Bound
	TypeUnbind Type = 0x22 // P R Unbind -> {}
	TypeAccept Type = 0x23 // C R Accept -> Accepted
	TypeAttach Type = 0x24 // P O Attach -> Opened, then records
	TypeWatch  Type = 0x50 // reserved: role observe
	TypeEvent  Type = 0x51 // reserved: role observe
)

// The roles a plug can ask for. Each has its own version number.
const (
	RoleLink    = "link"
	RoleStream  = "stream"
	RolePacket  = "packet"
	RoleWorker  = "worker"
	RoleObserve = "observe"
)

// Hello is the first frame of a session, from the plug.
type Hello struct {
	Name           string         `json:"name"`            // [a-z0-9-]{1,63}, unique on the node
	Program        string         `json:"program"`         // "receptor-backend-tcp"
	ProgramVersion string         `json:"program_version"` // for people only, never compared
	Process        string         `json:"process"`         // random per process
	Takeover       bool           `json:"takeover,omitempty"`
	Roles          []RoleVersions `json:"roles"`
	Features       []string       `json:"features,omitempty"`
	Kinds          []Kind         `json:"kinds"`
}

// RoleVersions lists the versions of a role that the sender speaks.
type RoleVersions struct {
	Role     string `json:"role"`
	Versions []int  `json:"versions"`
}

// Kind is the schema of one kind of item that a plug claims, such as tcp-listener.
type Kind struct {
	Kind    string  `json:"kind"`
	Aliases []Alias `json:"aliases,omitempty"`
	Role    string  `json:"role"`
	Dir     string  `json:"dir,omitempty"` // link: in (accepts) or out (dials); stream: in (into the mesh) or out
	Help    string  `json:"help"`
	Params  []Param `json:"params"`
}

// Alias is another name of a kind, with defaults that differ under that name.
type Alias struct {
	Kind     string         `json:"kind"`
	Defaults map[string]any `json:"defaults,omitempty"`
}

// Param describes one parameter of a kind.
type Param struct {
	Name     string `json:"name"`
	Type     string `json:"type"`          // one of the Type* names of package schema
	Key      bool   `json:"key,omitempty"` // part of the item's identity
	Required bool   `json:"required,omitempty"`
	Default  any    `json:"default,omitempty"`
	Bare     bool   `json:"bare,omitempty"`   // a bare value on the command line fills this one
	Repeat   bool   `json:"repeat,omitempty"` // may be given several times
	TLS      string `json:"tls,omitempty"`    // who speaks the TLS it names: core or plug
	Help     string `json:"help"`
}

// Welcome answers Hello.
type Welcome struct {
	Node        string        `json:"node"`
	CoreVersion string        `json:"core_version"`
	Session     string        `json:"session"` // secret that data connections present
	Roles       []RoleGrant   `json:"roles"`
	Kinds       []KindRefusal `json:"kinds,omitempty"` // the refused ones only
	Features    []string      `json:"features,omitempty"`
	Limits      Limits        `json:"limits"`
	HeartbeatMS int           `json:"heartbeat_ms"`
}

// RoleGrant is the version chosen for a role, or why there is none.
type RoleGrant struct {
	Role    string `json:"role"`
	Version int    `json:"version,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// KindRefusal says why a claimed kind was not given to the plug.
type KindRefusal struct {
	Kind    string `json:"kind"`
	Refused string `json:"refused"`
}

// Limits are those of the session, so that a plug can stay below them.
type Limits struct {
	Opens    int `json:"opens"`    // pending opens of the session
	DataConn int `json:"dataconn"` // data connections of the session
}

// Config is the whole set of items of the kinds that the plug was given.
type Config struct {
	Revision uint64       `json:"revision"`
	Items    []ConfigItem `json:"items"`
}

// ConfigItem is one item of a plug's configuration.
type ConfigItem struct {
	Item   string          `json:"item"` // kind and key parameters; stable over restarts
	Kind   string          `json:"kind"`
	Params json.RawMessage `json:"params"` // object; checked against the kind's schema by the core
}

// ConfigResult answers Config: empty when the plug will make it so.
type ConfigResult struct {
	Errors []ItemError `json:"errors,omitempty"`
}

// ItemError is what is wrong with one item.
type ItemError struct {
	Item  string `json:"item"`
	Param string `json:"param,omitempty"`
	Msg   string `json:"msg"`
}

// The states of an item.
const (
	StateWaiting  = "waiting"
	StateUp       = "up"
	StateDegraded = "degraded"
	StateFailed   = "failed"
)

// Status is level-triggered: the whole state of the plug and of its items.
type Status struct {
	State  string       `json:"state"`
	Detail string       `json:"detail,omitempty"`
	Items  []ItemStatus `json:"items"`
}

// ItemStatus is the state of one item. Addr is what it is bound to or dials.
type ItemStatus struct {
	Item  string `json:"item"`
	State string `json:"state"`
	Addr  string `json:"addr,omitempty"`
	Err   string `json:"err,omitempty"`
}

// Drain asks the other side to take on nothing new.
type Drain struct {
	DeadlineMS int64  `json:"deadline_ms,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// Closed tells that an object ended.
type Closed struct {
	Object string `json:"object"`
	Code   string `json:"code,omitempty"`
	Msg    string `json:"msg,omitempty"`
}

// Cancel withdraws the request with that ID.
type Cancel struct {
	ID uint32 `json:"id"`
}

// Link asks the core to run a link over this connection.
type Link struct {
	Session string `json:"session"`
	Item    string `json:"item"`
	Dir     string `json:"dir"` // in or out
	Local   string `json:"local,omitempty"`
	Remote  string `json:"remote,omitempty"`
	Medium  string `json:"medium,omitempty"` // tcp, udp, ws...
}

// Opened answers LINK, DIAL and ATTACH: the object is open.
type Opened struct {
	Object string `json:"object"`
}

// Dial asks for a stream to a service on a node; the answer means that it is open.
type Dial struct {
	Session   string `json:"session"`
	Item      string `json:"item,omitempty"`
	Node      string `json:"node"`
	Service   string `json:"service"`
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // 0: DialTimeout
}

// Bind asks for a stream service on this node. It is idempotent by Bind.
type Bind struct {
	Bind      string            `json:"bind"` // chosen by the plug, stable over its restarts
	Item      string            `json:"item,omitempty"`
	Service   string            `json:"service"`
	Advertise bool              `json:"advertise,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
}

// Bound answers Bind.
type Bound struct {
	Service string `json:"service"`
}

// Unbind gives a service up at once.
type Unbind struct {
	Bind string `json:"bind"`
}

// Accept offers an incoming stream to the plug that bound its service.
type Accept struct {
	Bind   string     `json:"bind"`
	Object string     `json:"object"`
	Remote RemoteAddr `json:"remote"`
}

// RemoteAddr is a mesh address.
type RemoteAddr struct {
	Node    string `json:"node"`
	Service string `json:"service"`
}

// Accepted answers Accept: the plug will attach to the object.
type Accepted struct{}

// Attach opens the data connection of an accepted stream.
type Attach struct {
	Session string `json:"session"`
	Object  string `json:"object"`
}

// Reset is the payload of a RESET record.
type Reset struct {
	Code string `json:"code"`
	Msg  string `json:"msg,omitempty"`
}
