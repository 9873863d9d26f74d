package workceptor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Frames carry payloads and results in our own form, after the line that gives the
// connection over to them. A frame is 5 bytes and its data:
//
//	type   1  frameStdin, frameStdout, frameStderr or frameEnd
//	length 4  big-endian, of the data, frameData at most
//
// Only a connection that has ended with frameEnd was whole.
const (
	frameStdin  = 0 // a piece of the payload
	frameStdout = 1 // a piece of stdout
	frameStderr = 2
	frameEnd    = 3 // the last one: a JSON object

	frameHeader = 5
	// frameData bounds a frame, so that nobody has to hold more.
	frameData = 64 << 10
)

// appendFrame appends a frame to b.
func appendFrame(b []byte, typ byte, data []byte) []byte {
	b = append(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

var errFrame = errors.New("no frame as expected")

// readFrame reads a frame into buf, which has room for frameData bytes. The data is
// part of buf. io.EOF comes only before a frame.
func readFrame(r io.Reader, buf []byte) (typ byte, data []byte, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if h[0] > frameEnd || n > frameData {
		return 0, nil, fmt.Errorf("%w: type %d, %d bytes", errFrame, h[0], n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return h[0], buf[:n], nil
}
