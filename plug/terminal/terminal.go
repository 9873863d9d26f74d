// Package terminal is what receptorctl and a command service say to each other over
// a stream, so that a terminal here is one there: its size, and how the command has
// ended. docs/wire-extensions.md is normative.
//
// A client that says Magic first speaks in frames from there on. Until the service
// has answered with Magic, it speaks plain bytes, as with clients that know nothing
// of this; then it speaks in frames, too.
package terminal

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The tag in the advertisement of a service that understands Magic.
const (
	Tag      = "terminal"
	TagValue = "1"
)

// Magic begins the frames of either side. No keyboard and no text begins with its first byte,
// which is in no UTF-8.
const Magic = "\xffreceptor-terminal/1\n"

// Type is what a frame is.
type Type uint8

// The types of frames.
const (
	Data   Type = 1 // bytes of the terminal, both ways
	Open   Type = 2 // the client's first: Opening
	Resize Type = 3 // the client's window has another Size
	Exit   Type = 4 // the service's last: Ending
)

// MaxPayload bounds the payload of a frame: what a terminal writes at once is less.
const MaxPayload = 16 << 10

// headerSize is the type, 1 byte, and the length of the payload, 2 bytes, big-endian.
const headerSize = 3

var (
	// ErrShort means: read more and try again.
	ErrShort = errors.New("it is cut off")

	// ErrMalformed is a frame or a payload that makes no sense.
	ErrMalformed = errors.New("it is malformed")
)

// Frame is one frame.
type Frame struct {
	Type    Type
	Payload []byte
}

// Append appends the encoded frame to b. The payload has at most MaxPayload bytes.
func (f Frame) Append(b []byte) []byte {
	b = append(b, byte(f.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Payload))) //nolint:gosec // at most MaxPayload
	return append(b, f.Payload...)
}

// ParseFrame reads a frame from the front of b and returns it, with its payload in b,
// and the bytes used. Types that are not known are for the caller to pass over.
func ParseFrame(b []byte) (Frame, int, error) {
	if len(b) < headerSize {
		return Frame{}, 0, ErrShort
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > MaxPayload {
		return Frame{}, 0, fmt.Errorf("%w: a frame of %d bytes", ErrMalformed, n)
	}
	if len(b) < headerSize+n {
		return Frame{}, 0, ErrShort
	}
	return Frame{Type(b[0]), b[headerSize : headerSize+n]}, headerSize + n, nil
}

// Size is the size of a window: in characters and, where known, in pixels. Payload
// of Resize, 8 bytes: columns, rows, width, height, 2 bytes each, big-endian.
type Size struct {
	Columns, Rows uint16
	Width, Height uint16
}

// DefaultSize is that of a window that nobody has told the size of.
var DefaultSize = Size{Columns: 80, Rows: 24}

// sizeLength is that of an encoded Size.
const sizeLength = 8

// Append appends the encoded size to b.
func (s Size) Append(b []byte) []byte {
	for _, n := range []uint16{s.Columns, s.Rows, s.Width, s.Height} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// ParseSize reads a size, which is all of b.
func ParseSize(b []byte) (Size, error) {
	if len(b) != sizeLength {
		return Size{}, fmt.Errorf("%w: a size of %d bytes", ErrMalformed, len(b))
	}
	return Size{
		Columns: binary.BigEndian.Uint16(b), Rows: binary.BigEndian.Uint16(b[2:]),
		Width: binary.BigEndian.Uint16(b[4:]), Height: binary.BigEndian.Uint16(b[6:]),
	}, nil
}

// MaxTerm bounds the name of a kind of terminal.
const MaxTerm = 64

// Opening is what a client is: payload of Open, the size and then the kind of its terminal.
type Opening struct {
	Size Size
	Term string // as in the variable TERM; may be empty
}

// Append appends the encoded opening to b.
func (o Opening) Append(b []byte) []byte { return append(o.Size.Append(b), o.Term...) }

// ParseOpening reads an opening, which is all of b. A kind of terminal that is no
// harmless name is refused: it becomes a variable of the command.
func ParseOpening(b []byte) (Opening, error) {
	if len(b) < sizeLength || len(b) > sizeLength+MaxTerm {
		return Opening{}, fmt.Errorf("%w: an opening of %d bytes", ErrMalformed, len(b))
	}
	size, err := ParseSize(b[:sizeLength])
	term := string(b[sizeLength:])
	if !goodTerm(term) {
		return Opening{}, fmt.Errorf("%w: kind of terminal %q", ErrMalformed, term)
	}
	return Opening{size, term}, err
}

// goodTerm tells whether a kind of terminal is made of letters, digits and a few signs.
// (A file is looked up by it: no slash.)
func goodTerm(s string) bool {
	for _, r := range []byte(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.', r == '+':
		default:
			return false
		}
	}
	return len(s) <= MaxTerm && s != "." && s != ".."
}

// KnownTerm is a kind of terminal as it can be told: empty if it is none.
func KnownTerm(s string) string {
	if goodTerm(s) {
		return s
	}
	return ""
}

// Ending is how a command has ended: payload of Exit. Its code, 1 byte; the number of
// the signal that has ended it, 1 byte, 0 if none has; then a text if it never ran.
type Ending struct {
	Code, Signal uint8
	Reason       string // why it never ran; empty: it did
}

// maxReason is more than there is to say.
const maxReason = 1 << 10

// Append appends the encoded ending to b; a reason that is too long is cut.
func (e Ending) Append(b []byte) []byte {
	return append(append(b, e.Code, e.Signal), e.Reason[:min(len(e.Reason), maxReason)]...)
}

// ParseEnding reads an ending, which is all of b.
func ParseEnding(b []byte) (Ending, error) {
	if len(b) < 2 || len(b) > 2+maxReason {
		return Ending{}, fmt.Errorf("%w: an ending of %d bytes", ErrMalformed, len(b))
	}
	return Ending{Code: b[0], Signal: b[1], Reason: string(b[2:])}, nil
}

// Status is the exit status that shells give such an ending.
func (e Ending) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return int(e.Code)
}
