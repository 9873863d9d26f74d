package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// Opening is the first frame of a connection that a plug has opened: HELLO of
// a session; LINK, DIAL or ATTACH of a data connection. The core answers it
// once, by Answer or Refuse. It is for one goroutine at a time.
type Opening struct {
	Kind wire.ConnKind
	Type wire.Type
	Body json.RawMessage

	// FDPass says that the probe has come with HELLO: descriptors can be passed
	// on this session, if HELLO offers it and WELCOME grants FeatureFDPass.
	FDPass bool

	conn net.Conn
	stop func() error // ends the watch of WithHangup
}

// Accept reads the preamble and the first frame of a connection on the core's
// side, not a byte more, within PreambleTimeout. It tells the other side what
// was wrong if that speaks the protocol at all. conn stays the caller's, who
// closes it after an error; it has no deadlines else.
func Accept(ctx context.Context, conn net.Conn) (*Opening, error) {
	ctx, cancel := context.WithTimeout(ctx, wire.PreambleTimeout)
	defer cancel()
	o := &Opening{conn: conn, stop: noWatch}
	if err := within(ctx, conn, o.read); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Opening) read() error {
	r := exactReader(o.conn)
	defer r.close()
	var b [wire.PreambleSize]byte
	if err := r.bytes(b[:]); err != nil {
		return fmt.Errorf("plug: read preamble: %w", err)
	}
	p, _, err := wire.ParsePreamble(b[:])
	if err != nil {
		return err // no plug, or none that would understand an answer
	}
	if p.Major != wire.Major {
		e := wire.NewError(wire.CodeVersion, "wire major %d is not spoken here", p.Major)
		e.Majors = []int{wire.Major}
		own := wire.Preamble{Major: wire.Major, Kind: p.Kind}.Append(nil)
		if _, err := o.conn.Write(errorFrame(wire.TypeError, 0, e).append(own)); err != nil {
			return fmt.Errorf("plug: refuse wire major %d: %w", p.Major, err)
		}
		return e
	}
	f, err := r.last(wire.MaxBodyBeforeWelcome)
	defer f.release()
	if err == nil && (f.Flags != 0 || f.ID != firstID) {
		err = protocolErrorf("%s (flags %d, id %d) where a request with id %d was expected", f.Type, f.Flags, f.ID, firstID)
	}
	if err == nil && (p.Kind == wire.ConnSession) != (f.Type == wire.TypeHello) {
		err = protocolErrorf("%s cannot open a connection of kind %d", f.Type, p.Kind)
	}
	if err == nil && (f.FDs > 1 || f.FDs > 0 && f.Type != wire.TypeHello) {
		err = protocolErrorf("%s with %d descriptors cannot open a connection", f.Type, f.FDs)
	}
	var broken *ProtocolError
	if errors.As(err, &broken) {
		e := wire.NewError(wire.CodeInvalid, "%s", broken.Reason)
		if err := writeFrame(o.conn, errorFrame(wire.TypeError, 0, e), nil); err != nil {
			return fmt.Errorf("plug: refuse first frame: %w", err)
		}
		return broken
	}
	if err != nil {
		return fmt.Errorf("plug: read first frame: %w", err)
	}
	o.Kind, o.Type, o.Body = p.Kind, f.Type, f.body
	o.FDPass = len(f.files) == 1 && isProbe(f.files[0])
	return nil
}

// Decode unmarshals the body into v. Its error is a *wire.Error, fit for Refuse.
func (o *Opening) Decode(v any) error {
	if err := json.Unmarshal(o.Body, v); err != nil {
		return wire.NewError(wire.CodeInvalid, "decode %s: %v", o.Type, err)
	}
	return nil
}

// noWatch is the stop of an Opening that is not watched.
func noWatch() error { return nil }

// errHangup is the cause of a context of WithHangup.
var errHangup = errors.New("plug: the other side has hung up")

// WithHangup returns a context that is cancelled when the plug closes the
// connection before it has its answer, and so withdraws what it asked for; a
// byte that comes then breaks the protocol, and withdraws the request as well.
// It is called once at most. Answer or Refuse end the watch, and fail if there
// is nobody left to answer; one of them must be called.
func (o *Opening) WithHangup(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	result := make(chan error, 1)
	go func() {
		var b [1]byte
		n, err := o.conn.Read(b[:])
		switch {
		case n > 0:
			err = protocolErrorf("bytes came before the answer to %s", o.Type)
		case isTimeout(err):
			err = nil // stopped
		default:
			err = errHangup
		}
		if err != nil {
			cancel(err)
		}
		result <- err
	}()
	o.stop = func() error {
		o.stop = noWatch
		_ = o.conn.SetReadDeadline(longAgo)
		err := <-result
		_ = o.conn.SetReadDeadline(time.Time{})
		cancel(context.Canceled)
		return err
	}
	return ctx
}

// Answer sends the answer: WELCOME to HELLO, OPENED else. From there on the
// connection is a session's, or carries link framing or records.
func (o *Opening) Answer(body any) error {
	f, err := newFrame(o.Type, wire.FlagResponse, firstID, body)
	if err != nil {
		return err
	}
	return o.send(f)
}

// Refuse sends err as the answer; one that is not a *wire.Error is sent as code
// internal. The caller closes the connection.
func (o *Opening) Refuse(err error) error {
	return o.send(errorFrame(o.Type, firstID, asWireError(err)))
}

func (o *Opening) send(f frame) error {
	if err := o.stop(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), wire.PreambleTimeout)
	defer cancel()
	return within(ctx, o.conn, func() error { return writeFrame(o.conn, f, nil) })
}
