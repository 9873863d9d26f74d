package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/project-receptor/receptor/plug/wire"
)

// firstID is the request ID of the first frame of every connection.
const firstID = 1

// Attach opens a session on the plug's side of conn: it sends the preamble and
// HELLO and waits for WELCOME, RequestTimeout if ctx has no deadline. A refusal
// is a *wire.Error. conn stays the caller's: to give to New, or to close after
// an error.
//
// Where HELLO offers FeatureFDPass, the probe goes with it; where descriptors
// cannot be passed over conn, the offer is taken out. Calls may pass descriptors
// if WELCOME grants the feature.
func Attach(ctx context.Context, conn net.Conn, hello wire.Hello) (wire.Welcome, error) {
	ctx, cancel := withDefault(ctx, wire.RequestTimeout)
	defer cancel()
	var probe []Descriptor
	if slices.Contains(hello.Features, wire.FeatureFDPass) {
		if probe = probeFor(conn); probe == nil {
			hello.Features = slices.DeleteFunc(slices.Clone(hello.Features), func(f string) bool { return f == wire.FeatureFDPass })
		}
	}
	defer closeFiles(probe)
	var w wire.Welcome
	err := open(ctx, conn, wire.ConnSession, wire.TypeHello, hello, &w, probe)
	return w, err
}

// probeFor makes the probe that goes over conn; nil: there is none.
func probeFor(conn net.Conn) []Descriptor {
	if passing(conn) == nil {
		return nil
	}
	probe, err := newProbe()
	if err != nil {
		return nil // as in a sandbox; bytes are relayed then
	}
	return []Descriptor{probe}
}

// Open makes conn the data connection of an object: it sends the preamble and
// the request t (LINK, DIAL, ATTACH or PBIND) and waits for the answer, DialTimeout and
// RequestTimeout together if ctx has no deadline. Not a byte after the answer is
// read: conn carries link framing or records from there on. A refusal is a
// *wire.Error. conn stays the caller's, who closes it after an error; that
// withdraws the request, too.
func Open(ctx context.Context, conn net.Conn, t wire.Type, body any) (wire.Opened, error) {
	var o wire.Opened
	err := OpenFor(ctx, conn, t, body, &o)
	return o, err
}

// OpenFor is Open for an answer that says more, which is unmarshalled into resp.
func OpenFor(ctx context.Context, conn net.Conn, t wire.Type, body, resp any) error {
	ctx, cancel := withDefault(ctx, wire.DialTimeout+wire.RequestTimeout)
	defer cancel()
	return open(ctx, conn, wire.ConnData, t, body, resp, nil)
}

func open(ctx context.Context, conn net.Conn, kind wire.ConnKind, t wire.Type, body, resp any, send []Descriptor) error {
	f, err := newFrame(t, 0, firstID, body)
	if err != nil {
		return err
	}
	if len(f.body) > wire.MaxBodyBeforeWelcome {
		return wire.NewError(wire.CodeLimit, "body of %s has %d bytes, at most %d are allowed", t, len(f.body), wire.MaxBodyBeforeWelcome)
	}
	preamble := wire.Preamble{Major: wire.Major, Kind: kind}.Append(nil)
	return within(ctx, conn, func() error {
		werr := writeFirst(ctx, conn, preamble, f.with(send, false))
		// A core that refuses early closes early: its reason can still be read.
		if err := readAnswer(conn, t, resp); werr == nil || isRemote(err) {
			return err
		}
		return fmt.Errorf("plug: send %s: %w", t, werr)
	})
}

// writeFirst writes the preamble and the first frame: in one piece, unless
// descriptors go with the frame, which has to begin a write then.
func writeFirst(ctx context.Context, conn net.Conn, preamble []byte, f frame) error {
	if len(f.send) == 0 {
		_, err := conn.Write(f.append(preamble))
		return err
	}
	if _, err := conn.Write(preamble); err != nil {
		return err
	}
	err := writeFrame(conn, f, ctx.Done())
	if errors.Is(err, errNotSent) { // then nothing is granted that needs them
		err = writeFrame(conn, f.with(nil, false), nil)
	}
	return err
}

// readAnswer reads the answer to the first frame of a connection.
func readAnswer(conn net.Conn, t wire.Type, resp any) error {
	r := exactReader(conn)
	defer r.close()
	var b [wire.HeaderSize]byte
	if err := r.bytes(b[:]); err != nil {
		return fmt.Errorf("plug: wait for the answer to %s: %w", t, err)
	}
	// A core of another major says so by its own preamble, as long as a header.
	if bytes.HasPrefix(b[:], []byte(wire.Magic)) {
		if err := r.bytes(b[:]); err != nil {
			return fmt.Errorf("plug: core speaks another major: %w", err)
		}
	}
	f, err := r.lastRest(b, wire.MaxBodyBeforeWelcome)
	if err != nil {
		return err
	}
	defer f.release()
	switch {
	case f.FDs != 0:
		return protocolErrorf("the answer to %s claims descriptors", t)
	case f.isError():
		return remoteError(f)
	case f.Flags&wire.FlagResponse == 0 || f.ID != firstID || f.Type != t:
		return protocolErrorf("%s (flags %d, id %d) where the answer to %s was expected", f.Type, f.Flags, f.ID, t)
	case f.Flags&wire.FlagError != 0:
		return remoteError(f)
	}
	return decode(f, resp)
}
