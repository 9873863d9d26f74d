package legacy

import (
	"bytes"
	"encoding/binary"
	"errors"
)

const (
	// maxHops is what a message may travel when nothing else is asked for.
	maxHops = 30

	// maxService limits a service name: it has 8 bytes on the wire.
	maxService = 8

	messageHeader = 36
)

var (
	errShortMessage = errors.New("a data message is shorter than its header")
	// ErrServiceTooLong is for names that the wire has no room for.
	ErrServiceTooLong = errors.New("service name too long")
)

// message is a data message:
//
//	type         1  typeData
//	hops         1  that it may still travel
//	reserved     2  0; ignored
//	from, to     8  each: hash of a node ID, big-endian
//	fromService  8  and
//	toService    8  each padded with NUL
//	payload         the rest
type message struct {
	hops                   uint8
	from, to               uint64
	fromService, toService string
	payload                []byte
}

// Append appends the message to b. Services are cut to their 8 bytes.
func (m *message) Append(b []byte) []byte {
	b = append(b, typeData, m.hops, 0, 0)
	b = binary.BigEndian.AppendUint64(b, m.from)
	b = binary.BigEndian.AppendUint64(b, m.to)
	b = appendService(b, m.fromService)
	b = appendService(b, m.toService)
	return append(b, m.payload...)
}

func appendService(b []byte, name string) []byte {
	var field [maxService]byte
	copy(field[:], name)
	return append(b, field[:]...)
}

// parseMessage reads a message of typeData. The payload is part of b.
func parseMessage(b []byte) (message, error) {
	if len(b) < messageHeader {
		return message{}, errShortMessage
	}
	service := func(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
	return message{
		hops:        b[1],
		from:        binary.BigEndian.Uint64(b[4:]),
		to:          binary.BigEndian.Uint64(b[12:]),
		fromService: service(b[20:28]),
		toService:   service(b[28:36]),
		payload:     b[messageHeader:],
	}, nil
}
