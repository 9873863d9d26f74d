package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// refsPatience bounds the pauses while too many descriptors of this user are on
// their way: two seconds in all, in which no other frame of the session is sent.
const refsPatience = time.Second

// errNotSent tells that a frame was not sent because its descriptors cannot be:
// too many are on their way, or their owner has closed them, having given up.
var errNotSent = errors.New("plug: descriptors cannot be sent")

// frame is one control frame, with the descriptors that belong to it. Reading
// and writing frames is all that touches a connection while it carries control
// frames.
type frame struct {
	wire.Header
	body  json.RawMessage
	send  []Descriptor // to be sent with it
	owned bool         // send is closed then
	files []*os.File   // that came with it
	short bool         // some of those were lost, so there are none
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

// with is f with descriptors to send. With owned, whoever sends or drops the
// frame closes them.
func (f frame) with(send []Descriptor, owned bool) frame {
	f.send, f.owned, f.FDs = send, owned, uint8(len(send))
	return f
}

// release closes the descriptors that go with the frame, if they are its own.
func (f frame) release() {
	closeFiles(f.files)
	if f.owned {
		closeFiles(f.send)
	}
}

// writeFrame writes f in one piece, with its descriptors on the first byte.
// errNotSent means that nothing was written, as these cannot be sent; giveUp ends
// the trying.
func writeFrame(conn net.Conn, f frame, giveUp <-chan struct{}) error {
	defer f.release()
	b := f.append(make([]byte, 0, f.size()))
	if len(f.send) > 0 {
		n, err := sendPatiently(passing(conn), b, f.send, giveUp)
		if err != nil || n == len(b) {
			return err
		}
		b = b[n:] // the descriptors have gone with the first bytes
	}
	_, err := conn.Write(b)
	return err
}

// sendPatiently is send, tried again while too many descriptors are on their way.
func sendPatiently(u *net.UnixConn, b []byte, what []Descriptor, giveUp <-chan struct{}) (int, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		n, err := send(u, b, what)
		if !tooManyRefs(err) {
			return n, err
		}
		if wait > refsPatience {
			return 0, errNotSent
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-giveUp:
			timer.Stop()
			return 0, errNotSent
		}
	}
}

// frameReader reads frames from a connection. It counts bytes, so that each
// frame gets its own descriptors.
type frameReader struct {
	in *inlet
	r  io.Reader // in, or a buffer before it
	at int64     // bytes taken from r
}

// exactReader reads from conn not a byte more than it is asked for, as what
// follows the first frame of a data connection is none.
func exactReader(conn net.Conn) *frameReader {
	in := newInlet(conn)
	return &frameReader{in: in, r: in}
}

// bufferedReader reads ahead.
func bufferedReader(conn net.Conn) *frameReader {
	in := newInlet(conn)
	return &frameReader{in: in, r: bufio.NewReader(in)}
}

// close closes descriptors that belong to no frame; the connection stays open.
func (r *frameReader) close() { r.in.close() }

// last is frame for one that nothing may follow yet, no descriptors either.
func (r *frameReader) last(limit uint32) (frame, error) {
	var b [wire.HeaderSize]byte
	if err := r.bytes(b[:]); err != nil {
		return frame{}, err
	}
	return r.lastRest(b, limit)
}

// lastRest is what last does after the header's bytes b.
func (r *frameReader) lastRest(b [wire.HeaderSize]byte, limit uint32) (frame, error) {
	f, err := r.rest(b, limit)
	if n := r.in.waiting(); err == nil && n > 0 {
		f.release()
		return frame{}, protocolErrorf("%d descriptors came that no frame claims", n)
	}
	return f, err
}

// bytes fills b with bytes that belong to no frame.
func (r *frameReader) bytes(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.at += int64(n)
	return err
}

// frame reads one frame; its descriptors are the caller's. Its body has at most
// limit bytes and is one JSON object. io.EOF means that the connection ended
// before the frame; a *ProtocolError that the other side does not speak plug/1.
func (r *frameReader) frame(limit uint32) (frame, error) {
	var b [wire.HeaderSize]byte
	if err := r.bytes(b[:]); err != nil {
		return frame{}, err
	}
	return r.rest(b, limit)
}

// rest is what frame does after the header's bytes b.
func (r *frameReader) rest(b [wire.HeaderSize]byte, limit uint32) (frame, error) {
	h, _, err := wire.ParseHeader(b[:])
	switch {
	case err != nil:
		return frame{}, &ProtocolError{Reason: err.Error()}
	case h.Length > limit:
		return frame{}, protocolErrorf("body of %s has %d bytes, at most %d are allowed here", h.Type, h.Length, limit)
	case h.FDs != 0 && r.in.unix == nil:
		return frame{}, protocolErrorf("%s claims %d descriptors, this connection carries none", h.Type, h.FDs)
	}
	files, whole, err := r.in.claim(r.at-wire.HeaderSize, int(h.FDs))
	if err != nil {
		return frame{}, err
	}
	f := frame{Header: h, files: files, short: !whole}
	if f.body, err = r.body(h); err != nil {
		f.release()
		return frame{}, err
	}
	return f, nil
}

// body reads the body that belongs to h.
func (r *frameReader) body(h wire.Header) (json.RawMessage, error) {
	var body []byte
	for left := int(h.Length); left > 0; {
		// Memory is taken as bytes arrive, not as the header promises.
		part := min(left, max(len(body), bodyPart))
		body = slices.Grow(body, part)[:len(body)+part]
		err := r.bytes(body[len(body)-part:])
		switch {
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		left -= part
	}
	if !isObject(body) {
		return nil, protocolErrorf("body of %s is not a JSON object", h.Type)
	}
	return body, nil
}

// bodyPart is what memory is taken for at first: all of most bodies.
const bodyPart = 1 << 10

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
