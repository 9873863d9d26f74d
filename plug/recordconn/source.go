package recordconn

import (
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/project-receptor/receptor/plug/wire"
)

// buffer is what one read takes.
type buffer [wire.RecordCoalesce]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func getBuffer() *buffer  { return buffers.Get().(*buffer) }
func putBuffer(b *buffer) { buffers.Put(b) }

// source reads into pooled buffers. From a socket it takes a buffer only when
// there is something to read; from anything else it holds one while it waits.
type source struct {
	r   io.Reader
	raw syscall.RawConn // nil: r is no socket
	try func(fd uintptr) bool

	// What try has got.
	buf *buffer
	n   int
	err error
}

// init makes s read from r. Only the types named here are read by their
// descriptor: one that wraps them may do more in its Read.
func (s *source) init(r io.Reader) {
	s.r = r
	var conn syscall.Conn
	switch r := r.(type) {
	case *net.UnixConn:
		conn = r
	case *net.TCPConn:
		conn = r
	}
	if conn == nil || !canReadRaw {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil { // else Read tells the same error
		s.raw = raw
		s.try = s.tryRead
	}
}

// read returns a buffer, which is the caller's to give back, and how many bytes
// are in it; or an error, then there is no buffer.
func (s *source) read() (*buffer, int, error) {
	if s.raw == nil {
		buf := getBuffer()
		n, err := s.r.Read(buf[:])
		if n > 0 {
			return buf, n, err
		}
		putBuffer(buf)
		if err == nil {
			err = io.ErrNoProgress
		}
		return nil, 0, err
	}
	s.buf, s.n, s.err = nil, 0, nil
	err := s.raw.Read(s.try)
	buf, n := s.buf, s.n
	s.buf = nil
	if err == nil {
		err = s.err
	}
	return buf, n, err
}
