// Package frame is what payloads and results are carried in, in our own form, after
// the line that gives the connection over to them. A frame is 5 bytes and its data:
//
//	type   1  Stdin, Stdout, Stderr or End
//	length 4  big-endian, of the data, MaxData at most
//
// Only a connection that has ended with End was whole.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Types of frames.
const (
	Stdin  = 0 // a piece of the payload
	Stdout = 1 // a piece of stdout
	Stderr = 2
	End    = 3 // the last one: a JSON object, or nothing
)

const (
	// Header is the length of what precedes the data.
	Header = 5
	// MaxData bounds a frame, so that nobody has to hold more.
	MaxData = 64 << 10
)

// Append appends a frame to b.
func Append(b []byte, typ byte, data []byte) []byte {
	return append(AppendHeader(b, typ, len(data)), data...)
}

// AppendHeader appends what precedes so many bytes of data to b.
func AppendHeader(b []byte, typ byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(b, typ), uint32(size))
}

// ErrFrame says that what came is no frame, or not one that may come there.
var ErrFrame = errors.New("no frame as expected")

// Read reads a frame into buf, which has room for MaxData bytes. The data is part of
// buf. io.EOF comes only before a frame; of one that was cut off, what has come comes
// with the error.
func Read(r io.Reader, buf []byte) (typ byte, data []byte, err error) {
	var h [Header]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if h[0] > End || n > MaxData {
		return 0, nil, fmt.Errorf("%w: type %d, %d bytes", ErrFrame, h[0], n)
	}
	if got, err := io.ReadFull(r, buf[:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return h[0], buf[:got], err
	}
	return h[0], buf[:n], nil
}
