package transcript

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/socket"
)

// Replay runs one side's script against what the other has sent once. It is an
// error if that side does anything else than it did once.
func Replay(ctx context.Context, t *Transcript, side Side, script Script) error {
	s := perform(ctx, script)
	r := &replay{stage: s, side: side, conns: map[int]net.Conn{}}
	defer r.close()
	for i := range t.Events {
		e := &t.Events[i]
		if err := r.play(e); err != nil {
			return errors.Join(fmt.Errorf("event %d, %s %d: %s: %w", i+1, e.From, e.Conn, e.Note, err), s.stop())
		}
	}
	more := make(chan error, len(r.conns))
	for n, conn := range r.conns {
		go func() { more <- nothingMore(n, conn) }() // ends with the script, which closes all
	}
	for range r.conns {
		if err := <-more; err != nil {
			return errors.Join(err, s.stop())
		}
	}
	<-s.done
	return s.stop()
}

type replay struct {
	stage *Stage
	side  Side
	conns map[int]net.Conn // the other side's ends
}

// play does what the other side has done, or sees that this side does it.
func (r *replay) play(e *Event) error {
	conn, err := r.conn(e.Conn)
	switch {
	case err != nil:
		return err
	case e.From == r.side:
		return r.expect(conn, e)
	case e.closed:
		return conn.Close()
	}
	files := make([]*os.File, e.FDs)
	for i := range files {
		if files[i], err = someSocket(); err != nil {
			return err
		}
	}
	defer closeAll(files)
	return plugtest.SendBytes(conn, e.Bytes, files)
}

// conn is the other side's end of a connection, which the plug opens.
func (r *replay) conn(n int) (conn net.Conn, err error) {
	if c := r.conns[n]; c != nil {
		return c, nil
	}
	if r.side == Plug {
		conn, err = receive(r.stage.ctx, r.stage.conns)
	} else {
		var theirs net.Conn
		if conn, theirs, err = socket.Pair(); err == nil {
			r.stage.conns <- theirs
		}
	}
	if err != nil {
		return nil, err
	}
	r.conns[n] = conn
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

// expect reads what this side must send.
func (r *replay) expect(conn net.Conn, e *Event) error {
	b, files, err := plugtest.ReadBytes(conn, max(len(e.Bytes), 1))
	defer closeAll(files)
	switch {
	case e.closed && len(b) == 0 && errors.Is(err, io.EOF):
		r.stage.saw()
		return nil
	case e.closed:
		return fmt.Errorf("expected the end, got %q, %w", b, err)
	case !bytes.Equal(b, e.Bytes):
		return fmt.Errorf("expected %q, got %q: %w", e.Bytes, b, err)
	case len(files) != e.FDs:
		return fmt.Errorf("expected %d descriptors, got %d", e.FDs, len(files))
	}
	r.stage.saw()
	return nil
}

// nothingMore reads a connection to its end, which must come at once.
func nothingMore(n int, conn net.Conn) error {
	b, files, err := plugtest.ReadBytes(conn, 1)
	closeAll(files)
	switch {
	case len(b) > 0:
		return fmt.Errorf("connection %d: expected nothing more, got %q", n, b)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("connection %d: the script waits for more than there was: %w", n, err)
	default:
		return nil
	}
}

func (r *replay) close() {
	for _, c := range r.conns {
		_ = c.Close() // closed already, often
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// someSocket is a descriptor to be passed: scripts do not look at what it is.
func someSocket() (*os.File, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	return l.(*net.TCPListener).File()
}
