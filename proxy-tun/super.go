package proxytun

// A datagram of the mesh is an IP packet, whose first byte is 0x4? or 0x6?; or, between
// nodes that say so, a super-packet (docs/wire-extensions.md):
//
//	mark    1  superMark
//	header 10  packet.Header
//	packet     an IP packet of many segments
const superMark = 0x01

// maxSuper is the longest such datagram: a link's messages have lengths of 16 bits, and
// over UDP they end at 65,507 bytes, some of which are those of nodes on the way.
const maxSuper = 60 << 10

// Tags of ours. Existing nodes look at type, network and those that begin with route.
const (
	tagType    = "type"
	tagNetwork = "network"
	tagSuper   = "super" // "1": takes super-packets
	tagMTU     = "mtu"   // of its interface

	typeRouter = "IP Router"
	typeTunnel = "IP Tunnel"
)
