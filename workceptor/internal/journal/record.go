package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Record is one entry of the journal. What types mean, and what is in a payload,
// is the store's business. To the journal a unit's name is 1 to MaxUnit letters and
// digits.
type Record struct {
	Type    uint8 // not 0, and below 0xfd
	Unit    string
	Payload []byte
}

const (
	// MaxUnit is what a unit's name may have, so that it can be told from noise.
	MaxUnit = 64
	// MaxPayload bounds a record. It holds what a control line can bring (1 MiB),
	// escaped, several times over; a longer length is damage.
	MaxPayload = 16 << 20

	prefixLen = 8 // length and checksum
	minBody   = 3 // type, length of the name, a name of one
	minRecord = prefixLen + minBody
)

// Types of records that the journal writes for itself.
const (
	typeEnd    = 0xff // a snapshot is whole
	typeSynced = 0xfe // what is before it in the segment was durable: bad bytes there are damage, not a torn write
	typeFiller = 0xfd // nothing; takes the place of what a crash has torn
	firstOwn   = typeFiller
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the encoded record to b, big-endian:
//
//	length   4  bytes that follow the checksum; 0 ends the data of a segment
//	checksum 4  CRC-32C of the length and of what follows
//	type     1
//	name len 1
//	name        of the unit
//	payload
func (r Record) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(r.Unit)+len(r.Payload)))
	b = append(b, 0, 0, 0, 0, r.Type, uint8(len(r.Unit)))
	b = append(b, r.Unit...)
	b = append(b, r.Payload...)
	binary.BigEndian.PutUint32(b[start+4:], checksum(b[start:]))
	return b
}

// check tells why r cannot be written and found again.
func (r Record) check() error {
	if 0 < r.Type && r.Type < firstOwn && isName([]byte(r.Unit)) && len(r.Payload) <= MaxPayload {
		return nil
	}
	return fmt.Errorf("record of type %d, unit %.80q, %d bytes cannot be written", r.Type, r.Unit, len(r.Payload))
}

func checksum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[:4], castagnoli), castagnoli, record[prefixLen:])
}

// parse reads a record from the front of b and returns it with the bytes used. The
// payload is part of b. Whatever is not a whole and sound record is none.
func parse(b []byte) (r Record, n int, ok bool) {
	if len(b) < minRecord {
		return r, 0, false
	}
	length := binary.BigEndian.Uint32(b)
	if length < minBody || length > 2+MaxUnit+MaxPayload || int(length) > len(b)-prefixLen {
		return r, 0, false
	}
	n = prefixLen + int(length)
	body := b[prefixLen:n]
	name := int(body[1])
	if body[0] == 0 || 2+name > len(body) || !isName(body[2:2+name]) || binary.BigEndian.Uint32(b[4:]) != checksum(b[:n]) {
		return r, 0, false
	}
	return Record{Type: body[0], Unit: string(body[2 : 2+name]), Payload: body[2+name:]}, n, true
}

// name is the unit that a damaged record seems to be of, or empty.
func name(b []byte) string {
	const at = prefixLen + 2
	if len(b) < at {
		return ""
	}
	n := int(b[at-1])
	if at+n > len(b) || !isName(b[at:at+n]) {
		return ""
	}
	return string(b[at : at+n])
}

func isName(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return 0 < len(b) && len(b) <= MaxUnit
}

// stretch is a part of a file: a sound record, or bytes that are none.
type stretch struct {
	record       Record
	sound        bool
	offset, size int
	unit         string // of a stretch that is not sound: whose it seems to be
}

// scan divides a file into stretches. The zeros after the last record are none.
func scan(b []byte) []stretch {
	var all []stretch
	end := len(bytes.TrimRight(b, "\x00"))
	for at := 0; at < end; {
		if r, n, ok := parse(b[at:]); ok {
			all = append(all, stretch{record: r, sound: true, offset: at, size: n})
			at += n
			continue
		}
		next := resync(b, at+1)
		if next < 0 {
			all = append(all, stretch{offset: at, size: len(b) - at, unit: name(b[at:])})
			break
		}
		all = append(all, stretch{offset: at, size: next - at, unit: name(b[at:next])})
		at = next
	}
	return all
}

// resync finds the next sound record at or after at, or returns -1. Payloads are
// JSON, in which no record can hide: its length would begin with a zero byte.
func resync(b []byte, at int) int {
	for ; at+minRecord <= len(b); at++ {
		if b[at] != 0 { // no length has its highest byte set
			continue
		}
		if _, _, ok := parse(b[at:]); ok {
			return at
		}
	}
	return -1
}
