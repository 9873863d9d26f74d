package packet

import (
	"encoding/binary"
	"math/bits"
)

// minMTU is the least that a path of IPv4 has (RFC 791).
const minMTU = 68

// Options of TCP: kind 1, length 1 with both, value; the first two are a kind alone.
const (
	optionEnd = 0
	optionPad = 1
	optionMSS = 2 // value 2: the longest payload that the sender takes
)

// ClampMSS lowers the MSS option of a TCP SYN to what fits mtu, in place, and mends
// the checksum, which has to be whole (see Complete). Any other packet stays as it is,
// a SYN without the option, too: its default fits nearly everywhere.
func ClampMSS(p []byte, mtu int) {
	l, err := parse(p)
	if err != nil || mtu < minMTU {
		return
	}
	n := l.tcpHeader(p)
	if n == 0 || p[l.transport+tcpFlags]&flagSYN == 0 {
		return
	}
	fits := mtu - tcpLen - ipv4Len // options come off the payload (RFC 6691)
	if l.v6 {
		fits = mtu - tcpLen - ipv6Len
	}
	t := p[l.transport : l.transport+n]
	for at := tcpLen; at < n; {
		switch t[at] {
		case optionEnd:
			return
		case optionPad:
			at++
			continue
		}
		if at+2 > n || t[at+1] < 2 || at+int(t[at+1]) > n {
			return
		}
		if t[at] == optionMSS && t[at+1] == 4 {
			lowerMSS(t, at+2, fits)
			return
		}
		at += int(t[at+1])
	}
}

// lowerMSS lowers the number at a place of a TCP header.
func lowerMSS(t []byte, at, fits int) {
	old := binary.BigEndian.Uint16(t[at:])
	if int(old) <= fits {
		return
	}
	binary.BigEndian.PutUint16(t[at:], uint16(fits))
	was, is := old, uint16(fits)
	if at%2 == 1 { // a sum takes it for two halves of words
		was, is = bits.ReverseBytes16(was), bits.ReverseBytes16(is)
	}
	// RFC 1624: the checksum's complement, without the old number and with the new one.
	acc := uint64(^binary.LittleEndian.Uint16(t[tcpChecksum:]))
	putChecksum(t[tcpChecksum:], sum16(sum16(acc, ^was), is))
}
