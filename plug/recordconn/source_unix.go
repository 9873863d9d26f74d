//go:build unix

package recordconn

import (
	"io"
	"os"
	"syscall"
)

const canReadRaw = true

// tryRead reads what is there, for RawConn.Read: false means that there is
// nothing, and to call again when there is.
func (s *source) tryRead(fd uintptr) bool {
	buf := getBuffer()
	n, err := syscall.Read(int(fd), buf[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), buf[:])
	}
	if n > 0 {
		s.buf, s.n = buf, n
		return true
	}
	putBuffer(buf)
	switch err {
	case nil:
		s.err = io.EOF
	case syscall.EAGAIN:
		return false
	default:
		s.err = os.NewSyscallError("read", err)
	}
	return true
}
