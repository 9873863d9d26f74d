package route

import (
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// KeyHolds is how long after the last signed update of a node nothing else is
// believed of it. By then three are missing, so what is left may be a way over
// legacy nodes, which pass no signatures on.
const KeyHolds = ReplayFresh

// proof is what is known of the key of an origin.
type proof struct {
	key       []byte // of its last signed update; nil: there was none
	temporary bool   // the key ends with that run of the node
	at        time.Time
	epoch     uint64 // of that update
	sequence  uint64
	latest    bool // that update is the latest of all
}

// take notes an update that was believed.
func (p *proof) take(now time.Time, u *wire.RoutingUpdate) {
	if u.Key() == nil {
		p.latest = false
		return
	}
	*p = proof{key: u.Key(), temporary: u.Ext.Temporary, at: now, epoch: u.UpdateEpoch, sequence: u.UpdateSequence, latest: true}
}

// olderThan tells whether an update is later than the last signed one.
func (p *proof) olderThan(u *wire.RoutingUpdate) bool {
	return u.UpdateEpoch > p.epoch || u.UpdateEpoch == p.epoch && u.UpdateSequence > p.sequence
}

// prove looks at the signature of an update, if it is one to be believed. It
// returns why it is not; and whether it is better than what is known although it
// may not be later, because that was not signed. Repeats cost nothing.
func (m *Machine) prove(now time.Time, legacy bool, o *origin, u *wire.RoutingUpdate) (better bool, reason string) {
	news := o == nil || o.olderThan(u) || u.SuspectedDuplicate != 0
	signed := u.Key() != nil
	better = signed && o != nil && !o.proof.latest && o.proof.olderThan(u)
	if !news && !better {
		return false, ""
	}
	held := o != nil && m.holds(now, u.NodeID, o)
	switch {
	case !signed && !held:
		return false, ""
	case !signed && legacy:
		return false, IgnoredUnsignedLegacy
	case !signed:
		return false, IgnoredUnsigned
	case held && string(u.Key()) != string(o.proof.key):
		return false, IgnoredKey
	case !u.Verify():
		return false, IgnoredSignature
	}
	return better, ""
}

// holds tells whether only the known key of an origin is believed now. A
// temporary one holds no longer than its node is there, since the next run has
// another.
func (m *Machine) holds(now time.Time, name string, o *origin) bool {
	if o.proof.key == nil || now.Sub(o.proof.at) >= KeyHolds {
		return false
	}
	if !o.proof.temporary || m.neighbours[name] != nil {
		return true
	}
	if _, reached := m.routes[name]; !reached {
		return false
	}
	for peer := range o.links { // routes may be about to change
		if _, ok := m.links(peer)[name]; ok {
			return true
		}
	}
	return false
}

// Admit tells why a neighbour is not to be believed who it is, empty if it is, by
// its first update. proven: its certificate says so; then its key is what it says,
// whatever was known.
func (m *Machine) Admit(now time.Time, u *wire.RoutingUpdate, proven bool) string {
	o := m.origins[u.NodeID]
	other := o != nil && string(u.Key()) != string(o.proof.key)
	held := other && !proven && m.holds(now, u.NodeID, o)
	switch {
	case held && u.Key() == nil:
		return IgnoredUnsigned
	case held:
		return IgnoredKey
	case u.Key() != nil && !u.Verify():
		return IgnoredSignature
	}
	if other {
		o.proof = proof{} // as a neighbour it would be held to a temporary key again
	}
	return ""
}
