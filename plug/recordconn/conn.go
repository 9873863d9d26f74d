// Package recordconn carries one stream as records over a data connection:
// DATA, END (a clean end of one direction) and RESET (both directions, with a
// reason). End of file without END is a reset, so an abort is never an end.
//
// An idle stream holds no buffer: reading takes one from a pool when there is
// something to read, writing needs none.
package recordconn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// resetPatience is how long Reset tries to tell the other side why. One that
	// does not read learns from the end of file that it was a reset.
	resetPatience = 100 * time.Millisecond

	// reasonPatience bounds the search for the other side's RESET after a write
	// has failed. That side has closed, so what it sent is here already.
	reasonPatience = time.Second

	// maxKept bounds what is read ahead on that search: more than a socket holds is
	// from one that goes on sending, though it takes nothing.
	maxKept = 4 << 20
)

var errTooMuch = errors.New("it takes nothing, and goes on sending")

// Conn is a stream over records. It satisfies net.Conn; half-close is kept.
// Only CloseWrite says that what was written is whole: see Close.
//
// Reading and writing are independent and each safe for concurrent use. A
// deadline that passes leaves the stream usable; a Write then goes on where the
// last one stopped.
type Conn struct {
	c net.Conn

	sentEnd atomic.Bool // END is written, or about to be
	gotEnd  atomic.Bool // END was read

	reader reader
	writer writer

	mu     sync.Mutex
	failed error // not nil: the stream is aborted; a *ResetError, or net.ErrClosed after Close or Reset
	closed bool  // by Close or Reset
	broken bool  // a write has failed: the read deadline is ours now
}

// New makes a stream of a data connection whose first exchange is over. It
// owns c from now on.
func New(c net.Conn) *Conn {
	n := &Conn{c: c}
	n.reader.source.init(c)
	return n
}

// LocalAddr returns that of the data connection.
func (c *Conn) LocalAddr() net.Addr { return c.c.LocalAddr() }

// RemoteAddr returns that of the data connection.
func (c *Conn) RemoteAddr() net.Addr { return c.c.RemoteAddr() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if c.broken {
		return nil
	}
	return c.c.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.c.SetWriteDeadline(t)
}

// Close closes the data connection. Where both directions have ended, by
// CloseWrite here and io.EOF from Read, that is a clean end. Else it is an abort
// with code canceled: whoever leaves early, or by mistake, must not make a
// part look like the whole. It is idempotent, and unblocks Read and Write.
func (c *Conn) Close() error {
	if c.sentEnd.Load() && c.gotEnd.Load() {
		return c.shut(nil)
	}
	return c.Reset(wire.Reset{Code: wire.CodeCanceled})
}

// Reset aborts both directions and closes the data connection; the other
// side's Read and Write fail with a *ResetError, which carries r if that side
// keeps reading. It is idempotent, unblocks Read and Write, and returns within
// a fraction of a second.
func (c *Conn) Reset(r wire.Reset) error { return c.shut(&r) }

// shut closes the data connection, with RESET unless r is nil.
func (c *Conn) shut(r *wire.Reset) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	aborted := c.failed != nil || c.broken // by the other side, which listens no more
	c.closed = true
	c.failed = net.ErrClosed
	_ = c.c.SetWriteDeadline(time.Now().Add(resetPatience)) // for a Write that blocks, too
	c.mu.Unlock()
	if r != nil && !aborted {
		c.writer.reset(c.c, *r)
	}
	return c.c.Close()
}

// Wait blocks until the stream is over: nil when both directions have ended
// cleanly and the other side has closed, a *ResetError when it has aborted,
// net.ErrClosed when this side has. What has not been read is dropped. After
// io.EOF from Read it is how to learn of an abort without writing.
func (c *Conn) Wait() error {
	err := c.drain()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// fail makes err the end of the stream, unless it has one, and returns that.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
	return c.failed
}

// failure returns what fail was given.
func (c *Conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// writeFailed finds out why a write has failed with err, and returns that. A
// passed deadline is returned as it is.
func (c *Conn) writeFailed(err error) error {
	c.mu.Lock()
	switch {
	case c.failed != nil:
		err = c.failed
	case !isTimeout(err):
		// The other side has closed. Its RESET may wait behind data, which stays to
		// be read, and a Read may be waiting as well: neither may hang.
		c.broken = true
		_ = c.c.SetReadDeadline(time.Now().Add(reasonPatience))
		c.mu.Unlock()
		if reason := c.keep(); !errors.Is(reason, io.EOF) {
			return c.fail(reason)
		}
		return c.fail(gone(err))
	}
	c.mu.Unlock()
	return err
}

// readFailed says what the failure err of a read means for the stream.
func (c *Conn) readFailed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failed != nil:
		return c.failed
	case isTimeout(err) && !c.broken:
		return err
	case errors.Is(err, io.EOF) && c.gotEnd.Load() && c.sentEnd.Load():
		return io.EOF // and not ECONNRESET: bytes of ours were left unread
	}
	c.failed = gone(err)
	return c.failed
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isEnd reports whether err is how the end of a connection shows. A Unix socket
// whose other side closed with bytes unread says ECONNRESET.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// ResetError is what Read and Write return after the other side has aborted,
// or vanished without an END (Code gone), or broken the protocol (Code
// invalid). It matches syscall.ECONNRESET, and not net.ErrClosed, by which
// callers tell that they have closed themselves.
type ResetError struct{ wire.Reset }

// Error implements error.
func (e *ResetError) Error() string {
	if e.Msg == "" {
		return "plug: stream reset: " + e.Code
	}
	return "plug: stream reset: " + e.Code + ": " + e.Msg
}

// Timeout reports whether the other side gave up for lack of time.
func (e *ResetError) Timeout() bool { return e.Code == wire.CodeTimeout }

// Is makes ResetError match syscall.ECONNRESET.
func (e *ResetError) Is(target error) bool { return target == syscall.ECONNRESET }

// gone is the reset by a side that vanished.
func gone(err error) *ResetError {
	msg := "the other side has gone without an end"
	if !isEnd(err) {
		msg = fmt.Sprintf("the other side has gone: %v", err)
	}
	return &ResetError{wire.Reset{Code: wire.CodeGone, Msg: msg}}
}
