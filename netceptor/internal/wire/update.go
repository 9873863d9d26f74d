package wire

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ErrCost is what errors about a cost outside (0, MaxCost] match.
var ErrCost = errors.New("cost is not above 0 and at most 1e9")

// RoutingUpdate is what a node says about itself, or relays of another.
type RoutingUpdate struct {
	NodeID             string             // the originator
	UpdateID           string             // random, for the suppression of copies
	UpdateEpoch        uint64             // the run of the originator: Unix seconds << 24 + random
	UpdateSequence     uint64             // counts the updates that this run built
	Connections        map[string]float64 // the originator's links: peer to cost
	ForwardingNode     string             // who put it on this link
	SuspectedDuplicate uint64             // 0, or the epoch of another node with the originator's ID
	Ext                *Ext               `json:",omitempty"` // nil: a legacy node, or it came through one
}

// Append appends the message with its type byte, keys in the legacy order, Ext
// last and only when not nil. All costs must be numbers (see Check), else it
// appends nothing.
func (u *RoutingUpdate) Append(b []byte) []byte {
	v := *u
	if v.Connections == nil {
		v.Connections = map[string]float64{} // existing nodes never send null
	}
	return appendJSON(b, TypeRoute, &v)
}

// Check tells whether lengths and costs are within the limits.
func (u *RoutingUpdate) Check() error {
	for _, id := range []string{u.NodeID, u.ForwardingNode} {
		if len(id) > MaxNodeID {
			return fmt.Errorf("node ID %.256q... is longer than %d bytes", id, MaxNodeID)
		}
	}
	if len(u.UpdateID) > MaxUpdateID {
		return fmt.Errorf("UpdateID of node %.256q is longer than %d bytes", u.NodeID, MaxUpdateID)
	}
	for peer, cost := range u.Connections {
		if len(peer) > MaxNodeID {
			return fmt.Errorf("node ID %.256q... is longer than %d bytes", peer, MaxNodeID)
		}
		if !(cost > 0 && cost <= MaxCost) { // written so that NaN fails
			return fmt.Errorf("node %.256q reports cost %v for its link to %.256q: %w", u.NodeID, cost, peer, ErrCost)
		}
	}
	return nil
}

// ParseRoutingUpdate reads a message, type byte included. Keys match in any
// letter case, unknown ones are ignored, missing ones are zero. What it returns
// has passed Check. It does not retain m.
func ParseRoutingUpdate(m []byte) (*RoutingUpdate, error) {
	u := new(RoutingUpdate)
	if err := parseJSON(m, TypeRoute, u); err != nil {
		return nil, fmt.Errorf("parse routing update: %w", err)
	}
	if err := u.Check(); err != nil {
		return nil, err
	}
	return u, nil
}

// Capabilities of Ext.
const (
	CapMux   = "mux1"  // streams with the ALPN receptor-mux/1
	CapWhole = "whole" // every link that the node has now carries frames of any size in one piece
)

// Ext is what the originator of an update says beyond the legacy fields. Legacy
// nodes ignore it and drop it when they relay; ours relay it as it came, with
// what a later version may have added. See docs/wire-extensions.md.
type Ext struct {
	V         int
	Caps      []string
	Key       ed25519.PublicKey // the update is signed with it, see Verify; nil: not signed
	Temporary bool              // Key ends with this run of the node

	sig []byte
	raw json.RawMessage // as received, in the form in which it is relayed
}

// Has tells whether e names a capability. A nil e has none.
func (e *Ext) Has(capability string) bool {
	return e != nil && slices.Contains(e.Caps, capability)
}

type extFields struct {
	V         int      `json:"v"`
	Caps      []string `json:"caps,omitempty"`
	Key       []byte   `json:"key,omitempty"`
	Temporary bool     `json:"temp,omitempty"`
	Sig       []byte   `json:"sig,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (e *Ext) MarshalJSON() ([]byte, error) {
	if e.raw != nil {
		return e.raw, nil
	}
	return json.Marshal(extFields{V: e.V, Caps: e.Caps, Key: e.Key, Temporary: e.Temporary})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Ext) UnmarshalJSON(b []byte) error {
	if len(b) > MaxExt {
		return fmt.Errorf("field Ext has %d bytes, more than %d", len(b), MaxExt)
	}
	var f extFields
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	raw, err := json.Marshal(json.RawMessage(b)) // no white space; what is signed must not depend on who relayed it
	if err != nil {
		return err
	}
	*e = Ext{V: f.V, Caps: f.Caps, raw: raw}
	if len(f.Key) == 0 {
		return nil
	}
	if len(f.Key) != ed25519.PublicKeySize || len(f.Sig) != ed25519.SignatureSize || !endsWithSig(raw, f.Sig) {
		return errors.New("field Ext has a key, and no signature of the right form at its end")
	}
	e.Key, e.Temporary, e.sig = f.Key, f.Temporary, f.Sig
	return nil
}
