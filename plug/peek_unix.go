//go:build unix

package plug

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// heads are buffers for peek.
var heads = sync.Pool{New: func() any { return new([headSize]byte) }}

// peek shows opening what has come of a connection, which stays there to be read. If
// it is to wait it does so until that is enough to tell, or no more will come: TooShort.
func peek(c net.Conn, opening Opening, wait bool) Verdict {
	sock, ok := c.(*net.TCPConn)
	if !ok {
		return MayBeLink // whoever uses it reads it
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return TooShort // it was closed
	}
	v := TooShort
	_ = raw.Read(func(fd uintptr) bool { // an error is its end, by the deadline or by Close
		head := heads.Get().(*[headSize]byte)
		defer heads.Put(head)
		var ended bool
		v, ended = judge(int(fd), head[:], opening)
		return v != TooShort || ended || !wait
	})
	return v
}

// judge shows opening what has come of a socket. ended: there will be no more.
func judge(fd int, head []byte, opening Opening) (v Verdict, ended bool) {
	n, _, err := syscall.Recvfrom(fd, head, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	for errors.Is(err, syscall.EINTR) {
		n, _, err = syscall.Recvfrom(fd, head, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	if n <= 0 {
		return TooShort, !errors.Is(err, syscall.EAGAIN)
	}
	if v = opening(head[:n]); v == TooShort && n == len(head) {
		v = MayBeLink
	}
	return v, false
}
