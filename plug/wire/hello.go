package wire

// The roles a plug can ask for. Each has its own version number.
const (
	RoleLink    = "link"
	RoleStream  = "stream"
	RolePacket  = "packet"
	RoleWorker  = "worker"
	RoleObserve = "observe"
)

// FeatureFDPass says that descriptors can be passed on the session. HELLO offers
// it together with a probe; WELCOME grants it if the probe has arrived.
const FeatureFDPass = "fdpass"

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

	// A string that names a profile of TLS, TLSServer or TLSClient, of the core's;
	// one of these at most. They differ in who speaks it, and with whom: see below.
	TLS     string `json:"tls,omitempty"`
	AppTLS  string `json:"app_tls,omitempty"`
	PlugTLS string `json:"plug_tls,omitempty"`

	Help string `json:"help"`
}

// Profile tells whether the parameter names a profile of TLS.
func (p *Param) Profile() bool { return p.TLS != "" || p.AppTLS != "" || p.PlugTLS != "" }

// What a parameter names that is a profile: one of the core's tls-server items, or
// of its tls-client items. Where the core speaks that TLS it reads the parameter
// itself, so it is not in CONFIG: by TLS on the bytes of links, and for streams
// through the mesh; by AppTLS with the applications of streams. By PlugTLS the plug
// speaks it, within its medium: CONFIG has what the profile says in place of its
// name.
const (
	TLSServer = "server"
	TLSClient = "client"
)

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
