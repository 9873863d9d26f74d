//go:build unix

package proxyudp

import (
	"net"
	"os"
	"sync"
	"syscall"
)

// buffers are for those who have something to read: thousands wait, few read.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, maxDatagram)
	return &b
}}

// receiver waits for datagrams on a connected socket, and holds no buffer meanwhile.
type receiver struct{ raw syscall.RawConn }

func newReceiver(c *net.UDPConn) (*receiver, error) {
	raw, err := c.SyscallConn()
	return &receiver{raw}, err
}

// receive waits for a datagram and gives it to each. The bytes are valid until that
// returns.
func (r *receiver) receive(each func(b []byte)) error {
	b := (*[]byte)(nil)
	var n int
	var failed error
	err := r.raw.Read(func(fd uintptr) bool {
		b = buffers.Get().(*[]byte)
		for {
			n, _, failed = syscall.Recvfrom(int(fd), *b, 0)
			if failed != syscall.EINTR {
				break
			}
		}
		if failed != syscall.EAGAIN {
			return true
		}
		buffers.Put(b)
		b = nil
		return false
	})
	if b != nil {
		defer buffers.Put(b)
	}
	switch {
	case err != nil:
		return err
	case failed != nil:
		return os.NewSyscallError("recvfrom", failed)
	}
	each((*b)[:n])
	return nil
}
