package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"

	"github.com/project-receptor/receptor/plug/wire"
)

// firstID is the request ID of the first frame of every connection.
const firstID = 1

// Attach opens a session on the plug's side of conn: it sends the preamble and
// HELLO and waits for WELCOME, RequestTimeout if ctx has no deadline. A refusal
// is a *wire.Error. conn stays the caller's: to give to New, or to close after
// an error.
func Attach(ctx context.Context, conn net.Conn, hello wire.Hello) (wire.Welcome, error) {
	ctx, cancel := withDefault(ctx, wire.RequestTimeout)
	defer cancel()
	var w wire.Welcome
	err := open(ctx, conn, wire.ConnSession, wire.TypeHello, hello, &w)
	return w, err
}

// Open makes conn the data connection of an object: it sends the preamble and
// the request t (LINK, DIAL or ATTACH) and waits for the answer, DialTimeout and
// RequestTimeout together if ctx has no deadline. Not a byte after the answer is
// read: conn carries link framing or records from there on. A refusal is a
// *wire.Error. conn stays the caller's, who closes it after an error; that
// withdraws the request, too.
func Open(ctx context.Context, conn net.Conn, t wire.Type, body any) (wire.Opened, error) {
	ctx, cancel := withDefault(ctx, wire.DialTimeout+wire.RequestTimeout)
	defer cancel()
	var o wire.Opened
	err := open(ctx, conn, wire.ConnData, t, body, &o)
	return o, err
}

func open(ctx context.Context, conn net.Conn, kind wire.ConnKind, t wire.Type, body, resp any) error {
	f, err := newFrame(t, 0, firstID, body)
	if err != nil {
		return err
	}
	if len(f.body) > wire.MaxBodyBeforeWelcome {
		return wire.NewError(wire.CodeLimit, "body of %s has %d bytes, at most %d are allowed", t, len(f.body), wire.MaxBodyBeforeWelcome)
	}
	b := wire.Preamble{Major: wire.Major, Kind: kind}.Append(nil)
	return within(ctx, conn, func() error {
		_, werr := conn.Write(f.append(b))
		// A core that refuses early closes early: its reason can still be read.
		if err := readAnswer(conn, t, resp); werr == nil || isRemote(err) {
			return err
		}
		return fmt.Errorf("plug: send %s: %w", t, werr)
	})
}

// readAnswer reads the answer to the first frame of a connection.
func readAnswer(r io.Reader, t wire.Type, resp any) error {
	var b [wire.HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return fmt.Errorf("plug: wait for the answer to %s: %w", t, err)
	}
	// A core of another major says so by its own preamble, as long as a header.
	if bytes.HasPrefix(b[:], []byte(wire.Magic)) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return fmt.Errorf("plug: core speaks another major: %w", err)
		}
	}
	f, err := readBody(r, b, wire.MaxBodyBeforeWelcome)
	switch {
	case err != nil:
		return err
	case f.isError():
		return remoteError(f)
	case f.Flags&wire.FlagResponse == 0 || f.ID != firstID || f.Type != t:
		return protocolErrorf("%s (flags %d, id %d) where the answer to %s was expected", f.Type, f.Flags, f.ID, t)
	case f.Flags&wire.FlagError != 0:
		return remoteError(f)
	}
	return decode(f, resp)
}
