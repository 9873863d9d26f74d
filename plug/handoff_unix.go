//go:build unix

package plug

import (
	"os"
	"syscall"
)

// duplicate duplicates the descriptor of c, which stays as it is; nil if that
// fails. File.Fd is not for this: it makes the socket blocking.
func duplicate(c syscall.Conn) *os.File {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var file *os.File
	err = raw.Control(func(fd uintptr) {
		syscall.ForkLock.RLock() // no child gets it between the two calls
		defer syscall.ForkLock.RUnlock()
		n, err := syscall.Dup(int(fd))
		if err != nil {
			return
		}
		syscall.CloseOnExec(n)
		file = os.NewFile(uintptr(n), "handed-over socket")
	})
	if err != nil {
		return nil
	}
	return file
}

// armAccepted is [armReset] of all that a listener is going to accept: sockets
// inherit it. It is a ListenConfig's Control.
func armAccepted(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Where it fails they are armed later, one by one.
		_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
}
