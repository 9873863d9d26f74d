// Package wire holds the messages of a link, to the byte: what existing nodes
// send and accept. It is pure.
//
// The first byte of a message is its type:
//
//	0  data                   binary: Header and payload
//	1  routing update         JSON: RoutingUpdate
//	2  service advertisement  JSON: Advert
//	3  reject                 JSON, in practice [], never looked at
//
// JSON is written compact, keys in the order of the legacy program, names in
// maps sorted, and <, > and & escaped, as encoding/json does it by default. It is
// read with keys in any order and letter case; unknown keys are ignored, missing
// and null ones are zero. What the parsers return has passed the limits below;
// errors quote at most 256 characters of what a peer sent.
//
// What only our own nodes say is in docs/wire-extensions.md.
package wire

// The types of a link message, its first byte.
const (
	TypeData   = 0 // data message: Header and payload
	TypeRoute  = 1 // JSON RoutingUpdate
	TypeAdvert = 2 // JSON Advert
	TypeReject = 3 // JSON, in practice []
)

// Limits of what is accepted, beyond what the legacy program checks.
const (
	// MaxNodeID is the longest node ID in bytes: four times a DNS name, and
	// 65,536 of them still fit in memory. Longer ones make their message malformed.
	MaxNodeID = 1024

	// MaxUpdateID is the longest UpdateID in bytes. Existing nodes use 8; the
	// limit bounds the table of those seen.
	MaxUpdateID = 64

	// MaxExt is the longest Ext as JSON: nodes keep one for every other node.
	MaxExt = 4096

	// MaxCost is the greatest cost of a link. Costs are above 0 and at most this,
	// so that sums stay exact enough to compare and never overflow.
	MaxCost = 1e9
)
