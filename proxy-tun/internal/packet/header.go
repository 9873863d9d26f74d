package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Header goes before a packet that the device reads or writes, 10 bytes. It is struct
// virtio_net_hdr:
//
//	flags        1  NeedsChecksum, ChecksumValid
//	gso_type     1  GSONone, GSOTCPv4, GSOTCPv6 or GSOUDP, and perhaps GSOECN
//	hdr_len      2  a hint: how much the kernel had in one piece, headers at least
//	gso_size     2  payload of each packet that a super-packet is cut into
//	csum_start   2  where the sum of a checksum that is missing begins
//	csum_offset  2  where it belongs, from csum_start on
//
// Numbers are little endian, as on nearly all machines; on another, the device has to
// be told (TUNSETVNETLE).
type Header struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16
	GSOSize    uint16
	CsumStart  uint16
	CsumOffset uint16
}

// HeaderLen is the length of a Header.
const HeaderLen = 10

// Flags of a header.
const (
	NeedsChecksum = 1 // the checksum has the sum of the pseudo header only: the rest is to be added
	ChecksumValid = 2 // the checksum is whole, and has been checked
)

// Types of super-packets.
const (
	GSONone  = 0    // a packet alone
	GSOTCPv4 = 1    // segments of TCP over IPv4
	GSOTCPv6 = 4    // segments of TCP over IPv6
	GSOUDP   = 5    // datagrams of UDP (VIRTIO_NET_HDR_GSO_UDP_L4)
	GSOECN   = 0x80 // with one of TCP: the first segment has CWR
)

// Append appends the header to b.
func (h Header) Append(b []byte) []byte {
	b = append(b, h.Flags, h.GSOType)
	b = binary.LittleEndian.AppendUint16(b, h.HdrLen)
	b = binary.LittleEndian.AppendUint16(b, h.GSOSize)
	b = binary.LittleEndian.AppendUint16(b, h.CsumStart)
	return binary.LittleEndian.AppendUint16(b, h.CsumOffset)
}

// ParseHeader reads a header from the front of b and returns it with the bytes used.
// What it says is for Split to check, which sees the packet.
func ParseHeader(b []byte) (Header, int, error) {
	if len(b) < HeaderLen {
		return Header{}, 0, fmt.Errorf("virtio-net header of %d bytes", len(b))
	}
	return Header{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     binary.LittleEndian.Uint16(b[2:]),
		GSOSize:    binary.LittleEndian.Uint16(b[4:]),
		CsumStart:  binary.LittleEndian.Uint16(b[6:]),
		CsumOffset: binary.LittleEndian.Uint16(b[8:]),
	}, HeaderLen, nil
}

// Super tells whether the packet is to be cut.
func (h Header) Super() bool { return h.GSOType&^GSOECN != GSONone }

// Errors are made once: rubbish comes at the rate of packets.
var (
	errFlags    = errors.New("virtio-net header has flags that are unknown")
	errGSOType  = errors.New("virtio-net header has a type that does not suit the packet")
	errGSOSize  = errors.New("virtio-net header has a size of segments that cannot be")
	errHdrLen   = errors.New("virtio-net header says of headers that they are longer than the packet")
	errChecksum = errors.New("virtio-net header says of a checksum that it is where none is")
)

// check checks what does not depend on the type.
func (h Header) check(p []byte) error {
	if h.Flags&^(NeedsChecksum|ChecksumValid) != 0 {
		return errFlags
	}
	if int(h.HdrLen) > len(p) {
		return errHdrLen
	}
	return nil
}
