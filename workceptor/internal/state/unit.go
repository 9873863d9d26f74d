package state

import (
	"encoding/json"
	"maps"
	"strings"
	"time"
)

// Spec is what was asked for: the part of a unit that never changes.
type Spec struct {
	WorkType   string            `json:"type"`
	Params     map[string]string `json:"params,omitempty"`
	Submission string            `json:"submission,omitempty"` // chosen by the submitter; empty: none
	Merged     bool              `json:"merged,omitempty"`     // stderr goes where stdout goes
	Secure     bool              `json:"secure,omitempty"`     // its type wants signatures
	Remote     *Remote           `json:"remote,omitempty"`     // nil: this node runs it
	Created    time.Time         `json:"created"`
}

// Remote is what was asked for of a unit that another node runs.
type Remote struct {
	Node       string        `json:"node"`
	TLSClient  string        `json:"tls_client,omitempty"` // the profile for the way there
	Submission string        `json:"submission"`           // that this node makes to the other one
	TTL        time.Duration `json:"ttl,omitempty"`        // in which it must have begun; 0: no limit
	// Disconnect is how long the node may be away, once it may have the unit, before
	// that is Lost. 0: for ever.
	Disconnect time.Duration `json:"disconnect,omitempty"`
	Sign       bool          `json:"sign,omitempty"` // whatever is asked of the node
}

// Place is where a unit waits for its turn: at its type, or at the node that is to run
// it. No type has the name of a node's place.
func (s *Spec) Place() string {
	if s.Remote == nil {
		return s.WorkType
	}
	return RemotePlace(s.Remote.Node, s.Remote.TLSClient)
}

// RemotePlace is that of a node, reached by a TLS profile.
func RemotePlace(node, tlsClient string) string {
	return remotePlace + node + remotePlace + tlsClient
}

// IsRemotePlace tells whether a name is that of a node's place.
func IsRemotePlace(name string) bool { return strings.HasPrefix(name, remotePlace) }

const remotePlace = "\x00"

// secretPrefix marks parameters that are for the worker's eyes only, in any
// letter case.
const secretPrefix = "secret_"

// IsSecret tells whether a parameter of this name must not be shown.
func IsSecret(name string) bool {
	return len(name) >= len(secretPrefix) && strings.EqualFold(name[:len(secretPrefix)], secretPrefix)
}

// WithoutSecrets is s as it may be shown, and as it is kept once the unit has ended.
func (s Spec) WithoutSecrets() Spec {
	s.Params = maps.Clone(s.Params)
	maps.DeleteFunc(s.Params, func(name, _ string) bool { return IsSecret(name) })
	return s
}

// Unit is the part of a unit that changes.
type Unit struct {
	Rev    uint64 `json:"rev"`
	State  State  `json:"state"`
	Phase  Phase  `json:"phase,omitempty"`
	Detail string `json:"detail"` // for people, one line

	CancelAsked bool `json:"cancel_asked,omitempty"`
	// ReleaseAsked: nobody wants to see it again once it has ended.
	ReleaseAsked bool            `json:"release_asked,omitempty"`
	PID          int             `json:"pid,omitempty"`     // while it runs; 0: not known
	Handle       json.RawMessage `json:"handle,omitempty"`  // the worker's own words for it
	Exit         *Exit           `json:"exit,omitempty"`    // how its process ended, if one did
	Reason       string          `json:"reason,omitempty"`  // why it failed or was lost, where no exit says so
	Refusal      string          `json:"refusal,omitempty"` // the code of that, where another node has not taken it

	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`

	Payload []byte `json:"payload,omitempty"` // Stdin itself, if it is small, until it runs

	Stdin  Output `json:"stdin"`  // once it has been received
	Stdout Output `json:"stdout"` // once the unit has ended
	Stderr Output `json:"stderr"`

	History []Change `json:"history"`
}

// Exit is how a process ended.
type Exit struct {
	Code      int    `json:"code"`             // meaningless with a signal
	Signal    string `json:"signal,omitempty"` // "SIGKILL"
	OOMKilled bool   `json:"oom_killed,omitempty"`
}

// Output is a file of a unit, whole.
type Output struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // hexadecimal
}

// Change is one entry of a unit's history.
type Change struct {
	At     time.Time `json:"at"`
	What   Kind      `json:"what"`
	State  State     `json:"state"`
	Detail string    `json:"detail"`
}

// New is a unit that has just been created.
func New(at time.Time) Unit {
	u := Unit{Rev: 1, State: Pending, Phase: Receiving, Detail: "Waiting for Input Data"}
	u.History = []Change{{At: at, What: Created, State: Pending, Detail: "Unit Created"}}
	return u
}

// Valid tells whether u could have come from New and Next. What was read from a
// disk may not.
func (u *Unit) Valid() bool {
	final := u.State.Final()
	return u.Rev > 0 && u.State.rank() >= 0 && len(u.History) > 0 &&
		(u.State == Pending) == (u.Phase != "") &&
		(u.Phase == "" || u.Phase == Receiving || u.Phase == Queued || u.Phase == Starting) &&
		final == !u.Ended.IsZero() &&
		(final || u.Exit == nil) &&
		(!final || !u.CancelAsked || u.State == Canceled)
}

// Quarantined is u when what was written of it later cannot be read: lost, unless it
// has ended.
func (u Unit) Quarantined(at time.Time, reason string) Unit {
	if u.State.Final() {
		return u
	}
	return u.ended(Event{Kind: Vanished, At: at, Reason: reason}, Lost)
}
