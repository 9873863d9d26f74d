package backendws

import (
	"net"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

const (
	// maxMessage is the largest message of a link.
	maxMessage = 65535

	// bufferSize is what is gathered for one write, either way.
	bufferSize = 64 << 10
)

// buffers hold what is gathered and one message more. An idle link has none.
var buffers = sync.Pool{New: func() any { return new([bufferSize + maxMessage + 64]byte) }}

type buffer = [bufferSize + maxMessage + 64]byte

// batch is the connection below a WebSocket. Once a link runs over it what is
// written is gathered until Flush, or there is much of it, and before it waits for
// bytes it calls idle.
type batch struct {
	net.Conn
	gathers bool   // set before the link's goroutines start
	idle    func() // likewise

	writing sync.Mutex // held by whoever writes to Conn

	mu  sync.Mutex
	buf *buffer // nil: nothing is gathered
	n   int     // bytes in buf
}

// Read implements net.Conn.
func (b *batch) Read(p []byte) (int, error) {
	if b.idle != nil {
		b.idle()
	}
	return b.Conn.Read(p)
}

// Write implements net.Conn. The parts of a WebSocket message come one by one.
func (b *batch) Write(p []byte) (int, error) {
	if !b.gathers {
		return b.Conn.Write(p)
	}
	written := 0
	for {
		n, full := b.gather(p[written:])
		written += n
		if full {
			if err := b.Flush(); err != nil {
				return written, err
			}
		}
		if written == len(p) {
			return written, nil
		}
	}
}

// gather takes what there is room for.
func (b *batch) gather(p []byte) (n int, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil {
		b.buf = buffers.Get().(*buffer)
	}
	n = copy(b.buf[b.n:], p)
	b.n += n
	return n, b.n >= bufferSize
}

// Flush writes what has been gathered.
func (b *batch) Flush() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.flush()
}

// TryFlush is Flush, unless somebody writes just now, who might be held up.
func (b *batch) TryFlush() {
	if b.writing.TryLock() {
		defer b.writing.Unlock()
		_ = b.flush() // the next who writes hears of it
	}
}

// flush is called with writing held.
func (b *batch) flush() error {
	for {
		b.mu.Lock()
		buf, n := b.buf, b.n
		b.buf, b.n = nil, 0
		b.mu.Unlock()
		if buf == nil {
			return nil
		}
		_, err := b.Conn.Write(buf[:n])
		buffers.Put(buf)
		if err != nil {
			return err
		}
	}
}

// SetWriteDeadline implements net.Conn. WebSocket sets one with every message; what
// bounds a write is the sock below.
func (b *batch) SetWriteDeadline(time.Time) error { return nil }

// CloseWrite ends the writing direction, where the connection can.
func (b *batch) CloseWrite() {
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // the connection is closed next
	}
}

// sock is the socket of a link. A write fails once the other side has taken
// nothing for a while. It lies below TLS, which does not survive a deadline.
type sock struct {
	net.Conn
	out plug.StallWriter
}

func newSock(c net.Conn) *sock { return &sock{Conn: c, out: plug.StallWriter{Sock: c}} }

// Write implements net.Conn.
func (s *sock) Write(p []byte) (int, error) { return s.out.Write(p) }

// SetDeadline implements net.Conn: that of writing is Write's own.
func (s *sock) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn, see SetDeadline.
func (s *sock) SetWriteDeadline(time.Time) error { return nil }

// CloseWrite ends the writing direction.
func (s *sock) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
