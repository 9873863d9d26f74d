package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/project-receptor/receptor/plug/wire"
)

// frame is one control frame. Reading and writing frames is all that touches a
// connection while it carries control frames: descriptors, when they are
// passed, travel through here and nowhere else.
//
// A plain read, as below, makes the kernel drop descriptors that come with the
// bytes, silently. So no side may be told that they can be passed (the feature
// fdpass is never granted), and a header that claims some is refused.
type frame struct {
	wire.Header
	body json.RawMessage
}

// newFrame makes a frame with the JSON of body, nil standing for {}.
func newFrame(t wire.Type, flags wire.Flags, id uint32, body any) (frame, error) {
	b := []byte("{}")
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return frame{}, fmt.Errorf("plug: encode %s: %w", t, err)
		}
	}
	if len(b) > wire.MaxBody {
		return frame{}, wire.NewError(wire.CodeLimit, "body of %s has %d bytes, at most %d are allowed", t, len(b), wire.MaxBody)
	}
	return frame{
		Header: wire.Header{Length: uint32(len(b)), Type: t, Flags: flags, ID: id},
		body:   b,
	}, nil
}

// errorFrame makes a frame that carries e, as the answer to the request id or,
// with id 0, as ERROR.
func errorFrame(t wire.Type, id uint32, e *wire.Error) frame {
	flags := wire.FlagResponse | wire.FlagError
	if id == 0 {
		t, flags = wire.TypeError, 0
	}
	f, err := newFrame(t, flags, id, e)
	if err != nil { // an Error of strings and numbers fails only by its size
		f, _ = newFrame(t, flags, id, wire.NewError(e.Code, "message too long"))
	}
	return f
}

// isError reports whether f is the ERROR message, after which the other side closes.
func (f frame) isError() bool {
	return f.Type == wire.TypeError && f.Flags == 0
}

// append appends the whole frame to b.
func (f frame) append(b []byte) []byte {
	return append(f.Append(b), f.body...) // Append of the header
}

// size is the length of the frame in bytes.
func (f frame) size() int { return wire.HeaderSize + len(f.body) }

// writeFrame writes f in one piece.
func writeFrame(w io.Writer, f frame) error {
	_, err := w.Write(f.append(make([]byte, 0, f.size())))
	return err
}

// readFrame reads one frame and not a byte more, as what follows it on a data
// connection is no frame. Its body has at most limit bytes and is one JSON
// object. io.EOF means that r ended before the frame; a *ProtocolError that the
// other side does not speak plug/1.
func readFrame(r io.Reader, limit uint32) (frame, error) {
	var b [wire.HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return frame{}, err
	}
	return readBody(r, b, limit)
}

// readBody is the rest of readFrame after the header's bytes b.
func readBody(r io.Reader, b [wire.HeaderSize]byte, limit uint32) (frame, error) {
	h, _, err := wire.ParseHeader(b[:])
	switch {
	case err != nil:
		return frame{}, &ProtocolError{Reason: err.Error()}
	case h.Length > limit:
		return frame{}, protocolErrorf("body of %s has %d bytes, at most %d are allowed here", h.Type, h.Length, limit)
	case h.FDs != 0:
		return frame{}, protocolErrorf("%s claims %d descriptors, none came", h.Type, h.FDs)
	}
	// Memory is taken as bytes arrive, not as the header promises.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(h.Length)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	if !isObject(body.Bytes()) {
		return frame{}, protocolErrorf("body of %s is not a JSON object", h.Type)
	}
	return frame{Header: h, body: body.Bytes()}, nil
}

// isObject reports whether b is one JSON object.
func isObject(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) && json.Valid(b)
}

// decode unmarshals a body into v; fields that v lacks are ignored.
func decode(f frame, v any) error {
	if err := json.Unmarshal(f.body, v); err != nil {
		return fmt.Errorf("plug: decode %s: %w", f.Type, err)
	}
	return nil
}

// remoteError is the error that f carries.
func remoteError(f frame) error {
	e := new(wire.Error)
	if err := decode(f, e); err != nil {
		return err
	}
	return e
}
