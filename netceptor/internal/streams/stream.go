package streams

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// Stream is a byte stream. It has the methods of net.Conn but for the addresses.
// Its methods may be called concurrently. Whoever has a Stream must Close or
// Reset it; that never blocks.
type Stream struct {
	str  *quic.Stream
	in   io.Reader // str, or a legacyReader around it
	conn *conn

	local, remote Endpoint

	writing sync.Mutex // held while str is written to

	mu        sync.Mutex
	closed    bool // Close or Reset was called
	readOver  bool
	writeOver bool
}

func newStream(cn *conn, str *quic.Stream) *Stream {
	s := &Stream{str: str, in: str, conn: cn, local: cn.local, remote: cn.remote}
	if cn.legacy {
		var read int64
		if !cn.dialled {
			read = 1 // the first byte
		}
		s.in = newLegacyReader(str, read, cn.c.spawn)
	}
	return s
}

// Read reads; io.EOF is a clean end only, errors that match ErrReset are any
// other.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err == nil {
		return n, nil
	}
	if isDeadline(err) {
		return n, s.unlessClosed(os.ErrDeadlineExceeded)
	}
	s.over(true, false)
	if err == io.EOF {
		return n, s.unlessClosed(io.EOF)
	}
	return n, s.unlessClosed(s.conn.lostBy(err))
}

// WriteTo implements io.WriterTo: it writes to w what arrives, until the clean
// end. While it waits it holds no buffer.
func (s *Stream) WriteTo(w io.Writer) (total int64, err error) {
	for {
		n, err := s.Pass(w)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Pass waits until there is something to read, and writes to w at once what of
// it fits in a buffer. It returns how much that was; io.EOF is a clean end.
func (s *Stream) Pass(w io.Writer) (int, error) {
	var first [1]byte
	_, _ = s.str.Peek(first[:]) // whatever it ended by, Read tells it right
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	n, err := s.Read(buf[:])
	if n > 0 {
		if n, err := w.Write(buf[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// buffer is what WriteTo reads at once: 64 KiB with a header that w may put
// before it.
type buffer [64<<10 - 8]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// Write writes; it blocks while the other side does not read.
func (s *Stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := s.str.Write(p)
	switch {
	case err == nil:
		return n, nil
	case isDeadline(err):
		if s.isClosed() {
			// Close cut this off, so what was written must not look complete.
			s.str.CancelWrite(s.conn.resetCode())
			return n, net.ErrClosed
		}
		return n, os.ErrDeadlineExceeded
	case errors.Is(err, quic.ErrStreamClosed):
		return n, net.ErrClosed
	}
	s.over(false, true)
	return n, s.unlessClosed(s.conn.lostBy(err))
}

// CloseWrite ends the writing direction, after a Write in progress.
func (s *Stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.isClosed() {
		return net.ErrClosed
	}
	s.finish()
	return nil
}

// finish sends the FIN; s.writing is held. The error says only that the far
// side stopped reading, or that the stream is lost: reading tells.
func (s *Stream) finish() {
	_ = s.str.Close()
	s.over(false, true)
}

// Close ends both directions in order: what was written still arrives, what
// comes is no longer wanted. A Write in progress is cut off, and then the far
// side sees a reset.
func (s *Stream) Close() error {
	if !s.close() {
		return nil
	}
	s.str.CancelRead(s.conn.stopCode())
	// The deadline ends a Write in progress.
	_ = s.str.SetWriteDeadline(longAgo)
	s.writing.Lock()
	s.finish()
	s.writing.Unlock()
	s.over(true, true)
	return nil
}

// Reset aborts both directions. It does nothing once both have ended in order.
func (s *Stream) Reset() error {
	s.mu.Lock()
	done := s.readOver && s.writeOver
	s.closed = true
	s.mu.Unlock()
	if done {
		return nil
	}
	s.str.CancelWrite(s.conn.resetCode())
	s.str.CancelRead(s.conn.resetCode())
	if s.conn.legacy {
		s.conn.abort("reset")
	}
	s.over(true, true)
	return nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// SetDeadline, SetReadDeadline and SetWriteDeadline are as of net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline is as of net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.str.SetReadDeadline(t)
}

// SetWriteDeadline is as of net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.str.SetWriteDeadline(t)
}

// Local is this side's end.
func (s *Stream) Local() Endpoint { return s.local }

// Remote is the far side's end.
func (s *Stream) Remote() Endpoint { return s.remote }

// close marks the stream closed and tells whether it was not before.
func (s *Stream) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.closed
	s.closed = true
	return !was
}

func (s *Stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Stream) unlessClosed(err error) error {
	if s.isClosed() {
		return net.ErrClosed
	}
	return err
}

// over notes ended directions and frees the stream's place on its connection
// when both are.
func (s *Stream) over(read, write bool) {
	s.mu.Lock()
	was := s.readOver && s.writeOver
	s.readOver = s.readOver || read
	s.writeOver = s.writeOver || write
	is := s.readOver && s.writeOver
	s.mu.Unlock()
	if is && !was {
		s.conn.release()
	}
}
