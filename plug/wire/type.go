package wire

import "strconv"

// Type is the type of a control frame. A response carries the type of its request.
type Type uint8

// The message types of wire major 1: who sends it, and the bodies of request
// and response. P is the plug, C the core; R a request, N a notification, O
// opens a data connection.
const (
	TypeHello     Type = 0x01 // P R Hello -> Welcome
	TypePing      Type = 0x02 // both R {} -> {}
	TypeStatus    Type = 0x03 // P N Status
	TypeConfig    Type = 0x04 // C R Config -> ConfigResult
	TypeDrain     Type = 0x05 // both R Drain -> {}
	TypeKeep      Type = 0x06 // P R Keep -> {}, with a descriptor
	TypeTake      Type = 0x07 // P R Take -> {} with a descriptor
	TypeClosed    Type = 0x08 // C N Closed
	TypeCancel    Type = 0x09 // both N Cancel
	TypeError     Type = 0x0f // both N Error, then close; frozen across majors
	TypeLink      Type = 0x10 // P O Link -> Opened, then link framing; or with a socket
	TypeDial      Type = 0x20 // P O Dial -> Opened, then records; or with a socket
	TypeBind      Type = 0x21 // P R Bind -> Bound
	TypeUnbind    Type = 0x22 // P R Unbind -> {}
	TypeAccept    Type = 0x23 // C R Accept -> Accepted, with a socket or none
	TypeAttach    Type = 0x24 // P O Attach -> Opened, then records
	TypePBind     Type = 0x30 // P O PBind -> PBound, then records of packets
	TypePeers     Type = 0x31 // C N Peers
	TypeWorkType  Type = 0x40 // P R WorkType -> {}
	TypeStart     Type = 0x41 // C R Start, with descriptors -> Unit
	TypeUnit      Type = 0x42 // P R Units -> {}
	TypeStop      Type = 0x43 // C R Stop -> {}
	TypeRelease   Type = 0x44 // C R Release -> {}
	TypeRecover   Type = 0x45 // C R Recover -> Recovered
	TypeResponses Type = 0x46 // reserved: role worker
	TypeStdinDone Type = 0x47 // reserved: role worker
	TypeWatch     Type = 0x50 // reserved: role observe
	TypeEvent     Type = 0x51 // reserved: role observe
	TypeLook      Type = 0x52 // P R {} -> Looked
)

// String returns the name of the message in the specification, or its number.
func (t Type) String() string {
	switch t {
	case TypeHello:
		return "HELLO"
	case TypePing:
		return "PING"
	case TypeStatus:
		return "STATUS"
	case TypeConfig:
		return "CONFIG"
	case TypeDrain:
		return "DRAIN"
	case TypeKeep:
		return "KEEP"
	case TypeTake:
		return "TAKE"
	case TypeClosed:
		return "CLOSED"
	case TypeCancel:
		return "CANCEL"
	case TypeError:
		return "ERROR"
	case TypeLink:
		return "LINK"
	case TypeDial:
		return "DIAL"
	case TypeBind:
		return "BIND"
	case TypeUnbind:
		return "UNBIND"
	case TypeAccept:
		return "ACCEPT"
	case TypeAttach:
		return "ATTACH"
	case TypePBind:
		return "PBIND"
	case TypePeers:
		return "PEERS"
	case TypeWorkType:
		return "WORKTYPE"
	case TypeStart:
		return "START"
	case TypeUnit:
		return "UNIT"
	case TypeStop:
		return "STOP"
	case TypeRelease:
		return "RELEASE"
	case TypeRecover:
		return "RECOVER"
	case TypeResponses:
		return "RESPONSES"
	case TypeStdinDone:
		return "STDIN_DONE"
	case TypeWatch:
		return "WATCH"
	case TypeEvent:
		return "EVENT"
	case TypeLook:
		return "LOOK"
	default:
		return "type 0x" + strconv.FormatUint(uint64(t), 16)
	}
}

// Opens reports whether t opens an object. Such requests are not counted among
// the MaxRequests in flight, as a mesh may take its time, but have a limit of
// their own, MaxOpens.
func (t Type) Opens() bool {
	switch t {
	case TypeLink, TypeDial, TypeAccept, TypeAttach, TypePBind:
		return true
	default:
		return false
	}
}
