package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// signContext begins what is signed, so that no signature for another purpose is
// one of an update.
const signContext = "receptor-update/1\x00"

// The signature is the last key of an Ext, in this form, and not signed itself.
const (
	sigBegin = `,"sig":"`
	sigEnd   = `"}`
)

var sigLength = len(sigBegin) + base64.StdEncoding.EncodedLen(ed25519.SignatureSize) + len(sigEnd)

// Sign replaces the Ext of u by one that says the same, and under which key and
// with which signature. ForwardingNode, which changes on the way, is not signed;
// everything else must not change any more. temporary: the key ends with this run
// of the node.
func (u *RoutingUpdate) Sign(key ed25519.PrivateKey, temporary bool) {
	e := Ext{V: u.Ext.V, Caps: u.Ext.Caps, Key: key.Public().(ed25519.PublicKey), Temporary: temporary}
	said, err := e.MarshalJSON()
	if err != nil { // it has nothing that JSON cannot say
		panic(err)
	}
	said = said[:len(said)-1] // sig goes before the brace
	e.sig = ed25519.Sign(key, u.signed(said))
	e.raw = append(said, sigBegin...)
	e.raw = base64.StdEncoding.AppendEncode(e.raw, e.sig)
	e.raw = append(e.raw, sigEnd...)
	u.Ext = &e
}

// Verify tells whether u is signed with the key in its Ext.
func (u *RoutingUpdate) Verify() bool {
	if u.Key() == nil || u.Ext.sig == nil {
		return false
	}
	return ed25519.Verify(u.Ext.Key, u.signed(u.Ext.raw[:len(u.Ext.raw)-sigLength]), u.Ext.sig)
}

// Key is the key that u says it is signed with; nil: it is not signed.
func (u *RoutingUpdate) Key() ed25519.PublicKey {
	if u.Ext == nil {
		return nil
	}
	return u.Ext.Key
}

// signed is what is signed: integers are big-endian, texts have their length in
// four bytes before them.
//
//	"receptor-update/1" 00
//	NodeID, UpdateID                                        texts
//	UpdateEpoch, UpdateSequence, SuspectedDuplicate         8 bytes each
//	number of Connections                                   4 bytes
//	each of those, by the bytes of the node ID: node ID     text
//	                                            cost        8 bytes, IEEE 754
//	the Ext as on the wire, up to and without ,"sig":       text
func (u *RoutingUpdate) signed(ext []byte) []byte {
	b := []byte(signContext)
	text := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	text(u.NodeID)
	text(u.UpdateID)
	for _, n := range []uint64{u.UpdateEpoch, u.UpdateSequence, u.SuspectedDuplicate} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(u.Connections)))
	for _, peer := range slices.Sorted(maps.Keys(u.Connections)) {
		text(peer)
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(u.Connections[peer]))
	}
	text(string(ext))
	return b
}

// endsWithSig tells whether an Ext ends with this signature, in the only form that
// can be checked after it was relayed.
func endsWithSig(raw, sig []byte) bool {
	end := append([]byte(sigBegin), base64.StdEncoding.EncodeToString(sig)...)
	return bytes.HasSuffix(raw, append(end, sigEnd...))
}
